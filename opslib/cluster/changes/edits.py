"""Edits: the single writes a change consists of, guarded, marked and invertible."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from opslib.cluster.kinds import Kind, kind_of
from opslib.records.change import Mark

Json = Any
RUN = "opslib.io/run"
CHANGE = "opslib.io/change"
MISSING = object()


@dataclass(frozen=True)
class Field:
    """One value of an object, by JSON Pointer. None means absent: Kubernetes knows no difference."""

    pointer: str
    before: Json
    after: Json
    shown: Json = None  # what the diff and the digest see instead of `after`, when that holds a time stamp

    @property
    def dotted(self) -> str:
        """The pointer as a dotted path."""
        return ".".join(tokens(self.pointer))


@dataclass(frozen=True)
class Edit:
    """One request that writes: patch some fields of, create, or delete one object."""

    action: str  # patch, create, delete
    kind: str
    namespace: str
    name: str
    uid: str = ""
    fields: tuple[Field, ...] = ()
    manifest: Json = field(default=None)  # what is created, or what is deleted
    needs: str = ""  # a Deployment that must have an available pod before this edit is written

    @property
    def type(self) -> Kind:
        """The kind that is edited."""
        return kind_of(self.kind)

    @property
    def path(self) -> str:
        """The URL path of the object."""
        return self.type.path(self.namespace, self.name)

    @property
    def object(self) -> str:
        """kind/name in lower case."""
        return f"{self.kind.lower()}/{self.name}"

    def to_json(self) -> Json:
        """The edit as JSON; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Edit:
        """The edit that `to_json` wrote."""
        values = dict(raw)
        values["fields"] = tuple(Field(**f) for f in values.get("fields") or ())
        return cls(**values)

    def inverted(self, uid: str, live: Json) -> Edit:
        """The edit that takes this one back; `uid` is the object's own (a created object gets it when created).

        `live` is what the API answered to this edit: its values, defaults included, are what the undo guards.
        """
        if self.action == "patch":
            back = tuple(Field(f.pointer, live[f.pointer], f.before) for f in self.fields)
            return Edit("patch", self.kind, self.namespace, self.name, uid, back)
        other = "delete" if self.action == "create" else "create"
        return Edit(other, self.kind, self.namespace, self.name, uid, (), self.manifest)


def values(edits: Sequence[Edit], side: str) -> dict[str, Json]:
    """The normalised values before or after, object by object: what the diff shows and the digest covers."""
    found: dict[str, Json] = {}
    for edit in edits:
        if edit.action == "patch":
            for entry in edit.fields:
                value = entry.before if side == "before" else entry.after
                if side == "after" and entry.shown is not None:
                    value = entry.shown
                if value is not None:
                    found.setdefault(edit.object, {})[entry.dotted] = bare(value)
        elif (edit.action == "create") == (side == "after"):
            found[edit.object] = bare(edit.manifest)
    return found


def tokens(pointer: str) -> list[str]:
    """The keys of a JSON Pointer (RFC 6901)."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def pointer(*keys: str) -> str:
    """The JSON Pointer (RFC 6901) of these keys."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def value_at(obj: Json, path: str) -> Json:
    """The value at a pointer; None when it, or a parent of it, is absent."""
    for key in tokens(path):
        if isinstance(obj, list):
            obj = obj[int(key)] if key.isdigit() and int(key) < len(obj) else None
        else:
            obj = obj.get(key) if isinstance(obj, dict) else None
        if obj is None:
            return None
    return obj


def holds(live: Json, edit: Edit, side: str) -> list[str]:
    """The dotted names of the fields that do not have their value before (or after) now."""
    return [f.dotted for f in edit.fields if bare(value_at(live, f.pointer)) != bare(getattr(f, side))]


def bare(value: Json) -> Json:
    """A value without nulls: the API adds some (a template's creationTimestamp) and takes them for absent."""
    if isinstance(value, dict):
        return {key: bare(inner) for key, inner in value.items() if inner is not None}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def patch_of(edit: Edit, live: Json, mark: Mark) -> list[dict[str, Json]]:
    """The JSON Patch of a patch edit: tests on uid and values before, the values after, and the mark.

    `live` is the object as just read: it tells which parents exist. JSON Patch cannot test that a key is absent, so then
    the parent is tested whole (or the object's version, where the parent is the metadata).
    """
    guards: list[dict[str, Json]] = [_test("/metadata/uid", edit.uid or live["metadata"]["uid"])]
    writes: list[dict[str, Json]] = []
    # All tests come before all writes; what a write adds is then there for the next one.
    later = copy.deepcopy(live)
    for entry in edit.fields:
        if entry.before is not None:
            # Compared before, null for absent; the request itself tests for the form that the API holds.
            guards.append(_test(entry.pointer, value_at(live, entry.pointer)))
            if entry.after is None:
                writes.append({"op": "remove", "path": entry.pointer})
            else:
                writes.append({"op": "replace", "path": entry.pointer, "value": entry.after})
        elif entry.after is not None:
            guards.append(_absence(live, entry.pointer))
            writes.append(_add(later, entry.pointer, entry.after))
    if not live["metadata"].get("annotations"):
        guards.append(_absence(live, "/metadata/annotations/x"))
    writes += [
        _add(later, pointer("metadata", "annotations", key), value)
        for key, value in {RUN: mark.run, CHANGE: mark.digest}.items()
    ]
    return guards + writes


def _absence(live: Json, path: str) -> dict[str, Json]:
    """A test that a key is absent: of its nearest parent as a whole, or of the version where that is the metadata."""
    parent = _parent(live, path)
    if parent in ("", "/metadata"):
        return _test("/metadata/resourceVersion", live["metadata"]["resourceVersion"])
    return _test(parent, value_at(live, parent))


def _parent(live: Json, path: str) -> str:
    """The nearest parent that is there."""
    keys = tokens(path)[:-1]
    while keys and value_at(live, pointer(*keys)) is None:
        keys.pop()
    return pointer(*keys)


def _add(later: Json, path: str, value: Json) -> dict[str, Json]:
    """The operation that adds a value together with the parents it lacks, also made in `later`."""
    keys, depth = tokens(path), len(tokens(_parent(later, path)))
    for key in reversed(keys[depth + 1 :]):
        value = {key: value}
    parent = later
    for key in keys[:depth]:
        parent = parent[int(key)] if isinstance(parent, list) else parent[key]
    parent[keys[depth]] = copy.deepcopy(value)
    return {"op": "add", "path": pointer(*keys[: depth + 1]), "value": value}


def _test(path: str, value: Json) -> dict[str, Json]:
    return {"op": "test", "path": path, "value": value}


def marked(manifest: Json, mark: Mark) -> Json:
    """A manifest to create, with the mark set."""
    meta = dict(manifest["metadata"])
    meta["annotations"] = {**(meta.get("annotations") or {}), RUN: mark.run, CHANGE: mark.digest}
    return {**manifest, "metadata": meta}


def mark_of(obj: Json) -> Mark | None:
    """The mark an object carries; None without."""
    notes = obj["metadata"].get("annotations") or {}
    return Mark(notes[RUN], notes.get(CHANGE, "")) if notes.get(RUN) else None
