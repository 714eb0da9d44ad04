"""What a container does, as the kubelet sees it: the contract between kubelet and workloads.

Every duration is in platform seconds (the kubelet divides them by the sandbox's speed), except
`HttpAnswer.seconds`, which is what a caller would measure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Exit:
    """A container that ends by itself, `after` platform seconds from its start."""

    after: float
    code: int
    reason: str = "Error"  # Error, OOMKilled or Completed
    log: list[str] = field(default_factory=list)  # the last lines, written when it ends


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP response and how many seconds the caller waited for it."""

    status: int
    body: str
    seconds: float
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()  # further response headers


@dataclass(frozen=True)
class Usage:
    """What metrics.k8s.io reports for one container."""

    cpu_millicores: int
    memory_bytes: int


@dataclass(frozen=True)
class ExecResult:
    """What a command in a container printed, and its exit status."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True)
class Pull:
    """The outcome of pulling an image; `message` is containerd's own text when it failed."""

    ok: bool
    message: str = ""
    seconds: float = 0.0
    digest: str = ""  # "sha256:..."


class Clock(Protocol):
    """The sandbox's clock: real stamps, scaled durations."""

    def now(self) -> dt.datetime: ...

    async def sleep(self, platform_seconds: float) -> None: ...

    def scaled(self, seconds: float) -> float: ...


class ServiceDirectory(Protocol):
    """Cluster networking: a call to a Service reaches one of its ready endpoints."""

    def call(self, service: str, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer | None:
        """Answer of one ready endpoint; None when the service has none or the connection is refused.

        `service` is NAME, NAME.NAMESPACE or NAME.NAMESPACE.svc.cluster.local, with an optional :PORT
        (default: the service's first port); the default namespace is pss-nano.
        """
        ...


class Container(Protocol):
    """A running container, provided by the kubelet."""

    @property
    def pod(self) -> Manifest: ...  # the live pod manifest

    @property
    def spec(self) -> Manifest: ...  # the container's own part of it

    @property
    def env(self) -> dict[str, str]: ...  # resolved from env and envFrom

    @property
    def started_at(self) -> dt.datetime: ...  # real UTC

    @property
    def restarts(self) -> int: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def services(self) -> ServiceDirectory: ...

    def log(self, line: str) -> None: ...


class Workload(Protocol):
    """The program in an image. One instance may serve many containers: state is kept by container."""

    def start(self, c: Container) -> Exit | None:
        """Called when the container starts. None: it keeps running; Exit: it ends by itself then."""
        ...

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        """Answer to a request on a port of the container; None: connection refused."""
        ...

    def usage(self, c: Container) -> Usage: ...

    async def exec(self, c: Container, argv: list[str], stdin: bytes | None) -> ExecResult: ...


class Images(Protocol):
    """The registry and what its images do."""

    def pull(self, ref: str, pod: Manifest) -> Pull: ...

    def workload(self, ref: str, container: str) -> Workload:
        """The program of an image that was pulled; `container` is the container's name."""
        ...


class RunningContainer(Container, Protocol):
    """What the kubelet's runtime hands to the edge, the exporter and port-forward."""

    def http(self, method: str, path: str, port: int, headers: Mapping[str, str]) -> HttpAnswer | None: ...

    def usage(self) -> Usage: ...


class Runtime(Protocol):
    """The kubelet's table of running containers."""

    def container(self, pod_uid: str, container_name: str) -> RunningContainer | None: ...
