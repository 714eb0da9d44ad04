"""One running container: what a workload sees of itself, and what probes, edge and exec call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import Clock
from opslib.sandbox.kubelet.logs import ContainerLog
from opslib.sandbox.workloads.protocol import (
    ExecResult,
    Exit,
    HttpAnswer,
    ServiceDirectory,
    Usage,
    Workload,
)


class PodRef:
    """The live manifest of a pod, shared by its containers."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest


class ContainerInstance:
    """A container from its start to its end (workloads.protocol.RunningContainer)."""

    def __init__(
        self,
        *,
        pod: PodRef,
        spec: Manifest,
        env: dict[str, str],
        workload: Workload,
        log: ContainerLog,
        restarts: int,
        started_at: dt.datetime,
        container_id: str,
        clock: Clock,
        services: ServiceDirectory,
    ) -> None:
        self._pod = pod
        self._spec = spec
        self._env = env
        self._workload = workload
        self._restarts = restarts
        self._started_at = started_at
        self._clock = clock
        self._services = services
        self.container_id = container_id
        self.output = log
        self.alive = True

    @property
    def pod(self) -> Manifest:
        return self._pod.manifest

    @property
    def spec(self) -> Manifest:
        return self._spec

    @property
    def env(self) -> dict[str, str]:
        return self._env

    @property
    def started_at(self) -> dt.datetime:
        return self._started_at

    @property
    def restarts(self) -> int:
        return self._restarts

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def services(self) -> ServiceDirectory:
        return self._services

    def log(self, line: str) -> None:
        if self.alive:
            self.output.write(line)

    def start(self) -> Exit | None:
        """Run the program; what it returns says when it ends by itself."""
        return self._workload.start(self)

    def end(self) -> None:
        """The process is gone: it answers nothing and prints nothing any more."""
        self.alive = False
        self.output.close()

    def http(self, method: str, path: str, port: int, headers: Mapping[str, str]) -> HttpAnswer | None:
        """A request to one of its ports; None: connection refused."""
        return self._workload.http(self, method, path, port, headers) if self.alive else None

    def usage(self) -> Usage:
        return self._workload.usage(self) if self.alive else Usage(0, 0)

    async def exec(self, argv: list[str], stdin: bytes | None) -> ExecResult:
        return await self._workload.exec(self, argv, stdin)
