"""What git says api-gateway should be, and the Argo CD Application that keeps it so (PLATFORM.md 1.5).

"git" is a folder of the sandbox: <state>/git/pss-nano-production, one JSON manifest a file. Only the fields
present there are compared; spec.replicas is left out, because the HPA owns it.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
from pathlib import Path

from opslib.sandbox.inventory.build import Manifest, obj, stamp
from opslib.sandbox.inventory.names import APPLICATION, GATEWAY, NAMESPACE, SERVICES

TRACKING = "argocd.argoproj.io/tracking-id"
TRACKED = (
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
)


def tracking_id(manifest: Manifest) -> str:
    """Argo CD's annotation value: APP:GROUP/KIND:NAMESPACE/NAME."""
    api, meta = manifest["apiVersion"], manifest["metadata"]
    group = api.split("/")[0] if "/" in api else ""
    return f"{APPLICATION}:{group}/{manifest['kind']}:{meta['namespace']}/{meta['name']}"


def track(objects: list[Manifest]) -> list[Manifest]:
    """Mark the gateway's chart objects as tracked (in place) and return them, as git has them."""
    desired = []
    for manifest in objects:
        meta = manifest["metadata"]
        if manifest["kind"] not in TRACKED or meta["name"] != GATEWAY or meta.get("namespace") != NAMESPACE:
            continue
        meta.setdefault("annotations", {})[TRACKING] = tracking_id(manifest)
        desired.append(_as_in_git(manifest))
    return desired


def _as_in_git(manifest: Manifest) -> Manifest:
    wanted = copy.deepcopy(manifest)
    wanted.pop("status", None)
    meta = wanted["metadata"]
    for server_made in ("uid", "creationTimestamp", "generation", "ownerReferences"):
        meta.pop(server_made, None)
    meta["annotations"].pop("deployment.kubernetes.io/revision", None)
    if wanted["kind"] == "Deployment":
        wanted["spec"].pop("replicas", None)
    return wanted


def folder(state: Path) -> Path:
    return state / "git" / APPLICATION


def file_name(manifest: Manifest) -> str:
    return f"{manifest['kind'].lower()}-{manifest['metadata']['name']}.json"


def write(state: Path, desired: list[Manifest]) -> None:
    """Make the git folder hold exactly these manifests."""
    where = folder(state)
    where.mkdir(parents=True, exist_ok=True)
    names = {file_name(manifest) for manifest in desired}
    for manifest in desired:
        path = where / file_name(manifest)
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(path)
    for path in where.glob("*.json"):
        if path.name not in names:
            path.unlink()


def commit_of(text: str) -> str:
    """A commit id that looks like git's."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def application(now: dt.datetime, desired: list[Manifest]) -> Manifest:
    """The Application: automated, prune, selfHeal; synced and healthy, with one history entry a release."""
    source = {
        "repoURL": "https://github.com/pss-nano/pss-nano.git",
        "path": "helm/api-gateway",
        "targetRevision": "main",
        "helm": {"valueFiles": ["values-prod.yaml"]},
    }
    gateway = next(service for service in SERVICES if service.name == GATEWAY)
    history = [
        {
            "id": number,
            "revision": commit_of(f"{GATEWAY} {release.tag}"),
            "deployedAt": stamp(now - dt.timedelta(hours=release.hours_ago)),
            "source": source,
        }
        for number, release in enumerate(gateway.releases)
    ]
    last = history[-1]
    resources = [
        {
            "group": item["apiVersion"].split("/")[0] if "/" in item["apiVersion"] else "",
            "version": item["apiVersion"].split("/")[-1],
            "kind": item["kind"],
            "namespace": NAMESPACE,
            "name": item["metadata"]["name"],
            "status": "Synced",
        }
        for item in desired
    ]
    return obj(
        "argoproj.io/v1alpha1",
        "Application",
        APPLICATION,
        namespace="argocd",
        created=now - dt.timedelta(hours=2500),
        spec={
            "project": "default",
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": NAMESPACE},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "retry": {"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}},
                "syncOptions": ["CreateNamespace=true"],
            },
            "ignoreDifferences": [
                {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
            ],
        },
        status={
            "sync": {
                "status": "Synced",
                "revision": last["revision"],
                "comparedTo": {
                    "source": source,
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": NAMESPACE},
                },
            },
            "health": {"status": "Healthy"},
            "history": history,
            "resources": resources,
            "operationState": {
                "phase": "Succeeded",
                "message": "successfully synced (all tasks run)",
                "startedAt": last["deployedAt"],
                "finishedAt": last["deployedAt"],
                "operation": {"sync": {"revision": last["revision"], "prune": True}},
                "syncResult": {"revision": last["revision"], "source": source},
            },
            "reconciledAt": stamp(now),
            "summary": {"images": [gateway.image]},
            "sourceType": "Helm",
        },
    )


__all__ = ["application", "commit_of", "file_name", "folder", "track", "write"]
