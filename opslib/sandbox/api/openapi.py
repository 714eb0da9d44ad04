"""OpenAPI v3 documents, one a group and version (k8s.io/kube-openapi/pkg/handler3).

kubectl's apply, diff, explain and --server-side read the schemas, and see by the ``fieldValidation`` parameter of PATCH
that the server validates.
"""

from __future__ import annotations

import hashlib
from typing import Any

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import METRICS_GROUP, Registry, Resource
from opslib.sandbox.api.schemas import META, Schemas

_REF = "#/components/schemas/"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


class OpenApi:
    """Builds and keeps the documents."""

    def __init__(self, registry: Registry, schemas: Schemas) -> None:
        self.registry, self.schemas = registry, schemas

    def index(self) -> Json:
        """/openapi/v3: where the documents are, by a hash that changes with their content."""
        paths: Json = {}
        for group, versions in self.registry.versions().items():
            for version in versions:
                if group == METRICS_GROUP:
                    continue
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                rows = self.registry.of_version(group, version)
                stamp = hashlib.sha256(repr([(r, r.crd) for r in rows]).encode()).hexdigest().upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={stamp}"}
        return {"paths": paths}

    def document(self, group: str, version: str) -> Json | None:
        """/openapi/v3/apis/GROUP/VERSION or /openapi/v3/api/v1."""
        rows = self.registry.of_version(group, version)
        if not rows or group == METRICS_GROUP:
            return None
        needed: dict[str, Json] = {}
        paths: Json = {}
        for row in rows:
            name = self._schema(row, needed)
            self._paths(row, name, paths)
        for kind in ("DeleteOptions", "Status", "WatchEvent"):
            self._add(f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind}", needed)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.32.8"},
            "paths": paths,
            "components": {"schemas": dict(sorted(needed.items()))},
        }

    def _schema(self, row: Resource, needed: dict[str, Json]) -> str:
        if row.crd is not None:
            name = ".".join([*reversed(row.group.split(".")), row.version, row.kind])
            schema = _plain((row.crd.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"})
            properties = dict(schema.get("properties") or {})
            text = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
            properties["apiVersion"] = {
                "type": "string",
                "description": f"APIVersion of the object: {text}#resources",
            }
            properties["kind"] = {"type": "string", "description": f"Kind of the object: {text}#types-kinds"}
            properties["metadata"] = {
                "allOf": [{"$ref": _REF + META}],
                "description": "Standard object's metadata.",
            }
            schema["properties"] = properties
            self._add(META, needed)
        else:
            name = self.schemas.name_of(row.group, row.version, row.kind) or ""
            if not name:
                return ""
            self._add(name, needed)
            schema = needed[name]
        gvk = {"group": row.group, "version": row.version, "kind": row.kind}
        schema["x-kubernetes-group-version-kind"] = [gvk]
        needed[name] = schema
        return name

    def _add(self, name: str, needed: dict[str, Json]) -> None:
        if name in needed or name not in self.schemas.definitions:
            return
        needed[name] = schema = _plain(self.schemas.definitions[name])
        for reference in _references(schema):
            self._add(reference, needed)

    @staticmethod
    def _paths(row: Resource, name: str, paths: Json) -> None:
        base = f"/apis/{row.group}/{row.version}" if row.group else f"/api/{row.version}"
        if row.namespaced:
            base += "/namespaces/{namespace}"
        gvk = {"group": row.group, "version": row.version, "kind": row.kind}
        content = {"application/json": {"schema": {"$ref": _REF + name}}} if name else {}
        answer = {"200": {"description": "OK", "content": content}}

        def operation(action: str) -> Json:
            found: Json = {
                "responses": answer,
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": gvk,
            }
            if action in ("post", "put", "patch"):
                found["parameters"] = [
                    {"name": p, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                    for p in _PARAMETERS
                ]
                media = "application/json" if action != "patch" else "application/merge-patch+json"
                found["requestBody"] = {"content": {media: content.get("application/json", {})}}
            return found

        collection: Json = {}
        if "list" in row.verbs:
            collection["get"] = operation("list")
        if "create" in row.verbs:
            collection["post"] = operation("post")
        if collection:
            paths[f"{base}/{row.plural}"] = collection
        single = {
            method: operation(action)
            for verb, method, action in (
                ("get", "get", "get"),
                ("update", "put", "put"),
                ("patch", "patch", "patch"),
                ("delete", "delete", "delete"),
            )
            if verb in row.verbs
        }
        if single:
            paths[f"{base}/{row.plural}/{{name}}"] = single


def _plain(node: Any) -> Any:
    """A definition as OpenAPI v3: no null types, references into components, references with siblings wrapped."""
    if isinstance(node, list):
        return [_plain(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, list):
            out[key] = next(t for t in value if t != "null")
        elif key == "$ref":
            out[key] = value.replace("#/$defs/", _REF)
        elif key == "enum" and "$ref" not in node and set(node) >= {"description"} and len(value) == 1:
            continue  # apiVersion and kind are pinned in the definitions, not in a genuine document
        else:
            out[key] = _plain(value)
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _references(node: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                found.add(value.removeprefix(_REF))
            else:
                found |= _references(value)
    elif isinstance(node, list):
        for value in node:
            found |= _references(value)
    return found
