"""Field managers and server-side apply (sigs.k8s.io/structured-merge-diff as k8s.io/apimachinery uses it).

A set of fields is a dictionary from path to value; a path is a tuple of FieldsV1 elements (``f:spec``,
``k:{"name":"app"}``, ``v:"x"``). Fast-moving kinds that nobody applies (pods, events, ...) are not tracked unless
somebody has applied them; writes to a status subresource are not tracked.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api.errors import ApiError, Json
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.schemas import META, Schemas

Path = tuple[str, ...]
Fields = dict[Path, Any]
UNTRACKED = {
    "pods",
    "events",
    "endpoints",
    "endpointslices",
    "leases",
    "nodes",
    "replicasets",
    "controllerrevisions",
}
_SYSTEM = {
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
}
_KEY_DEFAULTS = {"protocol": "TCP"}


def changed(given: list[Json] | None, old: list[Json] | None) -> bool:
    """Whether a client edited managedFields itself (kubectl does, to hand over from client-side apply)."""
    return given is not None and given != (old or [])


def fields_of(resource: Resource, obj: Json, schemas: Schemas) -> Fields:
    """All fields of an object that managers can own."""
    found: Fields = {}
    root = schemas.root(resource)
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            schema: Json | None = schemas.definitions[META]
            value = {k: v for k, v in value.items() if k not in _SYSTEM}  # noqa: PLW2901
            for key, sub in value.items():
                _collect(schemas, schemas.child(schema, key), sub, ("f:metadata", f"f:{key}"), found)
            continue
        _collect(schemas, schemas.child(root, name), value, (f"f:{name}",), found)
    return found


def _list_type(schema: Json | None) -> tuple[str, list[str]]:
    schema = schema or {}
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys")
    if kind == "map" and keys:
        return "map", keys
    if kind == "set":
        return "set", []
    if kind is None and "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(","):
        key = schema.get("x-kubernetes-patch-merge-key")
        return ("map", [key]) if key else ("set", [])
    return "atomic", []


def _item_key(item: Json, keys: list[str]) -> str:
    held = {k: item.get(k, _KEY_DEFAULTS.get(k)) for k in keys}
    held = {k: v for k, v in held.items() if v is not None}
    return "k:" + json.dumps(held, separators=(",", ":"), sort_keys=True)


def _value_key(value: Any) -> str:
    return "v:" + json.dumps(value, separators=(",", ":"))


def _collect(schemas: Schemas, schema: Json | None, value: Any, path: Path, found: Fields) -> None:
    target = schemas.follow(schema)
    if isinstance(value, dict):
        if not value or (target or {}).get("x-kubernetes-map-type") == "atomic":
            found[path] = value
            return
        found[path] = None  # the map itself, whatever it holds
        for key, item in value.items():
            _collect(schemas, schemas.child(schema, key), item, (*path, f"f:{key}"), found)
        return
    if isinstance(value, list):
        kind, keys = _list_type(schema)
        items = (target or {}).get("items")
        if kind == "map" and all(isinstance(i, dict) for i in value):
            found[path] = None
            for item in value:
                inner = (*path, _item_key(item, keys))
                found[inner] = None
                for key, sub in item.items():
                    _collect(schemas, schemas.child(items, key), sub, (*inner, f"f:{key}"), found)
            return
        if kind == "set":
            found[path] = None
            for item in value:
                found[*path, _value_key(item)] = item
            return
    found[path] = value


def to_v1(paths: set[Path]) -> Json:
    """FieldsV1 of a set of paths. Maps and list items that only hold others are marked with a dot."""
    root: Json = {}
    for path in sorted(paths):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    _trim(root)
    return root


def _trim(node: Json) -> None:
    if set(node) == {"."}:
        del node["."]
        return
    for key, sub in node.items():
        if key != ".":
            _trim(sub)


def from_v1(fields: Json) -> set[Path]:
    """The paths of a FieldsV1."""
    found: set[Path] = set()

    def walk(node: Json, path: Path) -> None:
        if not node and path:
            found.add(path)
        for key, sub in node.items():
            if key == ".":
                found.add(path)
            else:
                walk(sub, (*path, key))

    walk(fields, ())
    return found


def _well_formed(fields: Any) -> bool:
    return fields is None or (
        isinstance(fields, dict) and all(_well_formed(v) and v is not None for v in fields.values())
    )


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entry(resource: Resource, manager: str, operation: str, paths: set[Path], subresource: str = "") -> Json:
    entry: Json = {
        "manager": manager,
        "operation": operation,
        "apiVersion": resource.api_version,
        "time": _stamp(),
        "fieldsType": "FieldsV1",
        "fieldsV1": to_v1(paths),
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def track(
    resource: Resource,
    obj: Json,
    old: Json | None,
    manager: str,
    given: list[Json] | None,
    schemas: Schemas,
    subresource: str = "",
) -> None:
    """Write metadata.managedFields after a create or update: the changed fields now belong to this manager."""
    was: list[Json] = (old or {}).get("metadata", {}).get("managedFields") or []
    # managers that a client wrote itself count, unless they are malformed (then the live ones stay)
    keep = given is None or old is None or not all(_well_formed(e.get("fieldsV1")) for e in given)
    entries = list(was if keep or given is None else given)
    if entries == [{}]:
        entries = []
    applied = any(e.get("operation") == "Apply" for e in entries)
    if subresource == "status" or (resource.plural in UNTRACKED and not applied):
        if entries:
            obj["metadata"]["managedFields"] = entries
        return
    new_fields = fields_of(resource, obj, schemas)
    new_fields = {p: v for p, v in new_fields.items() if p[0] != "f:status"}
    old_fields = fields_of(resource, old, schemas) if old else {}
    absent = object()
    touched = {p for p, v in new_fields.items() if old_fields.get(p, absent) != v}
    result, mine = [], set(touched)
    for entry in entries:
        paths = from_v1(entry.get("fieldsV1") or {})
        same = (entry.get("manager"), entry.get("operation")) == (manager, "Update")
        if same and entry.get("subresource", "") == subresource:
            mine |= {p for p in paths if p in new_fields}
            if not touched and entry not in result:
                result.append(entry)
            continue
        left = {p for p in paths if (p in new_fields or p[0] == "f:status") and p not in touched}
        if not left:
            continue
        result.append(entry if left == paths else {**entry, "fieldsV1": to_v1(left)})
    if touched and mine:
        result.append(_entry(resource, manager or "unknown", "Update", mine, subresource))
    if result:
        obj["metadata"]["managedFields"] = sorted(result, key=_order)


def _order(entry: Json) -> tuple[bool, str, str]:
    # Apply before Update, then by time (fieldmanager's sortEncodedManagedFields)
    return entry.get("operation") != "Apply", str(entry.get("time", "")), str(entry.get("manager", ""))


class ServerSideApply:
    """application/apply-patch+yaml."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas

    def created(self, resource: Resource, obj: Json, config: Json, manager: str) -> None:
        """Give a new object to the manager who applied it."""
        paths = set(fields_of(resource, config, self.schemas))
        obj["metadata"]["managedFields"] = [_entry(resource, manager, "Apply", paths)]

    def merge(self, resource: Resource, live: Json, config: Json, manager: str, force: bool) -> Json:
        """The live object after applying a configuration.

        Raises ApiError 409, naming every manager and field in conflict, unless ``force``.
        """
        wanted = fields_of(resource, config, self.schemas)
        held = fields_of(resource, live, self.schemas)
        entries: list[Json] = live["metadata"].get("managedFields") or []
        previous: set[Path] = set()
        others: list[tuple[Json, set[Path]]] = []
        for entry in entries:
            paths = from_v1(entry.get("fieldsV1") or {})
            if (entry.get("manager"), entry.get("operation")) == (manager, "Apply"):
                previous = paths
            else:
                others.append((entry, paths))
        differing = {p for p, v in wanted.items() if v is not None and p in held and held[p] != v}
        conflicts = [(entry, sorted(paths & differing)) for entry, paths in others if paths & differing]
        if conflicts and not force:
            raise _conflict(conflicts)
        merged: Json = self._merge(self.schemas.root(resource), live, config)
        merged["metadata"] = {
            **merged["metadata"],
            **{k: live["metadata"][k] for k in _SYSTEM if k in live["metadata"]},
        }
        owned_elsewhere: set[Path] = set().union(*(p for _, p in others)) if others else set()
        for path in sorted(previous - set(wanted), key=len, reverse=True):
            below = any(o[: len(path)] == path for o in owned_elsewhere)
            if not below and not any(w[: len(path)] == path for w in wanted):
                _remove(merged, path)
        result = []
        for entry, paths in others:
            left = paths - differing
            if left:
                result.append(entry if left == paths else {**entry, "fieldsV1": to_v1(left)})
        mine = _entry(resource, manager, "Apply", set(wanted))
        before = next(
            (e for e in entries if (e.get("manager"), e.get("operation")) == (manager, "Apply")), None
        )
        if before and before.get("fieldsV1") == mine["fieldsV1"] and merged == live:
            mine["time"] = before.get("time", mine["time"])
        merged["metadata"]["managedFields"] = sorted([*result, mine], key=_order)
        return merged

    def _merge(self, schema: Json | None, live: Any, config: Any) -> Any:
        if isinstance(config, dict) and isinstance(live, dict):
            if (self.schemas.follow(schema) or {}).get("x-kubernetes-map-type") == "atomic":
                return config
            result = dict(live)
            for key, value in config.items():
                if key in ("managedFields", "apiVersion", "kind"):
                    continue
                sub = self.schemas.child(schema, key)
                result[key] = self._merge(sub, live[key], value) if key in live else value
            return result
        if isinstance(config, list) and isinstance(live, list):
            return self._merge_list(schema, live, config)
        return config

    def _merge_list(self, schema: Json | None, live: list[Any], config: list[Any]) -> list[Any]:
        kind, keys = _list_type(schema)
        if kind == "set":
            return live + [v for v in config if v not in live]
        if kind != "map":
            return config
        items = (self.schemas.follow(schema) or {}).get("items")
        result, places = list(live), {_item_key(v, keys): i for i, v in enumerate(live)}
        for item in config:
            place = places.get(_item_key(item, keys))
            if place is None:
                result.append(item)
            else:
                result[place] = self._merge(items, result[place], item)
        return result


