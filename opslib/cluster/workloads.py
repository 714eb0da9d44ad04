"""What runs: Deployments, their pods and their revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import age, frame, parse_time
from opslib.cluster.kinds import KINDS
from opslib.cluster.templates import compare, images, same_images
from opslib.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HASH = "pod-template-hash"


def deployment(api: Api, namespace: str, name: str) -> Json:
    """One Deployment as the API has it. Raises NotFound."""
    return api.get(KINDS["deployment"].path(namespace, name))


def selector(labels: Mapping[str, Json]) -> str:
    """A label selector object as the query parameter."""
    parts = [f"{key}={value}" for key, value in (labels.get("matchLabels") or {}).items()]
    for rule in labels.get("matchExpressions") or []:
        key, values = rule["key"], ",".join(rule.get("values") or [])
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[rule["operator"]]
        )
    return ",".join(parts)


def condition(obj: Json, kind: str) -> Json:
    """The condition of this type in an object's status; {} without."""
    found = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in found if c.get("type") == kind), {})


def deployments(api: Api, namespace: str, owners: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """The Deployments of a namespace; columns: COLUMNS["deployments"]."""
    rows = [_deployment(item, owners) for item in api.items(KINDS["deployment"].path(namespace))]
    return frame("deployments", COLUMNS["deployments"], rows)


def _deployment(item: Json, owners: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    desired = spec.get("replicas", 1)
    progress, available = condition(item, "Progressing"), condition(item, "Available")
    blocked = condition(item, "ReplicaFailure")
    seen = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    done = (
        seen
        and status.get("updatedReplicas", 0) == desired == status.get("replicas", 0)
        and status.get("availableReplicas", 0) == desired
    )
    if progress.get("reason") == "ProgressDeadlineExceeded":
        rollout = "stalled"
    else:
        rollout = "complete" if done else "in progress"
    message = blocked.get("message") or (progress.get("message") if rollout != "complete" else "")
    if not message and available.get("status") == "False":
        message = available.get("message")
    found = images(spec["template"])
    return {
        "deployment": meta["name"],
        "desired": desired,
        "ready": status.get("readyReplicas", 0),
        "available": status.get("availableReplicas", 0),
        "updated": status.get("updatedReplicas", 0),
        "unavailable": status.get("unavailableReplicas", 0),
        "image": found[0] if found else "",
        "images": found,
        "revision": int((meta.get("annotations") or {}).get(REVISION, 0)),
        "paused": bool(spec.get("paused")),
        "rollout": rollout,
        "message": message or "",
        "owner": owners.get(("Deployment", meta["name"]), ""),
        "age_seconds": age(meta.get("creationTimestamp")),
        "created": meta.get("creationTimestamp"),
    }


def pods_of(api: Api, namespace: str, name: str) -> list[Json]:
    """The pods that the Deployment's own selector matches (G1). Raises NotFound when it matches none."""
    owner = deployment(api, namespace, name)
    wanted = selector(owner["spec"]["selector"])
    found = api.items(KINDS["pod"].path(namespace), labelSelector=wanted)
    if not found:
        desired = owner["spec"].get("replicas", 1)
        raise NotFound(
            f"no pod matches {wanted}; {name} wants {desired} replicas",
            target=f"{api.cluster}/{namespace}/deployment/{name}",
            next="look at the Deployment's conditions and events: quota, scaled to zero, or a wrong selector",
        )
    return found


def pods(api: Api, namespace: str, name: str = "") -> pd.DataFrame:
    """The pods of a namespace, or of one Deployment by its own selector; columns: COLUMNS["pods"]."""
    found = pods_of(api, namespace, name) if name else api.items(KINDS["pod"].path(namespace))
    return frame("pods", COLUMNS["pods"], [pod_row(item, name) for item in found])


def pod_row(item: Json, deployment_name: str = "") -> dict[str, Any]:
    """One pod in one row; of several containers the one in the worst state speaks."""
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    states = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    waiting: Json = next((s["state"]["waiting"] for s in states if (s.get("state") or {}).get("waiting")), {})
    ended = [(s.get("lastState") or {}).get("terminated") or {} for s in states]
    ended += [(s.get("state") or {}).get("terminated") or {} for s in status.get("containerStatuses") or []]
    last: Json = max(ended, key=lambda t: t.get("finishedAt") or "", default={})
    running = [(s.get("state") or {}).get("running") or {} for s in status.get("containerStatuses") or []]
    scheduled = condition(item, "PodScheduled")
    unplaced = scheduled if scheduled.get("status") == "False" else {}
    template_hash = (meta.get("labels") or {}).get(HASH, "")
    return {
        "pod": meta["name"],
        "deployment": deployment_name or _owner_name(meta, template_hash),
        "phase": status.get("phase", "Unknown"),
        "ready": condition(item, "Ready").get("status") == "True" and not meta.get("deletionTimestamp"),
        "restarts": sum(s.get("restartCount", 0) for s in status.get("containerStatuses") or []),
        "waiting_reason": waiting.get("reason", ""),
        "waiting_message": waiting.get("message", ""),
        "last_exit_code": last.get("exitCode"),
        "last_reason": last.get("reason", ""),
        "last_finished": last.get("finishedAt"),
        "image": spec["containers"][0].get("image", "") if spec.get("containers") else "",
        "image_id": next((s.get("imageID", "") for s in status.get("containerStatuses") or []), ""),
        "node": spec.get("nodeName", ""),
        "revision_hash": template_hash,
        "terminating": bool(meta.get("deletionTimestamp")),
        "reason": status.get("reason") or unplaced.get("reason", ""),
        "message": status.get("message") or unplaced.get("message", ""),
        "age_seconds": age(meta.get("creationTimestamp")),
        "started": min((r["startedAt"] for r in running if r.get("startedAt")), default=None),
    }


def _owner_name(meta: Json, template_hash: str) -> str:
    owner: Json = next((o for o in meta.get("ownerReferences") or [] if o.get("controller")), {})
    name = str(owner.get("name", ""))
    if owner.get("kind") == "ReplicaSet" and template_hash:
        return name.removesuffix(f"-{template_hash}")
    return name


def replicasets(api: Api, namespace: str, owner: Json) -> list[Json]:
    """The ReplicaSets that this Deployment controls, by revision."""
    wanted = selector(owner["spec"]["selector"])
    found = api.items(KINDS["replicaset"].path(namespace), labelSelector=wanted)
    return sorted((rs for rs in found if controls(owner, rs)), key=revision_of)


def controls(owner: Json, item: Json) -> bool:
    """Whether `owner` is the controller of `item`."""
    references = item["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == owner["metadata"]["uid"] and o.get("controller") for o in references)


def revision_of(item: Json) -> int:
    """The revision in the annotation deployment.kubernetes.io/revision; 0 without."""
    return int((item["metadata"].get("annotations") or {}).get(REVISION, 0))


def revisions(api: Api, namespace: str, name: str) -> pd.DataFrame:
    """The revisions of a Deployment, from its ReplicaSets; columns: COLUMNS["revisions"]."""
    owner = deployment(api, namespace, name)
    rows = revision_rows(owner, replicasets(api, namespace, owner))
    return frame("revisions", COLUMNS["revisions"], rows)


def revision_rows(owner: Json, sets: list[Json]) -> list[dict[str, Any]]:
    """One row a revision, newest first. `served_seconds` is the time until the next newer ReplicaSet was made."""
    current = current_revision(owner, sets)
    births = sorted(_created(rs) for rs in sets)
    rows = []
    for rs in sorted(sets, key=revision_of, reverse=True):
        meta, template, born = rs["metadata"], rs["spec"]["template"], _created(rs)
        later = next((b for b in births if b > born), None)
        earlier = (meta.get("annotations") or {}).get(HISTORY, "")
        rows.append(
            {
                "deployment": owner["metadata"]["name"],
                "revision": revision_of(rs),
                "replicaset": meta["name"],
                "created": meta["creationTimestamp"],
                "images": images(template),
                "template_hash": (meta.get("labels") or {}).get(HASH, ""),
                "current": revision_of(rs) == current,
                "replicas": (rs.get("status") or {}).get("replicas", 0),
                "ready": (rs.get("status") or {}).get("readyReplicas", 0),
                "earlier_revisions": [int(n) for n in earlier.split(",") if n.strip().isdigit()],
                "template_differs_from_current": compare(owner["spec"]["template"], template),
                "same_images_as_current": same_images(owner["spec"]["template"], template),
                "served_seconds": (later - born).total_seconds() if later else age(meta["creationTimestamp"]),
            }
        )
    return rows


def current_revision(owner: Json, sets: list[Json]) -> int:
    """The revision whose template the Deployment has now; its annotation while the controller is behind."""
    match = [rs for rs in sets if not compare(owner["spec"]["template"], rs["spec"]["template"])]
    return max((revision_of(rs) for rs in match), default=revision_of(owner))


def _created(item: Json) -> datetime:
    moment = parse_time(item["metadata"]["creationTimestamp"])
    assert moment is not None
    return moment
