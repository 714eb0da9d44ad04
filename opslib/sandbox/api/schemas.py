"""Types of the built-in kinds, from the definitions that PyPI's kubernetes-validate carries for Kubernetes 1.32.

They give strict decoding (unknown and duplicate fields, wrong types, in Kubernetes' words), the merge keys of
strategic merge patches and server-side apply, and the OpenAPI documents. Loaded when first needed (about 20 ms).
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import Resource

DEFINITIONS = "kubernetes-json-schema/v1.32.0-local/_definitions.json"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_REF = "#/$defs/"
_INTSTR = ("io.k8s.apimachinery.pkg.util.intstr.IntOrString",)
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TIMES = ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime")
_QUANTITY_TEXT = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)(([eE][+-]?\d+)|[KMGTPE]i|[numkMGTPE])?$")


class DecodeError(Exception):
    """A value whose type is wrong: Go's json error text."""


@dataclass
class Decoded:
    """What decoding one body found: unknown fields by path, and required fields that are absent."""

    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Schemas:
    """Lazy access to the definitions."""

    @cached_property
    def definitions(self) -> dict[str, Json]:
        """All definitions by their full name."""
        spec = importlib.util.find_spec("kubernetes_validate")
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(
                "the package kubernetes-validate is not installed: pip install 'opslib[sandbox]'"
            )
        path = Path(next(iter(spec.submodule_search_locations))) / DEFINITIONS
        loaded: dict[str, Json] = json.loads(path.read_bytes())["$defs"]
        return loaded

    @cached_property
    def _by_gvk(self) -> dict[tuple[str, str, str], str]:
        found: dict[tuple[str, str, str], str] = {}
        for name, schema in self.definitions.items():
            for gvk in schema.get("x-kubernetes-group-version-kind", ()):
                found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
        return found

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        """The definition's name of a kind, or None when there is none."""
        return self._by_gvk.get((group, version, kind))

    def root(self, resource: Resource) -> Json | None:
        """The schema of a resource's objects: from the definitions, or from its CRD."""
        if resource.crd is not None:
            schema: Json = (resource.crd.get("schema") or {}).get("openAPIV3Schema") or {}
            return schema
        name = self.name_of(resource.group, resource.version, resource.kind)
        return self.definitions[name] if name else None

    def follow(self, schema: Json | None) -> Json | None:
        """Resolve a $ref."""
        while schema is not None and "$ref" in schema:
            schema = self.definitions.get(schema["$ref"].removeprefix(_REF))
        return schema

    def child(self, schema: Json | None, name: str) -> Json | None:
        """The schema of a field, unresolved, so that its own patch strategy can be read."""
        schema = self.follow(schema)
        if schema is None:
            return None
        found: Json | None = (schema.get("properties") or {}).get(name)
        if found is None and isinstance(schema.get("additionalProperties"), dict):
            found = schema["additionalProperties"]
        return found

    def decode(self, resource: Resource, body: Json) -> Decoded:
        """Check a body against its schema, and drop unknown fields from it in place.

        Raises DecodeError with Go's text for a value of a wrong type.
        """
        result = Decoded()
        if resource.crd is not None:
            self._decode_custom(resource, body, result)
            return result
        schema = self.root(resource)
        if schema is not None:
            self._walk(schema, body, "", resource.kind, result)
        return result

    # one node of a built-in type

    def _walk(self, schema: Json, value: Any, path: str, struct: str, out: Decoded) -> None:
        ref = schema.get("$ref", "").removeprefix(_REF)
        if ref in _INTSTR or ref == _QUANTITY or ref in _TIMES:
            self._leaf(ref, value, path, struct)
            return
        if ref:
            struct = ref.rsplit(".", 1)[-1]
            schema = self.definitions[ref]
        if value is None or schema.get("x-kubernetes-preserve-unknown-fields"):
            return
        kinds = schema.get("type")
        kind = kinds[0] if isinstance(kinds, list) else kinds
        if kind == "object":
            self._object(schema, value, path, struct, out)
        elif kind == "array":
            if not isinstance(value, list):
                raise DecodeError(_cannot(value, struct, path, _go_type(schema)))
            items = schema.get("items") or {}
            for i, item in enumerate(value):
                if item is None:  # Go makes it the zero value
                    value[i] = item = self._zero(items)  # noqa: PLW2901
                self._walk(items, item, f"{path}[{i}]", struct, out)
        elif kind == "string":
            if not isinstance(value, str):
                raise DecodeError(_cannot(value, struct, path, _go_type(schema)))
        elif kind == "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise DecodeError(_cannot(value, struct, path, schema.get("format") or "int"))
        elif kind == "boolean" and not isinstance(value, bool):
            raise DecodeError(_cannot(value, struct, path, "bool"))

    def _object(self, schema: Json, value: Any, path: str, struct: str, out: Decoded) -> None:
        if not isinstance(value, dict):
            raise DecodeError(_cannot(value, struct, path, _go_type(schema, struct)))
        properties, rest = schema.get("properties"), schema.get("additionalProperties")
        if properties is None:
            if isinstance(rest, dict):
                for key, item in value.items():
                    if item is None:
                        value[key] = item = self._zero(rest)  # noqa: PLW2901
                    self._walk(rest, item, _join(path, key), struct, out)
            return  # a free-form object
        for key in list(value):
            sub = properties.get(key)
            if sub is None:
                out.unknown.append(_join(path, key))
                del value[key]
                continue
            if value[key] is None and sub.get("$ref", "").removeprefix(_REF) not in _TIMES:
                del value[key]  # null is absent; a time's null is kept, since genuine servers show it
                continue
            self._walk(sub, value[key], _join(path, key), struct, out)
        for name in schema.get("required") or ():
            if value.get(name) is None:
                out.missing.append(_join(path, name))

    def _zero(self, schema: Json) -> Any:
        kinds = (self.follow(schema) or {}).get("type")
        kind = kinds[0] if isinstance(kinds, list) else kinds
        return {"object": {}, "array": [], "string": "", "integer": 0, "boolean": False}.get(str(kind))

    def _leaf(self, ref: str, value: Any, path: str, struct: str) -> None:
        if value is None:
            return
        if ref in _INTSTR:
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise DecodeError(_cannot(value, struct, path, "intstr.IntOrString"))
        elif ref == _QUANTITY:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise DecodeError(_cannot(value, struct, path, "resource.Quantity"))
            if isinstance(value, str) and not _QUANTITY_TEXT.match(value):
                raise DecodeError(
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                )
        elif not isinstance(value, str):
            raise DecodeError(_cannot(value, struct, path, "string"))
        else:
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise DecodeError(
                    f'parsing time {json.dumps(value)} as "2006-01-02T15:04:05Z07:00": cannot parse '
                    f'{json.dumps(value)} as "2006"'
                ) from None

    # custom resources: structural schemas prune silently, and name what they pruned when the client asks for it

    def _decode_custom(self, resource: Resource, body: Json, out: Decoded) -> None:
        schema = self.root(resource) or {}
        meta = body.get("metadata")
        if isinstance(meta, dict):
            self._walk(self.definitions[META], meta, "metadata", "ObjectMeta", out)
        if not schema or schema.get("x-kubernetes-preserve-unknown-fields"):
            return
        top = schema.get("properties") or {}
        for key in list(body):
            if key in ("apiVersion", "kind", "metadata"):
                continue
            if key not in top:
                out.unknown.append(key)
                del body[key]
            else:
                _prune(top[key], body[key], key, out)


