"""The runbook's four ways out of a P0, each with the reasons for and against it from what was seen.

Rollback, scale up, restart, maintenance mode (RUNBOOK.md, P0): every one is always in the table, also when it is no
way out here, because the reason against it is what a tired person needs to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from opslib.diagnosis.causes import DOWN, ROLLED_OUT_SINCE, failed_share
from opslib.diagnosis.releases import changed_configuration, releases
from opslib.diagnosis.seen import Seen
from opslib.diagnosis.troubles import Kind, Trouble, events_of, troubles
from opslib.errors import Refused, SourceError
from opslib.records.change import Change
from opslib.records.finding import Finding
from opslib.records.option import Decision, Option

if TYPE_CHECKING:
    from opslib.cluster import Cluster

ROLLBACK, SCALE, RESTART, MAINTENANCE = "rollback", "scale up", "restart", "maintenance mode"
# A release explains these; an undo of the Deployment can take them back.
OF_A_RELEASE = (Kind.IMAGE, Kind.CRASH, Kind.CONFIGURATION, Kind.MEMORY, Kind.STALLED, Kind.LIVENESS)


def ways_out(seen: Seen, findings: Sequence[Finding], cluster: Cluster) -> list[Option]:
    """The four options, best viable one by its score; all are not viable when nothing is wrong.

    `cluster` builds the changes; it is read from, never written to.
    """
    causes = [f for f in findings if f.cause and f.status != "ok"]
    first = [
        _rollback(seen, causes, cluster),
        _scale(seen, causes, cluster),
        _restart(seen, causes, cluster),
    ]
    return [*first, _maintenance(seen, causes, first, cluster)]


def _rollback(seen: Seen, causes: Sequence[Finding], cluster: Cluster) -> Option:
    found = {t.deployment: t for t in troubles(seen)}
    known = releases(seen)
    blamed = [f for f in causes if f.name.startswith("bad-release-") or _released(f, found, known)]
    if not blamed:
        why = "no release explains what is wrong" if causes else "nothing is wrong"
        return Option(ROLLBACK, None, [], [why], viable=False)
    deployment = _name(blamed[0])
    against = changed_configuration(seen, deployment)
    try:
        candidates = cluster.rollback_candidates(deployment)
    except SourceError as error:
        return Option(ROLLBACK, None, [], [f"unknown: {error}"], viable=False)
    if "unknown" in candidates.attrs:
        missing = f"the revisions of {deployment} are unknown: {candidates.attrs['unknown']}"
        return Option(ROLLBACK, None, [], [missing], viable=False)
    preferred = candidates[candidates["preferred"]]
    if not len(preferred):
        reasons = [f"revision {row['revision']}: {row['why']}" for row in candidates.to_dict("records")]
        return Option(
            ROLLBACK, None, [], [*(reasons or ["there is no earlier revision"]), *against], viable=False
        )
    row = preferred.iloc[0]
    reasons = [blamed[0].says, f"revision {row['revision']} ({', '.join(row['images'])}): {row['why']}"]
    change, problem = _build(lambda: cluster.rollback(deployment, int(row["revision"])))
    if problem:
        return Option(ROLLBACK, None, reasons, [problem], viable=False)
    older = _older_crash(found.get(deployment), candidates)
    if older:
        return Option(ROLLBACK, change, reasons, [older, *against], viable=False)
    if change and change.follow_ups:
        against.append(f"it leaves something to do: {'; '.join(change.follow_ups)} (G6)")
    return Option(ROLLBACK, change, reasons, against, viable=True, score=0.9)


def _released(finding: Finding, found: dict[str, Trouble], known: Mapping[str, object]) -> bool:
    trouble = found.get(_name(finding))
    return trouble is not None and trouble.kind in OF_A_RELEASE and trouble.deployment in known


def _older_crash(trouble: Trouble | None, candidates: object) -> str:
    """Pods of an earlier revision crash as well: then the cause is not in the pod template."""
    import pandas as pd

    if (
        trouble is None
        or trouble.kind not in (Kind.CRASH, Kind.CONFIGURATION)
        or not isinstance(candidates, pd.DataFrame)
    ):
        return ""
    earlier = [
        rs for rs in candidates["replicaset"] if any(str(rs).endswith(f"-{h}") for h in trouble.hashes)
    ]
    return (
        f"pods of the earlier {earlier[0]} fail the same way: the pod template is not the cause"
        if earlier
        else ""
    )


def _scale(seen: Seen, causes: Sequence[Finding], cluster: Cluster) -> Option:
    zero = [t for t in troubles(seen) if t.kind is Kind.SCALED_TO_ZERO]
    if zero and causes:
        wanted = {t.deployment: replicas_before(seen, t.deployment) for t in zero}
        # Stores, then leaf services, the entry last: its health is that of its backends (E4).
        ordered = dict(sorted(wanted.items(), key=lambda item: item[0] == seen.service))
        change, problem = _build(lambda: cluster.scale_many(ordered))
        reasons = [f"{len(zero)} Deployments are scaled to 0; an autoscaler does nothing at 0 replicas (E3)"]
        return Option(
            SCALE, change, reasons, [problem] if problem else [], viable=change is not None, score=0.95
        )
    if not causes:
        return Option(SCALE, None, [], ["nothing is wrong"], viable=False)
    saturated = [f for f in causes if f.name == f"saturated-{seen.service}"]
    if not saturated:
        return Option(SCALE, None, [], _no_room(seen, causes), viable=False)
    replicas = enough(_desired(seen), failed_share(seen) or 0.0)
    room = cluster.headroom(seen.service, replicas)
    room = room[room["limit"] != "autoscaler"]  # its maximum is what this change raises
    short = [f"{row['limit']}: {row['why']}" for row in room[room["ok"] == False].to_dict("records")]  # noqa: E712
    if short:
        return Option(SCALE, None, [saturated[0].says], short, viable=False)
    change, problem = _build(lambda: cluster.scale(seen.service, replicas, raise_maximum=True))
    return Option(
        SCALE, change, [saturated[0].says], [problem] if problem else [], viable=change is not None, score=0.8
    )


def replicas_before(seen: Seen, deployment: str) -> int:
    """How many replicas a Deployment at 0 had: its autoscaler's minimum, else what its last scaling event says, else 1."""
    if seen.known("hpas") and len(mine := seen.hpas[seen.hpas["deployment"] == deployment]):
        return max(1, int(mine.iloc[0]["min"]))
    none = seen.pods.iloc[:0]
    said = " ".join(str(m) for m in events_of(seen, deployment, none).get("message", []))
    counts = re.findall(r"from (\d+) to 0", said)
    return int(counts[-1]) if counts else 1


