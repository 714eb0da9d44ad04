"""Back to an earlier revision, chosen and named, never 'the one before' (defects A2, A3, G6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opslib.cluster import workloads
from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.edits import Edit, Field
from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.changes.pausing import DEPARTS as PAUSE_DEPARTS
from opslib.cluster.changes.pausing import pause_for
from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame
from opslib.cluster.templates import clean, compare, images, matters
from opslib.records.change import Risk, Target

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
# A revision replaced this soon was probably replaced because it was bad; another is preferred when there is one.
PROVEN_SECONDS = 900
DEPARTS = (
    "A3: names the revision; `rollout undo` alone flips back to the bad one when the current is itself an undo",
    "A2: compares the revisions' templates; `rollout history` shows numbers only",
    "A7: a time limit on the rollout, and users' requests are measured after it",
)


def candidates(owner: Json, sets: list[Json]) -> list[dict[str, Any]]:
    """Every revision but the current one: whether going there can help, and why (not). Newest first; one is preferred."""
    rows = workloads.revision_rows(owner, sets)
    now: dict[str, Any] = next((row for row in rows if row["current"]), {})
    found = [_judge(row, now) for row in rows if not row["current"]]
    fit = [row for row in found if row["candidate"]]
    proven = [row for row in fit if (row["served_seconds"] or 0) >= PROVEN_SECONDS]
    chosen = next(iter(proven or fit), None)
    for row in fit:
        if row is chosen:
            row["preferred"] = True
            row["why"] = (
                f"the newest revision that differs{'' if not proven else ' and served for a while'}: {row['why']}"
            )
        elif (row["served_seconds"] or 0) < PROVEN_SECONDS:
            row["why"] += f"; served only {row['served_seconds']:.0f} s before it was replaced"
    return found


def _judge(row: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    real = matters(row["template_differs_from_current"])
    judged = {key: row[key] for key in COLUMNS["rollback_candidates"] if key in row}
    judged |= {"candidate": False, "preferred": False}
    if not real:
        why = "undo would change nothing: the same image references and settings, only labels or annotations differ"
        if any(":" not in i.rsplit("/", 1)[-1] or i.endswith(":latest") for i in row["images"]):
            why += " (the tag says nothing about what is behind it: compare image digests)"
    elif now and now["earlier_revisions"] and row["created"] > now["created"]:
        why = f"the current revision is itself an undo of this one: going to {row['revision']} would flip back to it"
    else:
        judged["candidate"] = True
        same = row["same_images_as_current"]
        why = (
            f"the image is the same, the settings differ: {', '.join(real[:4])}"
            if same
            else f"another image: {', '.join(image.rsplit('/', 1)[-1] for image in row['images'])}"
        )
    return judged | {"why": why}


def rollback_candidates(api: Api, namespace: str, name: str) -> pd.DataFrame:
    """See Cluster.rollback_candidates."""
    owner = workloads.deployment(api, namespace, name)
    rows = candidates(owner, workloads.replicasets(api, namespace, owner))
    return frame("rollback_candidates", COLUMNS["rollback_candidates"], rows)


def rollback(api: Api, namespace: str, name: str, revision: int | None, cluster_uid: str) -> KubernetesChange:
    """See Cluster.rollback."""
    owner = workloads.deployment(api, namespace, name)
    sets = workloads.replicasets(api, namespace, owner)
    where = f"{api.cluster}/{namespace}/deployment/{name}"
    rows = candidates(owner, sets)
    row = _choose(rows, revision, workloads.current_revision(owner, sets), where)
    chosen = next(rs for rs in sets if workloads.revision_of(rs) == row["revision"])
    then = _template_for(owner, chosen)
    now, current = owner["spec"]["template"], workloads.current_revision(owner, sets)
    edit = Edit(
        "patch",
        "Deployment",
        namespace,
        name,
        owner["metadata"]["uid"],
        (Field("/spec/template", now, then),),
    )
    pauses, follow_ups, commands = pause_for(api, [(owner, "Deployment", "/spec/template")])
    title = f"Roll {name} back from revision {current} to {row['revision']}: {_change_of_image(now, then)}"
    notes = [*DEPARTS, *([PAUSE_DEPARTS] if pauses else [])]
    caveats = _caveats(now, then)
    return KubernetesChange(
        api,
        name=f"rollback-{name}",
        title=title,
        operation="rollback",
        target=Target(api.cluster, cluster_uid, namespace, f"deployment/{name}", owner["metadata"]["uid"]),
        edits=[*pauses, edit],
        guard=f"pod-template-hash={_hash_of(sets, current)}",
        risk=rollout_risk(owner, f"ConfigMaps, Secrets and the schema stay as they are.{caveats}"),
        waits=[{"for": "rollout", "namespace": namespace, "name": name}],
        commands=[
            *commands,
            f"kubectl -n {namespace} rollout undo deployment/{name} --to-revision={row['revision']}",
            f"kubectl -n {namespace} rollout status deployment/{name} --timeout=5m",
        ],
        follow_ups=follow_ups,
        departs=notes,
    )


def _choose(rows: list[dict[str, Any]], revision: int | None, current: int, where: str) -> dict[str, Any]:
    if revision is None:
        chosen = next((row for row in rows if row["preferred"]), None)
        if chosen is None:
            reasons = "; ".join(f"revision {row['revision']}: {row['why']}" for row in rows)
            raise NotApplicable(
                f"there is no revision to go back to: {reasons or 'only one is kept'}",
                target=where,
                next="look for another cause, or release a repaired version",
            )
        return chosen
    if revision == current:
        raise NotApplicable(
            f"revision {revision} is the current one", target=where, next="name another revision"
        )
    named = next((row for row in rows if row["revision"] == revision), None)
    if named is None:
        known = ", ".join(str(row["revision"]) for row in rows) or "none"
        raise NotApplicable(f"revision {revision} is not kept; others: {known}", target=where)
    # A person may choose to flip back; an undo that changes nothing stays refused.
    if not matters(named["template_differs_from_current"]):
        raise NotApplicable(
            f"revision {revision}: {named['why']}", target=where, next="name another revision"
        )
    return named


def _template_for(owner: Json, chosen: Json) -> Json:
    """The ReplicaSet's template as `kubectl rollout undo` sets it: without the hash label."""
    template = clean(chosen["spec"]["template"])
    # Keep the exact form of the metadata where the Deployment never had any.
    if not template["metadata"] and "metadata" not in owner["spec"]["template"]:
        template.pop("metadata")
    return template