def _prune(schema: Json, value: Any, path: str, out: Decoded) -> None:
    if isinstance(value, list):
        for i, item in enumerate(value):
            _prune(schema.get("items") or {}, item, f"{path}[{i}]", out)
        return
    if not isinstance(value, dict) or schema.get("x-kubernetes-embedded-resource"):
        return
    properties, rest = schema.get("properties"), schema.get("additionalProperties")
    keep = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or rest is True
    for key in list(value):
        if properties is not None and key in properties:
            _prune(properties[key], value[key], _join(path, key), out)
        elif isinstance(rest, dict):
            _prune(rest, value[key], _join(path, key), out)
        elif not keep and schema.get("type") == "object":
            out.unknown.append(_join(path, key))
            del value[key]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _go_type(schema: Json, struct: str = "") -> str:
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict) and "properties" not in schema:
            return f"map[string]{_go_type(rest)}"
        return f"v1.{struct}" if struct else "map[string]interface {}"
    if kind == "array":
        items = schema.get("items") or {}
        if "$ref" in items:
            return "[]v1." + str(items["$ref"]).rsplit(".", 1)[-1]
        return f"[]{_go_type(items)}"
    if kind == "integer":
        return str(schema.get("format") or "int")
    return {"boolean": "bool", "number": "float64"}.get(str(kind), str(kind))


def _cannot(value: Any, struct: str, path: str, target: str) -> str:
    found = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    plain = re.sub(r"\[\d+\]", "", path)
    what = found.get(type(value), "value")
    if what == "number" and target not in ("string", "bool") and isinstance(value, float):
        what = f"number {value}"
    return f"json: cannot unmarshal {what} into Go struct field {struct}.{plain} of type {target}"
