"""A real Change for tests: its platform is a JSON file, whose objects carry values, a guard and the mark."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from opslib.errors import LeaseHeld, TargetChanged
from opslib.records.change import AboutTo, Change, DryRun, Mark, Progress, Risk, Settled, Target, Tried, Undo
from opslib.records.measurement import Measurement

UID = "11111111-2222-3333-4444-555555555555"


class Store:
    """The platform: objects in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def write(self, data: Mapping[str, Any]) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data))
        temporary.replace(self.path)

    def mark_now_run(self) -> str:
        return str(self.read()["mark"]["run"])

    # The noun's face.

    def identity(self) -> str:
        return "system:serviceaccount:ops:responder"

    def cluster_uid(self) -> str:
        return self.read().get("uid", UID)

    def set_replicas(self, replicas: int, **settings: Any) -> SetReplicas:
        return SetReplicas(self, replicas, **settings)

    def revive(self, spec: Mapping[str, Any]) -> SetReplicas:
        return SetReplicas(self, spec["replicas"], operation="undo")


class SetReplicas(Change):
    """Sets `replicas` of the one object.

    `stop` names a file: apply waits there, to be killed in the middle.
    """

    dry_run_kind = DryRun.SERVER
    undo_kind = Undo.EXACT

    def __init__(
        self, store: Store, replicas: int, *, operation: str = "scale", name: str = "scale-api-gateway", stop: str = "",
        after_write: bool = False, allowed: str = "ok", rejected: str = "", settles: bool = True,
    ) -> None:  # fmt: skip
        now = store.read()
        self.store, self.replicas = store, replicas
        self.name, self.operation = name, operation
        self.title = f"Scale api-gateway from {now['replicas']} to {replicas}"
        self.target = Target("test", now.get("uid", UID), "pss-nano", "deployment/api-gateway", "uid-1")
        self.before = {"replicas": now["replicas"]}
        self.after = {"replicas": replicas}
        self.guard = now.get("hash", "")
        self.risk = Risk("low", "adds pods <b>only</b>", ("deployment/api-gateway",))
        self.commands = (f"kubectl scale deployment/api-gateway --replicas={replicas}",)
        self.follow_ups = ("look at the autoscaler",)
        self.stop, self.after_write, self.allowed, self.rejected, self.settles = (
            stop, after_write, allowed, rejected, settles,
        )  # fmt: skip

    def permitted(self) -> Tried:
        return Tried(self.allowed, "patch deployments/scale")

    def dry_run(self) -> Tried:
        return Tried("rejected", self.rejected) if self.rejected else Tried("ok", "the server would take it")

    @contextmanager
    def _lease(self, holder: str) -> Iterator[None]:
        path = self.store.path.with_suffix(".lease")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise LeaseHeld("somebody else is changing it", target=str(self.target), next="wait") from None
        try:
            yield
        finally:
            path.unlink()

    def lease(self, holder: str) -> AbstractContextManager[None]:
        return self._lease(holder)

    def mark_now(self) -> Mark | None:
        mark = self.store.read().get("mark")
        return Mark(**mark) if mark else None

    def apply(self, mark: Mark, about_to: AboutTo) -> Mapping[str, Any]:
        data = self.store.read()
        if data.get("hash", "") != self.guard:
            raise TargetChanged("the object changed", target=str(self.target), next="observe again")
        about_to({"verb": "patch", "object": self.target.object})
        if self.stop and not self.after_write:
            self._wait()
        before = data["replicas"]
        data.update(
            replicas=self.replicas,
            mark={"run": mark.run, "digest": mark.digest},
            writes=data.get("writes", 0) + 1,
        )
        self.store.write(data)
        if self.stop:
            self._wait()
        return {"replicas": {"before": before, "after": self.replicas}}

    def _wait(self) -> None:
        Path(self.stop).touch()
        time.sleep(60)

    async def settle(self, receipt: Mapping[str, Any], progress: Progress, deadline: float) -> Settled:
        progress("1 of 2 pods ready")
        progress("2 of 2 pods ready")
        return Settled(self.settles, "rollout complete" if self.settles else "progress deadline exceeded")

    def undo_spec(self, receipt: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"noun": "cluster", "replicas": receipt["replicas"]["before"]}


class Errors:
    """A symptom with given answers: (value, samples) one a measurement, the last one repeated."""

    what, limit, minimum_samples, unit = "share of failed requests", 0.01, 10, "ratio"
    interval, deadline = 0.01, 0.3

    def __init__(self, *answers: tuple[float | None, int]) -> None:
        self.answers = list(answers)
        self.since: list[datetime] = []

    def measure(self, since: datetime) -> Measurement:
        self.since.append(since)
        value, samples = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Measurement(value, "ratio", samples=samples, unknown="" if value is not None else "no answer")


FRONT = """---
title: P0 service down
severity: P0
alerts: [ServiceDown]
owner: operations
reviewed: 2026-11-01
review_every: 90 days
symptoms: [no answers]
reads: []
changes: []
related: []
parameters:
  replicas: {minimum: 0, maximum: 20}
---"""
PARAMETERS = """incident: str = ""  # incident this run belongs to
profile: str = ""  # which platform
cluster_uid: str = ""  # the cluster this is meant for
replicas: int = 4  # how many
approve: str = ""  # changes confirmed"""


def notebook(folder: Path, *cells: str) -> Path:
    """The test's runbook, `incident-response/p0`, with these code cells after the parameters."""
    import nbformat.v4 as v4

    path = folder / "incident-response" / "p0.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = [
        v4.new_raw_cell(FRONT),
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        *(v4.new_code_cell(cell) for cell in cells),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps(v4.new_notebook(cells=body, metadata=kernel)))
    return path
