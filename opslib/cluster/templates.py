"""Pod templates compared: where two differ, and whether the difference can matter to what runs."""

from __future__ import annotations

import copy
from typing import Any

Json = Any
HASH = "pod-template-hash"
# Differences below these say what a template is called, not what its containers do.
COSMETIC = ("metadata.labels", "metadata.annotations")


def clean(template: Json) -> Json:
    """The template without the hash label that the controller adds."""
    bare = copy.deepcopy(template)
    meta = bare.setdefault("metadata", {}) or {}
    bare["metadata"] = meta
    meta.pop("creationTimestamp", None)
    labels = meta.get("labels") or {}
    labels.pop(HASH, None)
    return bare


def images(template: Json) -> list[str]:
    """The image references of the containers, in the pod's order (the application's own container first)."""
    spec = template.get("spec") or {}
    return [c.get("image", "") for c in (spec.get("containers") or []) + (spec.get("initContainers") or [])]


def same_images(one: Json, other: Json) -> bool:
    """Whether two pod templates name the same images."""
    return images(one) == images(other)


def compare(now: Json, then: Json) -> list[str]:
    """The dotted paths at which two templates differ; containers and variables by their name, sorted."""
    found: list[str] = []
    _walk(clean(now), clean(then), "", found)
    return sorted(found)


def matters(paths: list[str]) -> list[str]:
    """The paths that can change what runs: all but labels and annotations."""
    return [path for path in paths if not path.startswith(COSMETIC)]


def _walk(one: Json, other: Json, path: str, found: list[str]) -> None:
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            _walk(one.get(key), other.get(key), f"{path}.{key}" if path else str(key), found)
        return
    if _named(one) and _named(other):
        mine, theirs = ({item["name"]: item for item in items} for items in (one, other))
        if mine == theirs:  # only the order differs
            found.append(path)
        for name in mine.keys() | theirs.keys():
            _walk(mine.get(name), theirs.get(name), f"{path}[{name}]", found)
        return
    if one in (None, {}, []) and other in (None, {}, []):
        return
    found.append(path)


def _named(value: Json) -> bool:
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(item, dict) and "name" in item for item in value):
        return False
    return len({item["name"] for item in value}) == len(value)
