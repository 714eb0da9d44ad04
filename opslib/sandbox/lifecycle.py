"""The life of a sandbox: up, down, status."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox import pki, processes
from opslib.sandbox.admin import Admin
from opslib.sandbox.environment import env, exports
from opslib.sandbox.parts import Api, Platform
from opslib.sandbox.processes import Supervisor
from opslib.sandbox.services.base import Service
from opslib.sandbox.services.debian import LeftOutError
from opslib.sandbox.services.postgres import Postgres
from opslib.sandbox.services.prometheus import Prometheus
from opslib.sandbox.services.redis import Redis
from opslib.sandbox.snapshots import HEALTHY, save, together
from opslib.sandbox.state import (
    DEFAULT_SPEED,
    NAME,
    BadInputError,
    Process,
    Record,
    Sandbox,
    SandboxError,
    sandboxes_root,
    secret,
)

__all__ = ["Row", "down", "env", "exports", "names", "status", "unavailable", "up"]

Say = Callable[[str], None]
KINDS: tuple[type[Service], ...] = (Api, Postgres, Redis, Platform, Prometheus)
FASTEST, SLOWEST = 600.0, 1.0
SETTLE = 150.0  # seconds for every workload to become available


@dataclass(frozen=True)
class Row:
    """One process as `status` shows it. State: running, dead (it should run), stopped (on purpose), left out."""

    process: str
    state: str
    pid: int | None
    port: int | None
    resident: int  # bytes
    note: str

    @property
    def well(self) -> bool:
        return self.state in {"running", "left out"} and (self.state == "left out" or not self.note)


def silent(_: str) -> None:
    """Progress nobody wants to see."""


def names() -> list[str]:
    """The sandboxes there are."""
    root = sandboxes_root()
    return (
        sorted(folder.name for folder in root.iterdir() if NAME.match(folder.name)) if root.exists() else []
    )


# -- up


def up(name: str = "default", speed: float | None = None, say: Say = silent) -> Sandbox:
    """Bring a sandbox up, or mend one of which a process died; what runs well is left alone.

    The first time the healthy platform is imported, waited for and kept as the snapshot `healthy`. Raises
    BadInputError for a name or speed that cannot be, SandboxError when a part does not come up.
    """
    sandbox = Sandbox(name)
    if speed is not None and not SLOWEST <= speed <= FASTEST:
        raise BadInputError(f"speed {speed:g} cannot be.", next=f"use {SLOWEST:g} to {FASTEST:g}.")
    with sandbox.lock():
        record = sandbox.load()
        if sandbox.exists() and speed is not None and speed != record.speed:
            raise BadInputError(
                f"the sandbox {name} is there already, at speed {record.speed:g}.",
                next="run `opslib sandbox down` first, or leave --speed away.",
            )
        record.speed = record.speed if sandbox.exists() else speed or DEFAULT_SPEED
        sandbox.path.mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(sandbox, record)
        supervisor.save()
        _end_strays(sandbox, known={process.pid for process in record.processes.values()})
        pki.ensure(sandbox)
        secret(sandbox.path / Redis.name / "password")  # the platform's Secret holds it
        _start(supervisor, _timed(say))
    return sandbox


def _timed(say: Say) -> Say:
    began = time.monotonic()
    return lambda text: say(f"{time.monotonic() - began:5.1f} s  {text}")


def _start(supervisor: Supervisor, say: Say) -> None:
    api, postgres, redis = Api(supervisor), Postgres(supervisor), Redis(supervisor)
    platform, prometheus = Platform(supervisor), Prometheus(supervisor)

    def started(service: Service, label: str) -> None:
        fresh = not service.running()
        service.start()
        say(f"{label} {'started' if fresh else 'runs'} on port {service.port}")

    together(
        lambda: started(api, "Kubernetes API server"),
        lambda: started(postgres, "PostgreSQL"),
        lambda: started(redis, "Redis"),
        lambda: _past(supervisor, prometheus, say),
    )
    if Admin(supervisor.sandbox).get(f"/api/v1/namespaces/{pki.NAMESPACE}") is None:
        count = _import(supervisor.sandbox)
        say(f"healthy platform imported: {count} objects")
    started(platform, "platform (controllers, kubelet, edge, traffic)")
    if prometheus.name not in supervisor.record.left_out:
        started(prometheus, "Prometheus")
    if not (supervisor.sandbox.snapshots / HEALTHY / "snapshot.json").exists():
        _settle(supervisor.sandbox, say)
        save(supervisor, HEALTHY)
        say(f"snapshot `{HEALTHY}` taken")


def _past(supervisor: Supervisor, prometheus: Prometheus, say: Say) -> None:
    """Find Prometheus' programs and fill in its past, or note why this sandbox does without."""
    try:
        _ = prometheus.programs
    except LeftOutError as error:
        supervisor.record.left_out[prometheus.name] = str(error)
        supervisor.save()
        say(f"Prometheus is left out: {error}")
        return
    supervisor.record.left_out.pop(prometheus.name, None)
    if not prometheus.data.exists():
        prometheus.backfill()
        say("Prometheus has a healthy past")