def _remove(obj: Any, path: Path) -> None:
    node = obj
    for i, element in enumerate(path):
        last = i == len(path) - 1
        if element.startswith("f:"):
            name = element[2:]
            if not isinstance(node, dict) or name not in node:
                return
            if last:
                del node[name]
                return
            node = node[name]
        else:
            if not isinstance(node, list):
                return
            wanted = json.loads(element[2:])
            for j, item in enumerate(node):
                same = (
                    item == wanted
                    if element.startswith("v:")
                    else isinstance(item, dict)
                    and all(item.get(k, _KEY_DEFAULTS.get(k)) == v for k, v in wanted.items())
                )
                if same:
                    if last:
                        del node[j]
                        return
                    node = item
                    break
            else:
                return


def _dotted(path: Path) -> str:
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            held = json.loads(element[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in held.items()) + "]"
        else:
            text += f"[={element[2:]}]"
    return text


def _conflict(conflicts: list[tuple[Json, list[Path]]]) -> ApiError:
    causes, lines = [], []
    total = sum(len(paths) for _, paths in conflicts)
    for entry, paths in conflicts:
        using = f" using {entry['apiVersion']}" if entry.get("operation") != "Apply" else ""
        who = f'"{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        for path in paths:
            causes.append(
                {
                    "reason": "FieldManagerConflict",
                    "message": f"conflict with {who}{using}",
                    "field": _dotted(path),
                }
            )
        if len(paths) == 1:
            lines.append(f"conflict with {who}{using}: {_dotted(paths[0])}")
        else:
            lines.append(f"conflicts with {who}{using}:\n" + "\n".join(f"- {_dotted(p)}" for p in paths))
    noun = "conflict" if total == 1 else "conflicts"
    text = f"Apply failed with {total} {noun}: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, {"causes": causes})
