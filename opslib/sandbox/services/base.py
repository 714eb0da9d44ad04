"""What every data service of a sandbox can do: start, stop, tell its trouble, save and restore its data."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from opslib.sandbox.processes import Supervisor
from opslib.sandbox.state import Sandbox


class Service(ABC):
    """One data service of one sandbox; its files lie in the folder of its name."""

    name: ClassVar[str]
    processes: ClassVar[tuple[str, ...]]  # in the order in which they start

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    @property
    def sandbox(self) -> Sandbox:
        return self.supervisor.sandbox

    @property
    def folder(self) -> Path:
        return self.sandbox.path / self.name

    @property
    def port(self) -> int | None:
        """The port it had last, so that it can have it again; None before its first start."""
        address: dict[str, Any] = self.sandbox.address(self.name) or {}
        return int(address["port"]) if "port" in address else None

    def port_of(self, process: str) -> int | None:  # noqa: ARG002
        """The port of one of its processes."""
        return self.port

    def abandon(self) -> None:
        """End it for good, without letting it write anything down."""
        for process in reversed(self.processes):
            self.supervisor.stop(process, how=signal.SIGKILL)

    def running(self) -> bool:
        """Whether all its processes run."""
        return all(self.supervisor.running(process) for process in self.processes)

    @abstractmethod
    def start(self) -> None:
        """Start what does not run yet and wait until it answers; raises SandboxError when it does not."""

    @abstractmethod
    def stop(self) -> None:
        """End it; no complaint when it does not run."""

    @abstractmethod
    def trouble(self) -> str:
        """Why it does not answer, as a short sentence; empty when it does."""

    @abstractmethod
    def save(self, target: Path) -> None:
        """Copy its data into the new folder `target`; it runs afterwards, its clients may be cut off."""

    @abstractmethod
    def restore(self, source: Path) -> None:
        """Put back the data that `save` copied; it runs afterwards, whether it did before or not."""
