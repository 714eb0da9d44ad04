"""Small builders: metadata, labels, owners, quantities of time. Everything returns plain manifests."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

from opslib.sandbox.inventory.names import NAMESPACE

Manifest = dict[str, Any]
# Kubernetes' rand.SafeEncodeString alphabet (k8s.io/apimachinery/pkg/util/rand): no vowels, no 0, 1, 3.
SAFE = "bcdfghjklmnpqrstvwxz2456789"


def stamp(moment: dt.datetime) -> str:
    """A Kubernetes time stamp: UTC, whole seconds."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid() -> str:
    return str(uuid.uuid4())


def safe_hash(value: object, length: int = 10) -> str:
    """A short name that looks like Kubernetes' own pod-template-hash; the same value gives the same name."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return "".join(SAFE[byte % len(SAFE)] for byte in digest[:length])


def obj(
    api_version: str,
    kind: str,
    name: str,
    *,
    created: dt.datetime,
    namespace: str | None = NAMESPACE,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **body: Any,
) -> Manifest:
    """An object with a uid and a creation time; `namespace` None for cluster-scoped kinds."""
    meta: Manifest = {"name": name, "uid": uid(), "creationTimestamp": stamp(created)}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **body}


def owner(of: Manifest) -> Manifest:
    """The controller reference that `of`'s dependents carry."""
    return {
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def resources(cpu: str, memory: str, cpu_limit: str, memory_limit: str) -> Manifest:
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": cpu_limit, "memory": memory_limit},
    }