def _import(sandbox: Sandbox) -> int:
    from opslib.sandbox import inventory

    objects = inventory.objects(datetime.now(UTC), sandbox.path)
    Admin(sandbox).send("POST", "/sandbox/v1/import", objects)
    return len(objects)


def _settle(sandbox: Sandbox, say: Say) -> None:
    deadline = time.monotonic() + SETTLE
    shown = -1
    while waiting := unavailable(sandbox):
        if len(waiting) != shown:
            shown = len(waiting)
            say(f"waiting for {shown} workloads, among them {waiting[0]}")
        if time.monotonic() > deadline:
            raise SandboxError(
                f"after {SETTLE:.0f} s these are not available: {', '.join(waiting)}.",
                next=f"look with `kubectl --kubeconfig {sandbox.kubeconfig} get pods -A`, and at {sandbox.logs}.",
            )
        time.sleep(0.2)
    say("every workload is available")


def unavailable(sandbox: Sandbox) -> list[str]:
    """The Deployments and StatefulSets, as NAMESPACE/NAME, that have fewer ready replicas than they ask for."""
    admin = Admin(sandbox)
    waiting = []
    for plural, counted in (("deployments", "availableReplicas"), ("statefulsets", "readyReplicas")):
        answer = admin.get(f"/apis/apps/v1/{plural}") or {"items": []}
        for item in answer["items"]:
            if _lacks(item, counted):
                waiting.append(f"{item['metadata']['namespace']}/{item['metadata']['name']}")
    return waiting


def _lacks(item: dict[str, Any], counted: str) -> bool:
    status = item.get("status", {})
    wanted = item["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 1)
    return not seen or status.get(counted, 0) < wanted or status.get("updatedReplicas", wanted) < wanted


# -- down


def down(name: str = "default", say: Say = silent) -> bool:
    """End every process of a sandbox and remove its folder; False when there was nothing.

    Raises BadInputError for a name that is none, SandboxError when a process cannot be ended.
    """
    sandbox = Sandbox(name)
    with sandbox.lock():
        there = sandbox.path.exists()
        record = _record_or_none(sandbox) or Record(name)
        supervisor = Supervisor(sandbox, record)
        if there:
            together(*(kind(supervisor).abandon for kind in KINDS))
        lost = _end_strays(sandbox, known=set())
        processes.remove(sandbox.path)
        if "OPSLIB_SANDBOX_DIR" not in os.environ:
            with contextlib.suppress(OSError):
                sandbox.path.parent.rmdir()  # ours, and empty when no other sandbox is in it
    if there or lost:
        say(f"the sandbox {name} is gone")
    return there or bool(lost)


def _end_strays(sandbox: Sandbox, known: set[int]) -> list[int]:
    """End what carries this sandbox's mark and is not known, left by an `up` that was killed; their pids."""
    lost = [pid for pid in processes.strays(sandbox) if not known & processes.ancestry(pid)]
    for pid in lost:
        if started := processes.identity(pid):
            processes.end(Process(pid, started), seconds=0.5)
    return lost


def _record_or_none(sandbox: Sandbox) -> Record | None:
    """The record, or None when it is damaged: `down` must work all the same, by the processes' marks."""
    try:
        return sandbox.load()
    except (SandboxError, KeyError, TypeError):
        return None


# -- status


def status(name: str = "default") -> list[Row]:
    """Every process of a sandbox and how it is. Raises SandboxError when there is no such sandbox."""
    sandbox = Sandbox(name)
    if not sandbox.exists():
        raise SandboxError(f"there is no sandbox {name}.", next="run `opslib sandbox up`.")
    supervisor = Supervisor(sandbox, sandbox.load())
    rows: list[list[Row]] = [[] for _ in KINDS]

    def look(index: int, kind: type[Service]) -> None:
        rows[index] = _rows(supervisor, kind(supervisor))

    together(*(lambda index=index, kind=kind: look(index, kind) for index, kind in enumerate(KINDS)))
    return [row for part in rows for row in part]


def _rows(supervisor: Supervisor, service: Service) -> list[Row]:
    if service.name in supervisor.record.left_out:
        return [Row(service.name, "left out", None, None, 0, supervisor.record.left_out[service.name])]
    trouble = service.trouble() if service.running() else ""
    rows = []
    for process in service.processes:
        port = service.port_of(process)
        known = supervisor.record.processes.get(process)
        if known is None:
            rows.append(Row(process, "stopped", None, port, 0, "stopped on purpose"))
        elif not processes.alive(known):
            rows.append(Row(process, "dead", known.pid, port, 0, "it should run and does not"))
        else:
            rows.append(Row(process, "running", known.pid, port, processes.resident(known.pid), trouble))
    return rows
