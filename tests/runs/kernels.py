"""A real kernel for tests: runs cells, keeps every message it sends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager


class Kernel:
    """Cells in, messages out."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.messages: list[dict[str, Any]] = []

    def run(self, code: str, *, stdin: bool = False, seconds: float = 40) -> list[dict[str, Any]]:
        """Execute a cell; returns the messages it sent, up to idle."""
        sent = self.start(code, stdin=stdin)
        return self.until_idle(sent, seconds)

    def start(self, code: str, *, stdin: bool = False) -> str:
        return str(self.client.execute(code, allow_stdin=stdin))

    def next(self, seconds: float = 40) -> dict[str, Any]:
        message = self.client.get_iopub_msg(timeout=seconds)
        self.messages.append(message)
        return message

    def until_idle(self, sent: str, seconds: float = 40) -> list[dict[str, Any]]:
        first, deadline = len(self.messages), time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.next(seconds)
            mine = message["parent_header"].get("msg_id") == sent
            if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                self.messages.append(self.client.get_shell_msg(timeout=seconds))
                return self.messages[first:]
        raise AssertionError("the cell did not end")

    def text(self) -> str:
        """Everything that was sent, as one text."""
        return "\n".join(json.dumps(message["content"], default=str) for message in self.messages)

    def streams(self, name: str = "stdout") -> str:
        """A stream as a front end would join it."""
        parts = [m["content"] for m in self.messages if m["msg_type"] == "stream"]
        return "".join(part["text"] for part in parts if part["name"] == name)


@contextmanager
def kernel(folder: Path, environ: Mapping[str, str]) -> Iterator[Kernel]:
    """A kernel in `folder` with this environment; ended afterwards."""
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "k"))
    manager.start_kernel(cwd=str(folder), env=dict(environ))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
