"""Table answers: the columns of a genuine server (k8s.io/kubernetes/pkg/printers/internalversion/printers.go).

Columns of each kind are in columns.py; custom resources use the additionalPrinterColumns of their CRD.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api import columns, conversion
from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.store import Entry

_DESCRIPTIONS = {
    "Name": "Name must be unique within a namespace. Is required when creating resources, although some resources may "
    "allow a client to request the generation of an appropriate name automatically.",
    "Age": "CreationTimestamp is a timestamp representing the server time when this object was created.",
}


def _definitions(resource: Resource) -> list[Json]:
    if resource.crd is not None:
        found = [_column("Name", "string", "name", 0)]
        extra = resource.crd.get("additionalPrinterColumns")
        if extra is None:
            return [*found, _column("Age", "date", "", 0)]
        for item in extra:
            column = _column(
                item["name"], item.get("type", "string"), item.get("format", ""), item.get("priority", 0)
            )
            column["description"] = item.get(
                "description", f"Custom resource definition column (in JSONPath format): {item['jsonPath']}"
            )
            found.append(column)
        return found
    return [_column(*c) for c in columns.of(resource)[0]]


def _column(name: str, kind: str, form: str, priority: int) -> Json:
    description = _DESCRIPTIONS.get(name, "")
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}


def json_path(obj: Any, path: str) -> list[Any]:
    """The values of a simple JSONPath as CRD columns use it: fields, [i], [*], [?(@.a=="b")]."""
    values = [obj]
    tokens = re.findall(
        r"\.([A-Za-z0-9_\-]+(?:\\\.[A-Za-z0-9_\-/]+)*)|\[(\d+|\*)\]|\['([^']+)'\]|\[\?\(@\.([\w.]+)\s*==\s*[\"']([^\"']*)[\"']\)\]",
        path.strip("{}"),
    )
    for field, index, quoted, filter_path, filter_value in tokens:
        found: list[Any] = []
        for value in values:
            name = (field or quoted).replace("\\.", ".")
            if name:
                if isinstance(value, dict) and name in value:
                    found.append(value[name])
            elif index == "*" and isinstance(value, list):
                found += value
            elif index and isinstance(value, list):
                found += value[int(index) : int(index) + 1]
            elif filter_path and isinstance(value, list):
                found += [v for v in value if json_path(v, "." + filter_path)[:1] == [filter_value]]
        values = found
    return values


def _custom_cells(resource: Resource, obj: Json, now: datetime) -> list[Any]:
    meta = obj["metadata"]
    cells: list[Any] = [meta["name"]]
    extra = (resource.crd or {}).get("additionalPrinterColumns")
    if extra is None:
        return [*cells, meta.get("creationTimestamp")]
    for item in extra:
        values = json_path(obj, item["jsonPath"])
        value = values[0] if values else None
        kind = item.get("type", "string")
        if value is None:
            cells.append(None)
        elif kind == "date":
            cells.append(columns.age(str(value), now))
        elif kind in ("integer", "number", "boolean"):
            cells.append(value)
        else:
            cells.append(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
    return cells


def partial(obj: Json, version: str) -> Json:
    """An object's metadata only."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def table(resource: Resource, entries: list[Entry], rv: str, version: str, include: str | None) -> Json:
    """A Table of these objects."""
    now = datetime.now(UTC)
    cells = None if resource.crd is not None else columns.of(resource)[1]
    rows = []
    for entry in entries:
        row: Json = {"cells": cells(entry.obj, now) if cells else _custom_cells(resource, entry.obj, now)}
        if include == "Object":
            whole = conversion.from_storage(resource, entry.copy())
            row["object"] = {"kind": resource.kind, "apiVersion": resource.api_version, **whole}
        elif include != "None":
            row["object"] = partial(entry.obj, version)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": rv},
        "columnDefinitions": _definitions(resource),
        "rows": rows,
    }


def bookmark(resource: Resource, obj: Json, version: str) -> Json:
    """A BOOKMARK of a watch that speaks Table: one row whose object carries the metadata."""
    row = {"cells": [], "object": obj}
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
        "columnDefinitions": _definitions(resource),
        "rows": [row],
    }
