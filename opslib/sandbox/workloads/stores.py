"""Whether the sandbox's PostgreSQL and Redis answer, asked by the services' health checks and requests.

The data services write <state>/NAME/address.json; without that file a store is assumed to be up (a sandbox
without data services). An answer is kept for half a real second, so that traffic does not open a connection
for every request.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

KEEP = 0.5  # real seconds
PATIENCE = 0.25  # real seconds for a TCP connect on loopback


class Stores:
    """TCP reachability of the data services of one sandbox."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._known: dict[str, tuple[float, bool]] = {}

    def up(self, name: str) -> bool:
        """Whether `postgres` or `redis` accepts connections."""
        now = time.monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < KEEP:
            return known[1]
        answer = self._connect(name)
        self._known[name] = (now, answer)
        return answer

    def forget(self) -> None:
        """Ask anew at the next call."""
        self._known.clear()

    def address(self, name: str) -> tuple[str, int] | None:
        """Host and port of a data service; None when it never said where it is."""
        try:
            found = json.loads((self._state / name / "address.json").read_text())
            return str(found["host"]), int(found["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _connect(self, name: str) -> bool:
        where = self.address(name)
        if where is None:
            return True
        try:
            with socket.create_connection(where, timeout=PATIENCE):
                return True
        except OSError:
            return False
