"""What changed lately, over every Deployment and its settings, and what the cluster complained of (A1, A2)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame, parse_time
from opslib.cluster.gitops import application_items
from opslib.cluster.kinds import KINDS
from opslib.cluster.templates import compare, images
from opslib.cluster.workloads import HISTORY, controls, current_revision, revision_of
from opslib.errors import NotInstalled, NotPermitted

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
# Controllers write status and replicas all day: that is not a change somebody made.
CONTROLLERS = ("kube-controller-manager", "horizontal-pod-autoscaler", "kubelet", "opslib-lease")
# What of an object is a change worth telling, by its managed field.
TOLD = {
    "ConfigMap": {"f:data": "settings", "f:binaryData": "settings"},
    "StatefulSet": {"f:template": "pod template", "f:replicas": "replicas"},
    "HorizontalPodAutoscaler": {
        "f:minReplicas": "minimum",
        "f:maxReplicas": "maximum",
        "f:metrics": "metrics",
    },
    "Ingress": {"f:rules": "rules", "f:tls": "certificates"},
    "Service": {"f:selector": "selector", "f:ports": "ports"},
    "ResourceQuota": {"f:hard": "limits"},
    "Deployment": {"f:replicas": "replicas", "f:paused": "pause"},
}
SCALED_UP = re.compile(r"Scaled up replica set (\S+) (?:from 0 )?to \d+")
OTHERS = ("configmap", "statefulset", "horizontalpodautoscaler", "ingress", "service", "resourcequota")


def recent_changes(api: Api, namespace: str, hours: float) -> pd.DataFrame:
    """See Cluster.recent_changes."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    deployments = api.items(KINDS["deployment"].path(namespace))
    sets = api.items(KINDS["replicaset"].path(namespace))
    returns = _scale_ups(api, namespace)
    rows: list[dict[str, Any]] = []
    for item in deployments:
        rows += _rollouts(item, [rs for rs in sets if controls(item, rs)], returns)
        rows += _edits(item, "Deployment")
    for name in OTHERS:
        kind = KINDS[name]
        try:
            items = api.items(kind.path(namespace))
        except NotPermitted:
            continue
        for item in items:
            rows += _edits(item, kind.kind)
            if kind.kind == "ConfigMap" and item["metadata"]["name"] != "kube-root-ca.crt":
                rows += _birth(item, kind.kind)
    with contextlib.suppress(NotInstalled, NotPermitted):
        rows += [row for app in application_items(api) for row in _syncs(app)]
    recent = [row for row in rows if row["at"] >= since]
    recent.sort(key=lambda row: row["at"], reverse=True)
    return frame("recent_changes", COLUMNS["recent_changes"], recent)


def _row(at: datetime, item: Json, kind: str, what: str, by: str = "", **more: Any) -> dict[str, Any]:
    name = item["metadata"]["name"]
    return {
        "at": at,
        "kind": kind,
        "name": name,
        "what": what,
        "by": by,
        "revision": None,
        "before": "",
        "after": "",
    } | more


def _scale_ups(api: Api, namespace: str) -> dict[str, datetime]:
    """When a ReplicaSet was last scaled up from nothing, by the Deployment controller's own events (kept an hour)."""
    found: dict[str, datetime] = {}
    try:
        items = api.items(KINDS["event"].path(namespace), fieldSelector="reason=ScalingReplicaSet")
    except NotPermitted:
        return {}
    for item in items:
        match = SCALED_UP.match(item.get("message", ""))
        at = parse_time(item.get("lastTimestamp") or item.get("eventTime"))
        if match and at and at > found.get(match[1], datetime.min.replace(tzinfo=UTC)):
            found[match[1]] = at
    return found


def _rollouts(item: Json, sets: list[Json], returns: dict[str, datetime]) -> Iterator[dict[str, Any]]:
    ordered = sorted(sets, key=revision_of)
    writers = list(_writers(item, {"f:template": "pod template"}))
    current = current_revision(item, ordered)
    by_number: dict[int, Json] = {}
    for rs in ordered:
        for number in [*_earlier(rs), revision_of(rs)]:
            by_number[number] = rs
    for rs in ordered:
        born = parse_time(rs["metadata"]["creationTimestamp"])
        assert born is not None
        history, number = _earlier(rs), revision_of(rs)
        first = history[0] if history else number
        yield _rollout(item, rs, by_number.get(first - 1), first, born, _by(writers, born))
        if not history:
            continue
        # The controller reuses the old ReplicaSet: its event, or for the current one the Deployment, tells when it came back.
        at, by = returns.get(rs["metadata"]["name"]), ""
        if at is None and number == current:
            at, by = max(writers, default=(_progressed(item), ""))
        if at is not None and (at - born).total_seconds() > 2:
            yield _rollout(item, rs, by_number.get(number - 1), number, at, by or _by(writers, at), back=True)