def _hash_of(sets: list[Json], revision: int) -> str:
    labels = next(
        (rs["metadata"].get("labels") or {} for rs in sets if workloads.revision_of(rs) == revision), {}
    )
    return str(labels.get(workloads.HASH, f"revision-{revision}"))


def _change_of_image(now: Json, then: Json) -> str:
    old, new = ([image.rsplit("/", 1)[-1] for image in images(t)] for t in (now, then))
    pairs = [f"{a} → {b}" for a, b in zip(old, new, strict=False) if a != b]
    return ", ".join(pairs) or f"same image, other settings ({', '.join(matters(compare(now, then))[:3])})"


def _caveats(now: Json, then: Json) -> str:
    """What an undo does not bring back: the contents of referenced settings."""
    paths = [p for p in compare(now, then) if "checksum/config" in p]
    return " Their checksum/config differs: a change of the ConfigMap is not undone." if paths else ""


def rollout_risk(owner: Json, more: str = "") -> Risk:
    """What a rolling restart of every pod costs, in numbers."""
    name, spec = owner["metadata"]["name"], owner["spec"]
    desired = spec.get("replicas", 1)
    lost, extra = budget(owner)
    available = (owner.get("status") or {}).get("availableReplicas", 0)
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        says, level = f"All {desired} pods end before new ones start: no capacity meanwhile.", "high"
    else:
        says = (
            f"Replaces {desired} pods, at most {lost} of them missing and {extra} more than usual at a time."
        )
        level = "low" if available == 0 else "medium"
    if available < desired:
        says += f" {available} of {desired} are available now."
    return Risk(level, f"{says} {more}".strip(), (f"deployment/{name}", f"{desired} pods"))


def budget(owner: Json) -> tuple[int, int]:
    """(maxUnavailable, maxSurge) in pods, rounded as the Deployment controller does (util/deployment: ResolveFenceposts)."""
    desired = owner["spec"].get("replicas", 1)
    rolling = ((owner["spec"].get("strategy") or {}).get("rollingUpdate")) or {}
    surge = _pods(rolling.get("maxSurge", "25%"), desired, up=True)
    lost = _pods(rolling.get("maxUnavailable", "25%"), desired, up=False)
    return (1 if not surge and not lost else lost), surge


def _pods(value: Json, desired: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * desired
        return -(-share // 100) if up else share // 100
    return int(value)