def enough(replicas: int, failed: float) -> int:
    """How many replicas to ask for: twice as many, six times as many when most requests fail.

    Coarse on purpose: the share differs from run to run, and a confirmation is for one number.
    """
    return max(1, replicas) * (6 if failed >= DOWN else 2)


def _no_room(seen: Seen, causes: Sequence[Finding]) -> list[str]:
    kinds = {t.kind for t in troubles(seen)}
    if Kind.QUOTA in kinds:
        return ["no further pod can be created: the quota is used up (A4)"]
    if Kind.UNSCHEDULABLE in kinds:
        return ["no further pod can be placed: no node fits (A4)"]
    return [f"more pods of the same do not help: {causes[0].says}"]


def _restart(seen: Seen, causes: Sequence[Finding], cluster: Cluster) -> Option:
    if not causes:
        return Option(RESTART, None, [], ["nothing is wrong"], viable=False)
    stuck = [
        t
        for t in troubles(seen)
        if t.kind is Kind.NOT_READY and _is_cause(t.deployment, causes) and not releases(seen)
    ]
    if not stuck:
        why = (
            f"new pods would meet the same: {causes[0].says}; and the warm ones and their logs are lost (A5)"
        )
        return Option(RESTART, None, [], [why], viable=False)
    change, problem = _build(lambda: cluster.restart(stuck[0].deployment))
    return Option(
        RESTART,
        change,
        [f"{stuck[0].says} and neither a release nor configuration, image or quota explains it"],
        [problem] if problem else ["the state of the stuck pods is lost: save their logs first (G9)"],
        viable=change is not None,
        score=0.5,
    )


def _maintenance(seen: Seen, causes: Sequence[Finding], others: Sequence[Option], cluster: Cluster) -> Option:
    share = failed_share(seen)
    if not causes or share is None or share < DOWN:
        why = "nothing is wrong" if not causes else "most users are served: a page would take that away"
        if share is None:
            why = "whether users are served is unknown"
        return Option(MAINTENANCE, None, [], [why], viable=False)
    if any(f.name.startswith(ROLLED_OUT_SINCE) for f in causes):
        return Option(MAINTENANCE, None, [], [f"{causes[0].says}: wait for it first"], viable=False)
    reasons = [f"{share:.0%} of the requests fail: an honest page with Retry-After is better than errors"]
    against = ["it restores nothing: it hides the failing and takes away what still works"]
    if any(option.viable for option in others):
        against.append("there is a change that restores service")
    change, problem = _build(lambda: cluster.maintenance_mode(seen.service))
    return Option(
        MAINTENANCE,
        change,
        reasons,
        [*against, *([problem] if problem else [])],
        viable=change is not None,
        score=0.2,
    )


def _build(make: Callable[[], Change]) -> tuple[Change | None, str]:
    try:
        return make(), ""
    except (SourceError, Refused) as error:  # not readable, or it would do nothing
        return None, f"cannot be prepared: {error}"


def _is_cause(deployment: str, causes: Sequence[Finding]) -> bool:
    return any(_name(f) == deployment for f in causes)


def _name(finding: Finding) -> str:
    return finding.target.object.removeprefix("deployment/")


def _desired(seen: Seen) -> int:
    rows = seen.deployments[seen.deployments["deployment"] == seen.service]
    return int(rows["desired"].iloc[0]) if len(rows) else 0


def answered_by(decision: Decision) -> str:
    """Who is meant to answer users once the decision is carried out: the maintenance page, or '' for the service."""
    return "maintenance page" if decision.option is not None and decision.option.label == MAINTENANCE else ""
