"""Small Deployments and ReplicaSets for tests of pure functions, as the API answers them."""

from __future__ import annotations

from typing import Any

Json = Any


def template(image: str, *, env: dict[str, str] | None = None, version: str = "") -> Json:
    variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
    labels = {"app.kubernetes.io/name": "api-gateway"} | ({"version": version} if version else {})
    container = {
        "name": "api-gateway",
        "image": image,
        "env": variables,
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
    }
    return {"metadata": {"labels": labels}, "spec": {"containers": [container]}}


def deployment(pod_template: Json, *, replicas: int = 5, revision: int = 1) -> Json:
    return {
        "metadata": {
            "name": "api-gateway",
            "namespace": "pss-nano",
            "uid": "d-1",
            "generation": 1,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "api-gateway"}},
            "template": pod_template,
        },
        "status": {"availableReplicas": replicas},
    }


def replicaset(pod_template: Json, revision: int, created: str, *, history: str = "") -> Json:
    notes = {"deployment.kubernetes.io/revision": str(revision)}
    if history:
        notes["deployment.kubernetes.io/revision-history"] = history
    name = f"api-gateway-{created[5:7]}{created[8:10]}{created[11:13]}"
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "labels": {"pod-template-hash": name[-6:]},
            "annotations": notes,
            "ownerReferences": [{"uid": "d-1", "controller": True, "kind": "Deployment"}],
        },
        "spec": {"template": pod_template},
    }
