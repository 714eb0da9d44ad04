"""The whole state of a sandbox, kept under a name and put back: the cluster, PostgreSQL, Redis, Argo CD's git folder.

Prometheus is not kept but made again with a healthy past, so that no error of an earlier fault remains in it. While
stores are swapped the platform process is held still (SIGSTOP), so that no probe of it sees them away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from opslib.sandbox.admin import Admin
from opslib.sandbox.parts import Api, Platform
from opslib.sandbox.processes import Supervisor, remove
from opslib.sandbox.services.base import Service
from opslib.sandbox.services.postgres import Postgres
from opslib.sandbox.services.prometheus import Prometheus
from opslib.sandbox.services.redis import Redis
from opslib.sandbox.state import NAME, BadInputError, Sandbox, SandboxError, read_json, write_atomic

HEALTHY = "healthy"


def together(*tasks: Callable[[], object]) -> None:
    """Run tasks at the same time and wait for all; then the first error, in their order, is raised."""
    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


@contextlib.contextmanager
def _held(supervisor: Supervisor) -> Iterator[None]:
    process = supervisor.record.processes.get("platform")
    if process is None or not supervisor.running("platform"):
        yield
        return
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)


def _folder(sandbox: Sandbox, name: str) -> Path:
    if not NAME.match(name):
        raise BadInputError(
            f"{name!r} is no name for a snapshot.", next="use 1 to 40 lower-case letters, digits and hyphens."
        )
    return sandbox.snapshots / name


def listing(sandbox: Sandbox) -> list[dict[str, str]]:
    """The snapshots of a sandbox, oldest first: name and made (UTC, ISO 8601)."""
    found = [read_json(path) for path in sandbox.snapshots.glob("[a-z0-9]*/snapshot.json")]
    return sorted((entry for entry in found if entry), key=lambda entry: str(entry["made"]))


def save(supervisor: Supervisor, name: str) -> None:
    """Keep the state of a sandbox under a name; one of that name is replaced. Its data services run afterwards.

    Raises BadInputError for a name that is none, SandboxError when a part cannot be saved; nothing is kept then.
    """
    target = _folder(supervisor.sandbox, name)
    part = target.with_name(f".{name}.part")
    remove(part)
    part.mkdir(parents=True)
    pairs: list[tuple[Service, str]] = [
        (Api(supervisor), "kube.json"),
        (Platform(supervisor), "git"),
        (Postgres(supervisor), "postgres"),
        (Redis(supervisor), "redis"),
    ]
    try:
        with _held(supervisor):
            together(
                *(lambda service=service, file=file: service.save(part / file) for service, file in pairs)
            )
        made = {"name": name, "made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        write_atomic(part / "snapshot.json", json.dumps(made) + "\n")
        remove(target)
        part.rename(target)
    finally:
        remove(part)


def restore(supervisor: Supervisor, name: str) -> None:
    """Put a sandbox back to the state kept under a name; every process runs afterwards, whatever ran before.

    Raises BadInputError when there is no such snapshot, SandboxError when a part cannot be put back.
    """
    sandbox = supervisor.sandbox
    source = _folder(sandbox, name)
    if not (source / "snapshot.json").exists():
        there = ", ".join(entry["name"] for entry in listing(sandbox)) or "none"
        raise BadInputError(
            f"the sandbox {sandbox.name} has no snapshot {name!r}.",
            next=f"use one of its snapshots: {there}.",
        )
    api, platform = Api(supervisor), Platform(supervisor)
    prometheus = Prometheus(supervisor)
    left_out = "prometheus" in supervisor.record.left_out

    def cluster() -> None:
        api.restore(source / "kube.json")
        platform.restore(source / "git")

    if not left_out:
        # It must not see what is going on now.
        prometheus.discard()
    if supervisor.running("platform"):
        with contextlib.suppress(SandboxError):  # one that does not answer changes nothing either
            Admin(sandbox).control("POST", "/pause", seconds=5.0)
    with _held(supervisor):
        together(
            cluster,
            lambda: Postgres(supervisor).restore(source / "postgres"),
            lambda: Redis(supervisor).restore(source / "redis"),
            *([] if left_out else [prometheus.backfill]),
        )
    platform.reset()
    if not left_out:
        prometheus.start()


def require(sandbox: Sandbox) -> Supervisor:
    """The supervisor of a sandbox that is there; raises SandboxError when it is not."""
    if not sandbox.exists():
        raise SandboxError(f"there is no sandbox {sandbox.name}.", next="run `opslib sandbox up` first.")
    return Supervisor(sandbox, sandbox.load())
