"""The conditions of a Deployment: available, progressing, failing.

Source: kubernetes pkg/controller/deployment/{sync.go,progress.go} (v1.32); reasons and messages are upstream's.
"""

from __future__ import annotations

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers import rollout
from opslib.sandbox.controllers.objects import condition, with_condition, without_condition
from opslib.sandbox.controllers.rollout import NO_DEADLINE, Counts, wanted


class Conditions:
    """The conditions of one Deployment while it is looked at."""

    def __init__(self, deployment: Manifest, clock: Clock) -> None:
        self.d = deployment
        self.clock = clock
        self.entries: list[Manifest] = list((deployment.get("status") or {}).get("conditions") or [])

    def get(self, kind: str) -> Manifest | None:
        return condition({"status": {"conditions": self.entries}}, kind)

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        entry = {"type": kind, "status": status, "reason": reason, "message": message}
        self.entries = with_condition(self.entries, entry, self.clock.now(), update_time=True)

    @property
    def has_deadline(self) -> bool:
        seconds = self.d["spec"].get("progressDeadlineSeconds")
        return seconds is not None and seconds != NO_DEADLINE

    def note_paused(self) -> None:
        """Paused or resumed, so that the time in between is not taken for a lack of progress."""
        if not self.has_deadline:
            return
        reason = (self.get("Progressing") or {}).get("reason")
        if reason == "ProgressDeadlineExceeded":
            return
        if self.d["spec"].get("paused") and reason != "DeploymentPaused":
            self.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        elif not self.d["spec"].get("paused") and reason == "DeploymentPaused":
            self.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")

    def judge(
        self, counts: Counts, new: Manifest | None, sets: list[Manifest | None], estimate: bool
    ) -> None:
        """Set all conditions by what the ReplicaSets say; `estimate` also judges the rollout's progress."""
        if counts.available >= wanted(self.d) - rollout.max_unavailable(self.d):
            text = "Deployment has minimum availability."
            self.set("Available", "True", "MinimumReplicasAvailable", text)
        else:
            text = "Deployment does not have minimum availability."
            self.set("Available", "False", "MinimumReplicasUnavailable", text)
        if not self.has_deadline:
            self.entries = without_condition(self.entries, "Progressing")
        elif estimate:
            self._estimate(counts, new)
        self._copy_failure(sets)

    def _estimate(self, counts: Counts, new: Manifest | None) -> None:
        entry = self.get("Progressing")
        settled = entry is not None and entry.get("reason") == "NewReplicaSetAvailable"
        if counts.replicas == counts.updated and settled:
            return
        name = self.d["metadata"]["name"]
        what = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{name}"'
        if rollout.complete(self.d, counts):
            text = f"{what} has successfully progressed."
            self.set("Progressing", "True", "NewReplicaSetAvailable", text)
        elif rollout.progressing(self.d, counts):
            kept = entry.get("lastTransitionTime") if entry and entry.get("status") == "True" else None
            self.entries = without_condition(self.entries, "Progressing")
            self.set("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.")
            if kept:
                self.entries[-1]["lastTransitionTime"] = kept
        elif self._timed_out(entry):
            text = f"{what} has timed out progressing."
            self.set("Progressing", "False", "ProgressDeadlineExceeded", text)

    def _timed_out(self, entry: Manifest | None) -> bool:
        if entry is None or entry.get("reason") == "NewReplicaSetAvailable":
            return False
        if entry.get("reason") == "ProgressDeadlineExceeded":
            return True
        probe = {"spec": self.d["spec"], "status": {"conditions": [entry]}}
        left = rollout.deadline_left(probe, self.clock.now(), self.clock.speed)
        return left is not None and left <= 0

    def _copy_failure(self, sets: list[Manifest | None]) -> None:
        for rs in sets:
            failure = condition(rs, "ReplicaFailure") if rs is not None else None
            if failure is not None:
                self.set(
                    "ReplicaFailure",
                    failure["status"],
                    failure.get("reason", ""),
                    failure.get("message", ""),
                )
                return
        self.entries = without_condition(self.entries, "ReplicaFailure")
