"""Startup, liveness and readiness probes of one container.

Source: kubernetes pkg/kubelet/prober and pkg/probe; messages are upstream's. HTTP probes are answered in
process, so a probe costs one timer and one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import Clock
from opslib.sandbox.kubelet.container import ContainerInstance

Kind = Literal["startup", "liveness", "readiness"]
TIMEOUT_TEXT = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


@dataclass(frozen=True)
class Outcome:
    """The result of one probe; `seconds` is how long it took at most its timeout."""

    ok: bool
    message: str = ""
    seconds: float = 0.0


def port_of(container: Manifest, port: object) -> int:
    """A probe's port, by number or by the name of a container port.

    Raises ValueError when the container has no port of that name.
    """
    if isinstance(port, int) or str(port).isdigit():
        return int(str(port))
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {port}")


async def run_probe(instance: ContainerInstance, probe: Manifest) -> Outcome:
    """One probe of any type."""
    if probe.get("exec"):
        try:
            async with asyncio.timeout(instance.clock.scaled(float(probe.get("timeoutSeconds") or 1)) + 1.0):
                result = await instance.exec(list(probe["exec"].get("command") or []), None)
        except TimeoutError:
            return Outcome(False, f"command timed out after {probe.get('timeoutSeconds') or 1}s")
        text = (result.stdout + result.stderr).decode(errors="replace").strip()
        return Outcome(result.exit_code == 0, text)
    return quick_probe(instance, probe)


def quick_probe(instance: ContainerInstance, probe: Manifest) -> Outcome:
    """An HTTP, TCP or gRPC probe: answered at once by the workload."""
    limit = float(probe.get("timeoutSeconds") or 1)
    address = (instance.pod.get("status") or {}).get("podIP", "127.0.0.1")
    action = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
    try:
        port = port_of(instance.spec, action.get("port"))
    except ValueError as error:
        return Outcome(False, str(error))
    refused = f"dial tcp {address}:{port}: connect: connection refused"
    if not probe.get("httpGet"):
        answer = instance.http("GET", "/", port, {})
        return Outcome(answer is not None, "" if answer is not None else refused)
    path = action.get("path") or "/"
    url = f"{(action.get('scheme') or 'HTTP').lower()}://{address}:{port}{path}"
    headers = {"User-Agent": "kube-probe/1.32"}
    headers |= {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or []}
    answer = instance.http("GET", path, port, headers)
    if answer is None:
        return Outcome(False, f'Get "{url}": {refused}')
    if answer.seconds > limit:
        return Outcome(False, f'Get "{url}": {TIMEOUT_TEXT}', limit)
    if 200 <= answer.status < 400:
        return Outcome(True, seconds=answer.seconds)
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}", answer.seconds)


@dataclass
class _Worker:
    kind: Kind
    probe: Manifest
    result: bool
    successes: int = 0
    failures: int = 0
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


class Prober:
    """The probes of one container instance.

    `changed` is called when started or ready changes; `kill` with the probe's kind when it must restart;
    `failed` with (kind, message) for every failure, which becomes an event.
    """

    def __init__(
        self,
        instance: ContainerInstance,
        clock: Clock,
        *,
        changed: Callable[[], None],
        kill: Callable[[Kind], None],
        failed: Callable[[Kind, str], None],
    ) -> None:
        self.instance = instance
        self.clock = clock
        self._changed = changed
        self._kill = kill
        self._failed = failed
        self._stopped = False
        spec = instance.spec
        self._workers: dict[Kind, _Worker] = {}
        for kind in ("startup", "liveness", "readiness"):
            probe = spec.get(f"{kind}Probe")
            if probe:
                # unknown until probed: liveness counts as alive, readiness and startup as not yet
                self._workers[kind] = _Worker(kind, probe, kind == "liveness")

    @property
    def started(self) -> bool:
        worker = self._workers.get("startup")
        return worker is None or worker.result

    @property
    def ready(self) -> bool:
        worker = self._workers.get("readiness")
        return self.started and (worker is None or worker.result)

    def start(self, *, started: bool = False, ready: bool = False) -> None:
        """Begin to probe; `started` and `ready` are what a status already says, when it is taken over."""
        if started and "startup" in self._workers:
            self._workers["startup"].result = True
        if ready and "readiness" in self._workers:
            self._workers["readiness"].result = True
        for kind, worker in self._workers.items():
            if kind == "startup" and not worker.result:
                self._schedule(worker, self._first(worker))
        if self.started:
            self._begin_others()

    def stop(self) -> None:
        self._stopped = True
        for worker in self._workers.values():
            if worker.timer is not None:
                worker.timer.cancel()
            if worker.task is not None:
                worker.task.cancel()

    def _first(self, worker: _Worker) -> float:
        age = self.clock.since(self.instance.started_at)
        return max(0.0, float(worker.probe.get("initialDelaySeconds") or 0) - age)

    def _begin_others(self) -> None:
        for kind, worker in self._workers.items():
            if kind != "startup" and worker.timer is None:
                self._schedule(worker, self._first(worker))

    def _schedule(self, worker: _Worker, seconds: float) -> None:
        if not self._stopped:
            delay = self.clock.scaled(seconds)
            worker.timer = asyncio.get_running_loop().call_later(delay, self._due, worker)

    def _due(self, worker: _Worker) -> None:
        if worker.probe.get("exec"):
            worker.task = asyncio.create_task(self._run_exec(worker))
            return
        outcome = quick_probe(self.instance, worker.probe)
        delay = self.clock.scaled(outcome.seconds)
        if delay > 0.02:  # a slow answer is known only when it is there
            loop = asyncio.get_running_loop()
            worker.timer = loop.call_later(delay, self._take, worker, outcome)
        else:
            self._take(worker, outcome)

    async def _run_exec(self, worker: _Worker) -> None:
        self._take(worker, await run_probe(self.instance, worker.probe))

    def _take(self, worker: _Worker, outcome: Outcome) -> None:
        if self._stopped or not self.instance.alive:
            return
        if outcome.ok:
            worker.successes, worker.failures = worker.successes + 1, 0
        else:
            worker.successes, worker.failures = 0, worker.failures + 1
            self._failed(worker.kind, outcome.message)
        before = (self.started, self.ready)
        needed = int(worker.probe.get("successThreshold") or 1)
        allowed = int(worker.probe.get("failureThreshold") or 3)
        if worker.successes >= needed:
            worker.result = True
        elif worker.failures >= allowed:
            worker.result = False
            if worker.kind in {"startup", "liveness"}:
                self._stopped = True
                self._kill(worker.kind)
                return
        if worker.kind == "startup" and worker.result:
            self._begin_others()
        else:
            self._schedule(worker, float(worker.probe.get("periodSeconds") or 10))
        if (self.started, self.ready) != before:
            self._changed()
