"""Three-way comparison of a manifest in git with the live object; no I/O.

Source: argoproj/gitops-engine pkg/diff (three-way with the last-applied annotation) and kubectl apply. Only what
git says, or said at the last sync, is compared: what others added stays.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from opslib.sandbox.client import Manifest

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_EMPTY: tuple[Any, ...] = (None, "", {}, [], 0, False)


def last_applied(live: Manifest) -> Manifest | None:
    """What was applied last, from its annotation; None when there is none or it cannot be read."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return None
    try:
        found: Manifest = json.loads(text)
    except ValueError:
        return None
    return found


def without(manifest: Manifest, pointers: list[str]) -> Manifest:
    """A copy without the fields at these JSON pointers (ignoreDifferences)."""
    result = copy.deepcopy(manifest)
    for pointer in pointers:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in pointer.lstrip("/").split("/")]
        node: Any = result
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return result


def _keyed(values: Any) -> dict[Any, Any] | None:
    """A list of objects with unique names (containers, env, ports by number, ...) by that name, else None."""
    if not isinstance(values, list) or not values or not all(isinstance(v, dict) for v in values):
        return None
    for key in ("name", "containerPort", "port", "mountPath", "type", "topologyKey"):
        if all(key in v for v in values) and len({str(v[key]) for v in values}) == len(values):
            return {(key, str(v[key])): v for v in values}
    return None


def differs(wanted: Any, live: Any, before: Any = None) -> bool:
    """Whether the live value has drifted from what is wanted, given what was applied before."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return bool(wanted) or live not in _EMPTY
        removed = set(before) - set(wanted) if isinstance(before, dict) else set()
        if any(live.get(name) not in _EMPTY for name in removed):
            return True
        earlier = before if isinstance(before, dict) else {}
        return any(differs(value, live.get(name), earlier.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return bool(wanted)
        keyed, have = _keyed(wanted), _keyed(live)
        if keyed is None or have is None:
            return len(wanted) != len(live) or any(
                differs(w, value) for w, value in zip(wanted, live, strict=True)
            )
        earlier = _keyed(before) or {}
        if any(name in have for name in set(earlier) - set(keyed)):
            return True
        return any(
            name not in have or differs(value, have[name], earlier.get(name)) for name, value in keyed.items()
        )
    if wanted in _EMPTY and live in _EMPTY:
        return False
    return bool(wanted != live)


def out_of_sync(wanted: Manifest, live: Manifest, pointers: list[str]) -> bool:
    """Whether a live object must be synced to be what git says."""
    before = last_applied(live)
    target = _comparable(without(wanted, pointers))
    return differs(target, _comparable(live), _comparable(without(before, pointers)) if before else None)


def _comparable(manifest: Manifest) -> Manifest:
    plain = {k: v for k, v in manifest.items() if k not in {"status", "apiVersion", "kind"}}
    meta = plain.get("metadata") or {}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    plain["metadata"] = {"labels": meta.get("labels") or {}, "annotations": annotations}
    return plain


def apply_patch(wanted: Manifest, live: Manifest) -> Manifest:
    """The strategic merge patch that makes the live object what git says (as kubectl apply computes it)."""
    before = last_applied(live) or {}
    patch: Manifest = _deletions(wanted, before)
    _merge(patch, {k: v for k, v in wanted.items() if k not in {"status", "apiVersion", "kind"}})
    patch.setdefault("metadata", {})
    for name in ("name", "namespace", "resourceVersion", "uid", "creationTimestamp"):
        patch["metadata"].pop(name, None)
    notes = patch["metadata"].setdefault("annotations", {})
    notes[LAST_APPLIED] = json.dumps(wanted, sort_keys=True, separators=(",", ":")) + "\n"
    return patch


def _deletions(wanted: Any, before: Any) -> Any:
    """Nulls for members, and $patch: delete for list elements, that were applied before and are wanted no more."""
    result: Manifest = {}
    if not isinstance(before, dict) or not isinstance(wanted, dict):
        return result
    for name, old in before.items():
        if name in {"apiVersion", "kind", "status"}:
            continue
        if name not in wanted:
            result[name] = None
            continue
        new = wanted[name]
        if isinstance(old, dict):
            inner = _deletions(new, old)
            if inner:
                result[name] = inner
        keyed, have = _keyed(old), _keyed(new)
        if keyed is not None and have is not None:
            entries = []
            for key, value in keyed.items():
                if key not in have:
                    entries.append({key[0]: value[key[0]], "$patch": "delete"})
                elif inner := _deletions(have[key], value):
                    entries.append({key[0]: value[key[0]], **inner})
            if entries:
                result[name] = entries
    return result


def _merge(patch: Manifest, wanted: Manifest) -> None:
    """Lay what is wanted over the deletions of a patch."""
    for name, value in wanted.items():
        have = patch.get(name)
        if isinstance(value, dict) and isinstance(have, dict):
            _merge(have, value)
        elif isinstance(value, list) and isinstance(have, list):
            keyed = _keyed([entry for entry in have if "$patch" not in entry]) or {}
            merged = []
            for entry in value:
                match = next((old for key, old in keyed.items() if str(entry.get(key[0])) == key[1]), None)
                whole: Any = copy.deepcopy(entry)
                if match is not None:
                    whole = match
                    _merge(whole, entry)
                merged.append(whole)
            patch[name] = [entry for entry in have if "$patch" in entry] + merged
        else:
            patch[name] = copy.deepcopy(value)
