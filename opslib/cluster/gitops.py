"""Argo CD: which Application owns an object and would take a change back (defects G6, A3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame
from opslib.cluster.kinds import KINDS
from opslib.errors import NotInstalled, NotPermitted

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
HOME = "argocd"
TRACKING = "argocd.argoproj.io/tracking-id"
INSTANCE = "app.kubernetes.io/instance"


def application_items(api: Api) -> list[Json]:
    """Every Application; of Argo CD's own namespace alone when the identity may not list all.

    Raises NotInstalled without Argo CD.
    """
    try:
        return api.items(KINDS["application"].path())
    except NotPermitted:
        return api.items(KINDS["application"].path(HOME))


def automated(application: Json) -> Json:
    """The automated sync policy; None when sync is manual (or switched off by `enabled: false`, Argo CD 3)."""
    policy = ((application.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    return None if policy is None or policy.get("enabled") is False else policy


def owner(item: Json, kind: str, applications: list[Json]) -> Json | None:
    """The Application that manages this object; None without.

    By the tracking annotation, else by the Application's own list of resources, else by the instance label when an
    Application has that name (Argo CD's three ways to track, docs: user-guide/resource_tracking).
    """
    meta = item["metadata"]
    tracked = (meta.get("annotations") or {}).get(TRACKING, "").split(":", 1)[0]
    label = (meta.get("labels") or {}).get(INSTANCE, "")
    for app in applications:
        name, namespace = app["metadata"]["name"], app["metadata"].get("namespace", "")
        if tracked and tracked in (name, f"{namespace}_{name}"):
            return app
    for app in applications:
        for entry in (app.get("status") or {}).get("resources") or []:
            place = entry.get("namespace") or meta.get("namespace")
            if (entry.get("kind"), entry.get("name"), place) == (kind, meta["name"], meta.get("namespace")):
                return app
    return next((app for app in applications if label and app["metadata"]["name"] == label), None)


def ignores(application: Json, kind: str, name: str, pointer: str) -> bool:
    """Whether the Application is told to leave this field alone (spec.ignoreDifferences), so that nothing reverts it."""
    for rule in (application.get("spec") or {}).get("ignoreDifferences") or []:
        if rule.get("kind") in (kind, "*") and rule.get("name") in (None, "", name):
            paths = rule.get("jsonPointers") or []
            if any(pointer == path or pointer.startswith(f"{path}/") for path in paths):
                return True
    return False


def owned(applications: list[Json]) -> dict[tuple[str, str], str]:
    """Application by (kind, name) of everything that an Application lists as its resource."""
    return {
        (entry.get("kind", ""), entry.get("name", "")): app["metadata"]["name"]
        for app in applications
        for entry in (app.get("status") or {}).get("resources") or []
    }


def owners_or_none(api: Api) -> dict[tuple[str, str], str]:
    """`owned`, or {} where there is no Argo CD or it may not be read: the column is then empty."""
    try:
        return owned(application_items(api))
    except (NotInstalled, NotPermitted):
        return {}


def applications(api: Api) -> pd.DataFrame:
    """The Argo CD Applications; columns: COLUMNS["applications"]."""
    rows = []
    for app in application_items(api):
        spec, status, policy = app.get("spec") or {}, app.get("status") or {}, automated(app)
        source: Json = spec.get("source") or next(iter(spec.get("sources") or []), {})
        operation = status.get("operationState") or {}
        troubled = "; ".join(c.get("message", "") for c in status.get("conditions") or [])
        rows.append(
            {
                "application": app["metadata"]["name"],
                "app_namespace": app["metadata"].get("namespace", ""),
                "repository": source.get("repoURL", ""),
                "path": source.get("path") or source.get("chart", ""),
                "target_revision": source.get("targetRevision", ""),
                "auto_sync": policy is not None,
                "self_heal": bool((policy or {}).get("selfHeal")),
                "prune": bool((policy or {}).get("prune")),
                "sync": (status.get("sync") or {}).get("status", "Unknown"),
                "health": (status.get("health") or {}).get("status", "Unknown"),
                "last_sync": operation.get("finishedAt"),
                "operation": operation.get("phase", ""),
                "message": troubled or operation.get("message", ""),
                "resources": [f"{e.get('kind')}/{e.get('name')}" for e in status.get("resources") or []],
            }
        )
    return frame("applications", COLUMNS["applications"], rows)
