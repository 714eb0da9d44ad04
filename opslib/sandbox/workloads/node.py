"""What the gateway and the backends share: a Node.js program with winston logs, a load and a start-up."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from opslib.sandbox.workloads.load import Load
from opslib.sandbox.workloads.logs import shows, winston
from opslib.sandbox.workloads.protocol import Container, Exit, HttpAnswer

BOOT = 1.5  # platform seconds from the start of the process to the open port


@dataclass
class Life:
    """What one container instance remembers between two calls."""

    load: Load = field(default_factory=Load)
    health: dict[str, bool] = field(default_factory=dict)
    checked: float = float("-inf")  # monotonic platform seconds of the last round of health checks
    requests: int = 0


class Lives:
    """The memory of a program's running instances: by pod, and anew after every restart."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._lives: dict[str, tuple[int, Life]] = {}

    def of(self, c: Container) -> Life:
        uid = str(c.pod["metadata"]["uid"])
        known = self._lives.get(uid)
        if known is None or known[0] != c.restarts:
            known = (c.restarts, Life(Load(self._capacity)))
            self._lives[uid] = known
            while len(self._lives) > 200:
                self._lives.pop(next(iter(self._lives)))
        return known[1]


def log(c: Container, level: str, message: str) -> None:
    """Write one winston line, unless LOG_LEVEL hides it. A message of several lines stays one record."""
    if not shows(c.env.get("LOG_LEVEL", "info"), level):
        return
    first, *rest = message.split("\n")
    c.log(winston(c.clock.now(), level, first))
    for line in rest:
        c.log(line)


def age(c: Container) -> float:
    """Platform seconds since the container started."""
    real = (c.clock.now() - c.started_at).total_seconds()
    return real / c.clock.scaled(1.0)


def booting(c: Container) -> bool:
    return age(c) < BOOT


def refuse_to_start(message: str, where: str) -> Exit:
    """A configuration error: one clear line, the stack, exit status 1."""
    return Exit(
        after=BOOT,
        code=1,
        log=[
            f"Error: {message}",
            f"    at loadConfig (/app/dist/{where})",
            "    at Object.<anonymous> (/app/dist/index.js:12:16)",
            "    at Module._compile (node:internal/modules/cjs/loader:1256:14)",
            "Node.js v20.10.0",
        ],
    )


def answer(status: int, body: object, seconds: float) -> HttpAnswer:
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json; charset=utf-8"
    return HttpAnswer(status, text, seconds, kind)


def around(seconds: float) -> float:
    """A latency near `seconds` with the long tail that services have."""
    return seconds * random.lognormvariate(0.0, 0.35)


def steady(c: Container, low: int, high: int) -> int:
    """A number between two bounds that stays the same for one pod."""
    digest = hashlib.sha256(str(c.pod["metadata"]["uid"]).encode()).digest()
    return low + int.from_bytes(digest[:4], "big") % (high - low + 1)


def header(headers: Mapping[str, str], name: str) -> str:
    """A request header by its name in any case; empty when it is absent."""
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")
