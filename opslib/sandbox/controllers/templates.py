"""Pod templates: comparing them, hashing them, making pods of them.

Sources: kubernetes pkg/controller/deployment/util (EqualIgnoreHash), pkg/controller/controller_utils.go.
The hash is stable but not Kubernetes' own, which hashes a Go structure's memory layout.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from opslib.sandbox.client import Manifest
from opslib.sandbox.controllers.runtime import owner_reference

HASH_LABEL = "pod-template-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # apimachinery util/rand: no vowels, no 0, 1 and 3


def _pruned(value: Any) -> Any:
    """Without empty members: absent, null and empty mean the same in a pod template."""
    if isinstance(value, dict):
        kept = {k: _pruned(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    if isinstance(value, list):
        return [_pruned(v) for v in value]
    return value


def normalised(template: Manifest) -> Manifest:
    """A template without its hash label, for comparison."""
    plain = copy.deepcopy(template)
    meta = plain.get("metadata") or {}
    (meta.get("labels") or {}).pop(HASH_LABEL, None)
    meta.pop("creationTimestamp", None)
    result: Manifest = _pruned(plain)
    return result


def equal_templates(one: Manifest, other: Manifest) -> bool:
    """deploymentutil.EqualIgnoreHash."""
    return normalised(one) == normalised(other)


def template_hash(template: Manifest, collisions: int = 0) -> str:
    """Ten characters, the same for equal templates in every run."""
    text = json.dumps(normalised(template), sort_keys=True, separators=(",", ":"))
    if collisions:
        text += f"#{collisions}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return "".join(_ALPHABET[int(digit)] for digit in f"{number:010d}")


def pod_of(template: Manifest, owner: Manifest, generate_name: str | None = None) -> Manifest:
    """A new pod as a controller creates it (GetPodFromTemplate)."""
    meta = template.get("metadata") or {}
    pod_meta: Manifest = {
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(meta.get("labels") or {}),
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        pod_meta["annotations"] = dict(meta["annotations"])
    if meta.get("finalizers"):
        pod_meta["finalizers"] = list(meta["finalizers"])
    if generate_name:
        pod_meta["generateName"] = generate_name
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pod_meta,
        "spec": copy.deepcopy(template.get("spec") or {}),
    }
