"""Argo CD paused and resumed: as changes of their own, and as the first edit of a change that Argo would revert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.edits import Edit, Field
from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.changes.leases import lease_name
from opslib.cluster.gitops import application_items, automated, ignores, owner
from opslib.errors import NotFound, NotInstalled
from opslib.records.change import Risk, Target

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
POLICY = "/spec/syncPolicy/automated"
DEPARTS = (
    "G6: Argo CD would take the change back within minutes, so its automated sync is paused first and visibly"
)


def applications_or_none(api: Api) -> list[Json]:
    """Every Application; [] without Argo CD. Not being allowed to look is an error: the owner would be a guess."""
    try:
        return application_items(api)
    except NotInstalled:
        return []


def pause_for(api: Api, items: list[tuple[Json, str, str]]) -> tuple[list[Edit], list[str], list[str]]:
    """(edits, follow-ups, commands) that pause every Application which would take one of the writes back.

    `items` are (object, kind, JSON Pointer of what is written).
    """
    applications = applications_or_none(api)
    edits: list[Edit] = []
    follow_ups: list[str] = []
    commands: list[str] = []
    for item, kind, pointer in items:
        app = owner(item, kind, applications)
        if app is None or automated(app) is None or ignores(app, kind, item["metadata"]["name"], pointer):
            continue
        if any(e.uid == app["metadata"]["uid"] for e in edits):
            continue
        edits.append(_pause(app))
        name = app["metadata"]["name"]
        follow_ups.append(f"Argo CD auto-sync of {name} is paused: revert in git, then resume")
        commands.append(_command(app, "null"))
        if parent := _parent(app):
            follow_ups.append(f"{parent} generates {name} and may switch its auto-sync on again: watch it")
    return edits, follow_ups, commands


def pause_sync(api: Api, namespace: str, name: str, cluster_uid: str) -> KubernetesChange:
    """See Cluster.pause_sync."""
    app = _find(api, name)
    if automated(app) is None:
        raise NotApplicable(
            f"automated sync of {name} is off already", target=f"{api.cluster}/application/{name}"
        )
    return KubernetesChange(
        api,
        name=f"pause-sync-{name}",
        title=f"Pause Argo CD auto-sync of {name}",
        operation="pause-sync",
        target=_target(api, app, cluster_uid),
        leased=[
            (namespace, lease_name(f"application/{name}"))
        ],  # a responder holds leases in the platform's namespace
        edits=[_pause(app)],
        risk=Risk(
            "low",
            "Nothing of git reaches the cluster by itself until it is resumed.",
            (f"application/{name}",),
        ),
        commands=[_command(app, "null")],
        follow_ups=[f"Argo CD auto-sync of {name} is paused: revert in git, then resume"],
        departs=[DEPARTS],
    )


def resume_sync(
    api: Api, namespace: str, name: str, cluster_uid: str, *, prune: bool = True, self_heal: bool = True
) -> KubernetesChange:
    """See Cluster.resume_sync."""
    app = _find(api, name)
    if automated(app) is not None:
        raise NotApplicable(
            f"automated sync of {name} is on already", target=f"{api.cluster}/application/{name}"
        )
    before = ((app.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    policy = {"prune": prune, "selfHeal": self_heal}
    sync = ((app.get("status") or {}).get("sync") or {}).get("status", "Unknown")
    touched = [
        f"{e.get('kind', '').lower()}/{e.get('name')}"
        for e in (app.get("status") or {}).get("resources") or []
        if e.get("status") != "Synced"
    ]
    says = f"It is {sync} now: {len(touched)} objects are put back to what git says."
    return KubernetesChange(
        api,
        name=f"resume-sync-{name}",
        title=f"Resume Argo CD auto-sync of {name}",
        operation="resume-sync",
        target=_target(api, app, cluster_uid),
        leased=[
            (namespace, lease_name(f"application/{name}"))
        ],  # a responder holds leases in the platform's namespace
        edits=[_edit(app, Field(POLICY, before, policy))],
        risk=Risk("low" if sync == "Synced" else "high", says, tuple(touched) or (f"application/{name}",)),
        commands=[_command(app, f'{{"prune":{str(prune).lower()},"selfHeal":{str(self_heal).lower()}}}')],
        departs=["G6: the runbook never says to switch Argo CD on again"],
    )


def _find(api: Api, name: str) -> Json:
    found = [app for app in application_items(api) if app["metadata"]["name"] == name]
    if not found:
        raise NotFound(f"there is no Application {name}", target=f"{api.cluster}/application/{name}")
    return found[0]


def _pause(app: Json) -> Edit:
    return _edit(app, Field(POLICY, app["spec"]["syncPolicy"]["automated"], None))


def _edit(app: Json, change: Field) -> Edit:
    meta = app["metadata"]
    return Edit("patch", "Application", meta["namespace"], meta["name"], meta["uid"], (change,))


def _target(api: Api, app: Json, cluster_uid: str) -> Target:
    meta = app["metadata"]
    return Target(api.cluster, cluster_uid, meta["namespace"], f"application/{meta['name']}", meta["uid"])


def _command(app: Json, policy: str) -> str:
    meta = app["metadata"]
    patch = f'{{"spec":{{"syncPolicy":{{"automated":{policy}}}}}}}'
    return f"kubectl -n {meta['namespace']} patch application {meta['name']} --type merge -p '{patch}'"


def _parent(app: Json) -> str:
    references = app["metadata"].get("ownerReferences") or []
    return next((f"{o['kind']} {o['name']}" for o in references if o.get("kind") == "ApplicationSet"), "")
