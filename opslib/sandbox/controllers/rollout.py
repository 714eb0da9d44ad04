"""The arithmetic of a Deployment's rollout, free of any I/O.

Source: kubernetes pkg/controller/deployment/{rolling.go,sync.go,progress.go} and its util package.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import parse_stamp
from opslib.sandbox.controllers.objects import condition, int_or_percent

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
}
NO_DEADLINE = 2**31 - 1


def wanted(obj: Manifest) -> int:
    """spec.replicas of a Deployment or ReplicaSet (default 1)."""
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def current(rs: Manifest, field: str = "replicas") -> int:
    """A count in a ReplicaSet's or Deployment's status."""
    return int((rs.get("status") or {}).get(field) or 0)


def is_rolling(deployment: Manifest) -> bool:
    kind: str = (deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate")
    return kind == "RollingUpdate"


def limits(deployment: Manifest) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods, as ResolveFenceposts: surge rounds up, unavailable down, never both 0."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = wanted(deployment)
    surge = int_or_percent(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = int_or_percent(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas) if replicas else unavailable


def max_unavailable(deployment: Manifest) -> int:
    if not is_rolling(deployment) or wanted(deployment) == 0:
        return 0
    return min(limits(deployment)[1], wanted(deployment))


def new_replicas(deployment: Manifest, all_sets: list[Manifest], new: Manifest | None) -> int:
    """How many replicas the new ReplicaSet may have now (NewRSNewReplicas)."""
    have = wanted(new) if new is not None else 0
    if not is_rolling(deployment):
        return wanted(deployment)
    surge, _ = limits(deployment)
    pods = sum(wanted(rs) for rs in all_sets)
    room = wanted(deployment) + surge - pods
    if room <= 0:
        return have
    return have + min(room, wanted(deployment) - have)


def old_scale_down(deployment: Manifest, all_sets: list[Manifest], new: Manifest) -> int:
    """How many pods of old ReplicaSets may go at most, counting unhealthy ones (reconcileOldReplicaSets)."""
    pods = sum(wanted(rs) for rs in all_sets)
    minimum = wanted(deployment) - max_unavailable(deployment)
    new_unavailable = wanted(new) - current(new, "availableReplicas")
    return pods - minimum - new_unavailable


def unhealthy_first(old: list[Manifest], limit: int) -> list[tuple[Manifest, int]]:
    """(ReplicaSet, its new replicas) that remove unavailable pods of old ReplicaSets, oldest first."""
    result, done = [], 0
    for rs in sorted(old, key=created):
        if done >= limit:
            break
        replicas, available = wanted(rs), current(rs, "availableReplicas")
        if replicas in {0, available}:
            continue
        count = min(limit - done, replicas - available)
        if count <= 0:
            continue
        result.append((rs, replicas - count))
        done += count
    return result


def healthy_next(
    deployment: Manifest, all_sets: list[Manifest], old: list[Manifest]
) -> list[tuple[Manifest, int]]:
    """(ReplicaSet, its new replicas) that remove available old pods above the minimum, oldest first."""
    minimum = wanted(deployment) - max_unavailable(deployment)
    total = sum(current(rs, "availableReplicas") for rs in all_sets) - minimum
    result, done = [], 0
    for rs in sorted(old, key=created):
        if done >= total:
            break
        if wanted(rs) == 0:
            continue
        count = min(wanted(rs), total - done)
        result.append((rs, wanted(rs) - count))
        done += count
    return result


def proportional(deployment: Manifest, active: list[Manifest]) -> list[tuple[Manifest, int]]:
    """(ReplicaSet, its new replicas) when a Deployment is scaled in the middle of a rollout (scale)."""
    replicas = wanted(deployment)
    surge = limits(deployment)[0]
    allowed = replicas + surge if replicas > 0 else 0
    to_add = allowed - sum(wanted(rs) for rs in active)
    newer_first = sorted(active, key=created, reverse=to_add > 0)
    ordered = sorted(newer_first, key=wanted, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        name = rs["metadata"]["name"]
        sizes[name] = wanted(rs)
        if to_add == 0 or wanted(rs) == 0 or to_add == added:
            continue
        fraction = _fraction(deployment, rs, surge)
        rest = to_add - added
        change = min(fraction, rest) if to_add > 0 else max(fraction, rest)
        sizes[name] += change
        added += change
    if ordered and to_add != 0:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(0, sizes[first] + to_add - added)
    return [(rs, sizes[rs["metadata"]["name"]]) for rs in ordered]


def _fraction(deployment: Manifest, rs: Manifest, surge: int) -> int:
    if wanted(deployment) == 0:
        return -wanted(rs)
    annotated = (rs["metadata"].get("annotations") or {}).get(MAXIMUM)
    before = int(annotated) if annotated and annotated.isdigit() and int(annotated) else current(deployment)
    if not before:
        return 0
    # Go's math.Round: halves away from zero
    return math.floor(wanted(rs) * (wanted(deployment) + surge) / before + 0.5) - wanted(rs)


def created(obj: Manifest) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp", "")), str(obj["metadata"]["name"])


def revision(rs: Manifest) -> int:
    text = str((rs["metadata"].get("annotations") or {}).get(REVISION, "0"))
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True)
class Counts:
    """The numbers of a Deployment's status."""

    replicas: int
    updated: int
    ready: int
    available: int
    unavailable: int

    @classmethod
    def of(cls, all_sets: list[Manifest], new: Manifest | None) -> Counts:
        available = sum(current(rs, "availableReplicas") for rs in all_sets)
        return cls(
            replicas=sum(current(rs) for rs in all_sets),
            updated=current(new) if new is not None else 0,
            ready=sum(current(rs, "readyReplicas") for rs in all_sets),
            available=available,
            unavailable=max(0, sum(wanted(rs) for rs in all_sets) - available),
        )

    def as_status(self) -> Manifest:
        """The fields as the API shows them: zeros are left out."""
        fields = {
            "replicas": self.replicas,
            "updatedReplicas": self.updated,
            "readyReplicas": self.ready,
            "availableReplicas": self.available,
            "unavailableReplicas": self.unavailable,
        }
        return {name: value for name, value in fields.items() if value}


def complete(deployment: Manifest, counts: Counts) -> bool:
    """DeploymentComplete: everything updated, available, and nothing old left."""
    replicas = wanted(deployment)
    return counts.updated == replicas and counts.replicas == replicas and counts.available == replicas


def progressing(deployment: Manifest, counts: Counts) -> bool:
    """DeploymentProgressing: more updated, fewer old, more ready or more available than the status says."""
    old_updated, old_total = current(deployment, "updatedReplicas"), current(deployment)
    return (
        counts.updated > old_updated
        or counts.replicas - counts.updated < old_total - old_updated
        or counts.ready > current(deployment, "readyReplicas")
        or counts.available > current(deployment, "availableReplicas")
    )


def deadline_left(deployment: Manifest, now: dt.datetime, speed: float) -> float | None:
    """Platform seconds until the progress deadline; None without a deadline or without progress to wait for."""
    entry = condition(deployment, "Progressing")
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    if entry is None or seconds is None or seconds == NO_DEADLINE or not entry.get("lastUpdateTime"):
        return None
    if entry.get("reason") == "NewReplicaSetAvailable":
        return None
    elapsed = (now - parse_stamp(entry["lastUpdateTime"])).total_seconds() * speed
    return float(seconds) - elapsed