def _rollout(
    item: Json, rs: Json, previous: Json | None, number: int, at: datetime, by: str, *, back: bool = False
) -> dict[str, Any]:
    after = images(rs["spec"]["template"])
    before = images(previous["spec"]["template"]) if previous else []
    if before == after and previous:
        paths = compare(previous["spec"]["template"], rs["spec"]["template"])
        what = f"rolled out revision {number}: same image, changed {', '.join(paths[:4]) or 'nothing'}"
    else:
        changed = ", ".join(_tag(image) for image in after)
        what = f"rolled out revision {number}: {changed}" + (
            f" (before: {', '.join(_tag(i) for i in before)})" if before else ""
        )
    if back:
        what = what.replace("rolled out", "went back to an earlier template as", 1)
    return _row(
        at, item, "Deployment", what, by, revision=number, before=", ".join(before), after=", ".join(after)
    )


def _tag(image: str) -> str:
    return image.rsplit("/", 1)[-1]


def _earlier(rs: Json) -> list[int]:
    raw = (rs["metadata"].get("annotations") or {}).get(HISTORY, "")
    return [int(n) for n in raw.split(",") if n.strip().isdigit()]


def _progressed(item: Json) -> datetime | None:
    found = [c for c in (item.get("status") or {}).get("conditions") or [] if c.get("type") == "Progressing"]
    return parse_time(found[0].get("lastUpdateTime")) if found else None


def _writers(item: Json, told: dict[str, str]) -> Iterator[tuple[datetime, str]]:
    for entry in item["metadata"].get("managedFields") or []:
        at = parse_time(entry.get("time"))
        if at and entry.get("subresource") != "status" and _fields(entry, told):
            yield at, str(entry.get("manager", ""))


def _fields(entry: Json, told: dict[str, str]) -> list[str]:
    owned = entry.get("fieldsV1") or {}
    inside = {**owned, **(owned.get("f:spec") or {})}
    return sorted({text for field, text in told.items() if field in inside})


def _by(writers: list[tuple[datetime, str]], at: datetime) -> str:
    near = [(abs((moment - at).total_seconds()), by) for moment, by in writers]
    distance, by = min(near, default=(99.0, ""))
    return by if distance <= 10 else ""  # a template is written moments before its ReplicaSet is made


def _edits(item: Json, kind: str) -> Iterator[dict[str, Any]]:
    born = parse_time(item["metadata"].get("creationTimestamp"))
    for entry in item["metadata"].get("managedFields") or []:
        at, by = parse_time(entry.get("time")), str(entry.get("manager", ""))
        parts = _fields(entry, TOLD.get(kind, {}))
        if not at or entry.get("subresource") == "status" or not parts or by in CONTROLLERS:
            continue
        if born and abs((at - born).total_seconds()) < 2:
            continue  # written when it was made
        if kind == "Deployment" and "f:template" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            continue  # the same write is told as a rollout
        now = f" (replicas now {item['spec'].get('replicas')})" if parts == ["replicas"] else ""
        yield _row(at, item, kind, f"changed {', '.join(parts)}{now}", by)


def _birth(item: Json, kind: str) -> Iterator[dict[str, Any]]:
    if born := parse_time(item["metadata"].get("creationTimestamp")):
        yield _row(born, item, kind, "created")


def _syncs(app: Json) -> Iterator[dict[str, Any]]:
    for entry in (app.get("status") or {}).get("history") or []:
        if at := parse_time(entry.get("deployedAt")):
            who = (entry.get("initiatedBy") or {}).get("username") or "automated sync"
            yield _row(at, app, "Application", f"synced {str(entry.get('revision', ''))[:12]}", who)


def events(api: Api, namespace: str, minutes: float, *, warnings_only: bool) -> pd.DataFrame:
    """See Cluster.events."""
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    wanted = "type=Warning" if warnings_only else ""
    rows = []
    for item in api.items(KINDS["event"].path(namespace), fieldSelector=wanted):
        series = item.get("series") or {}
        # Events written through events.k8s.io have eventTime and series; the older recorder lastTimestamp and count.
        at = parse_time(
            series.get("lastObservedTime")
            or item.get("lastTimestamp")
            or item.get("eventTime")
            or item["metadata"].get("creationTimestamp")
        )
        if at is None or at < since:
            continue
        about = item.get("involvedObject") or {}
        rows.append(
            {
                "at": at,
                "type": item.get("type", ""),
                "reason": item.get("reason", ""),
                "kind": about.get("kind", ""),
                "name": about.get("name", ""),
                "message": item.get("message", ""),
                "count": series.get("count") or item.get("count") or 1,
                "source": item.get("reportingComponent") or (item.get("source") or {}).get("component", ""),
            }
        )
    rows.sort(key=lambda row: row["at"], reverse=True)
    return frame("events", COLUMNS["events"], rows)
