"""What is wrong with each Deployment, read from its pods, its events and its own status.

The reasons are Kubernetes' own (waiting reasons, termination reasons, event reasons); nothing is guessed from a
restart count alone, because back-off makes a long-broken pod restart less and less (PLATFORM.md 7.1, M1).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

from opslib.diagnosis.seen import Seen

PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError")
CRASH = ("CrashLoopBackOff",)
KILLED = 137, 143  # SIGKILL, SIGTERM: ended from outside, by the kubelet or the kernel


class Kind(StrEnum):
    """What keeps a Deployment from serving."""

    SCALED_TO_ZERO = "scaled to zero"
    QUOTA = "quota exceeded"
    UNSCHEDULABLE = "no node fits"
    IMAGE = "image cannot be pulled"
    CONFIGURATION = "configuration is missing"
    MEMORY = "out of memory"
    CRASH = "pods crash"
    LIVENESS = "killed by the liveness probe"
    NOT_READY = "pods are not ready"
    STALLED = "rollout stalled"


@dataclass(frozen=True)
class Trouble:
    """One Deployment, what is wrong with it, and how much of it still serves."""

    deployment: str
    kind: Kind
    says: str
    because: list[str] = field(default_factory=list)
    ready: int = 0
    desired: int = 0
    hashes: tuple[str, ...] = ()  # the pod-template hashes of the pods concerned

    @property
    def down(self) -> bool:
        """Nothing of it serves."""
        return self.ready == 0


def troubles(seen: Seen) -> list[Trouble]:
    """The trouble of every Deployment that has one; [] when the Deployments or the pods were not seen."""
    if not (seen.known("deployments") and seen.known("pods")):
        return []
    found = (_trouble(row, seen) for row in seen.deployments.to_dict("records"))
    return [trouble for trouble in found if trouble]


def _trouble(row: Mapping[Hashable, object], seen: Seen) -> Trouble | None:
    name, desired, ready = str(row["deployment"]), int(str(row["desired"])), int(str(row["ready"]))
    pods = seen.pods[(seen.pods["deployment"] == name) & ~seen.pods["terminating"].astype(bool)]
    events = events_of(seen, name, pods)
    bad = pods[~pods["ready"].astype(bool)]

    def trouble(kind: Kind, says: str, *because: str, concerned: pd.DataFrame = bad) -> Trouble:
        serving = f"{ready} of {desired} pods are ready"
        hashes = tuple(sorted(set(concerned["revision_hash"]) - {""})) if len(concerned) else ()
        return Trouble(name, kind, says, [serving, *(b for b in because if b)], ready, desired, hashes)

    if desired == 0:
        return trouble(
            Kind.SCALED_TO_ZERO, f"{name} is scaled to 0 replicas", *_said(events, "ScalingReplicaSet")
        )
    denied = events[(events["reason"] == "FailedCreate")] if len(events) else events
    if len(pods) < desired and len(denied):
        message = str(denied.iloc[-1]["message"])
        says = f"pods of {name} cannot be created: " + (
            "the quota is used up" if "quota" in message else "refused"
        )
        return trouble(Kind.QUOTA, says, message)
    if not len(bad) and row["rollout"] != "stalled":
        return None
    waiting = bad["waiting_reason"]
    if len(pick := bad[waiting.isin(PULL)]):
        image = str(pick.iloc[0]["image"])
        return trouble(
            Kind.IMAGE, f"{name} cannot pull {image}", str(pick.iloc[0]["waiting_message"]), concerned=pick
        )
    if len(pick := bad[waiting.isin(CONFIGURATION)]):
        first = str(pick.iloc[0]["waiting_message"])
        return trouble(Kind.CONFIGURATION, f"containers of {name} cannot start: {first}", concerned=pick)
    if len(pick := bad[bad["last_reason"] == "OOMKilled"]):
        return trouble(
            Kind.MEMORY, f"containers of {name} run out of memory (OOMKilled, 137)", concerned=pick
        )
    liveness = [line for line in _said(events, "Unhealthy") if line.startswith("Liveness")]
    crashed = bad[waiting.isin(CRASH) | (bad["restarts"].astype(int) > 0) & bad["last_exit_code"].notna()]
    if len(crashed):
        codes = sorted({int(code) for code in crashed["last_exit_code"].dropna()})
        if liveness and all(code in KILLED or code == 0 for code in codes):
            return trouble(
                Kind.LIVENESS, f"containers of {name} are restarted by their liveness probe", *liveness[-1:]
            )
        code = ", ".join(map(str, codes)) or "unknown"
        return trouble(
            Kind.CRASH,
            f"{len(crashed)} of {len(pods)} pods of {name} crash (exit code {code})",
            *last_words(seen, name),
            concerned=crashed,
        )
    if len(pick := bad[(bad["node"] == "") & (bad["phase"] == "Pending")]):
        says = f"{len(pick)} pods of {name} fit on no node"
        return trouble(Kind.UNSCHEDULABLE, says, str(pick.iloc[0]["message"]), concerned=pick)
    if row["rollout"] == "stalled":
        return trouble(Kind.STALLED, f"the rollout of {name} does not progress", str(row["message"]))
    young = row["rollout"] == "in progress" and bad["age_seconds"].astype(float).max() < 30
    if len(bad) and not young:
        says = f"{len(bad)} of {len(pods)} pods of {name} are not ready"
        return trouble(Kind.NOT_READY, says, *_said(events, "Unhealthy")[-1:])
    return None


def events_of(seen: Seen, name: str, pods: pd.DataFrame) -> pd.DataFrame:
    """The events about a Deployment, its ReplicaSets and its pods, oldest first."""
    if not seen.known("events") or not len(seen.events):
        return pd.DataFrame(columns=["at", "type", "reason", "kind", "name", "message", "count", "source"])
    events = seen.events
    about = (events["name"] == name) | events["name"].isin(pods["pod"])
    hashes = "|".join(sorted(set(pods["revision_hash"]) - {""})) or "[a-f0-9]+"
    replicaset = (events["kind"] == "ReplicaSet") & events["name"].str.fullmatch(
        rf"{name}-(?:{hashes}|\w{{8,10}})"
    )
    return events[about | replicaset].sort_values("at")


def last_words(seen: Seen, name: str, lines: int = 1) -> list[str]:
    """The most frequent error lines of a Deployment's pods; [] when no log was read."""
    if not seen.known("messages") or not len(seen.messages):
        return []
    mine = seen.messages[seen.messages["deployment"] == name]
    errors = mine[mine["level"].isin(["error", "fatal", "critical"])]
    return [f"its log says: {text}" for text in errors["example"].head(lines)]


def _said(events: pd.DataFrame, reason: str) -> list[str]:
    return [str(text) for text in events[events["reason"] == reason]["message"]] if len(events) else []


def newcomers(seen: Seen, hours: float = 24) -> list[str]:
    """The Deployments younger than a day, with what they hold: who may have used the quota up."""
    young = seen.deployments[seen.deployments["age_seconds"].astype(float) < hours * 3600]
    return [
        f"{row['deployment']} is new (created at {row['created']:%H:%M:%S}Z) and holds"
        f" {int((seen.pods['deployment'] == row['deployment']).sum())} pods"
        for row in young.to_dict("records")
    ]


def in_trouble(service: str, deployments: pd.DataFrame, pods: pd.DataFrame, limit: int = 6) -> list[str]:
    """The Deployments whose logs are worth reading: the entry service, then those with pods that are not ready.

    At most `limit`, because a log read costs a request a pod.
    """
    bad: list[str] = []
    if len(pods):
        bad = list(pods.loc[~pods["ready"].astype(bool) & (pods["deployment"] != ""), "deployment"])
    known = set(deployments["deployment"])
    names = [service, *(name for name in dict.fromkeys(bad) if name != service)]
    return [name for name in names if name in known][:limit]
