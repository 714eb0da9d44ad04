"""Reading a request: path, verb, query, accepted form (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from opslib.sandbox.api.auth import Attributes
from opslib.sandbox.api.errors import ApiError, FieldError, invalid, not_acceptable, unsupported_media_type

JSON_TYPE = "application/json"
YAML_TYPE = "application/yaml"
PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_TRUE = ("true", "1", "")


@dataclass(frozen=True)
class RequestInfo:
    """A request as Kubernetes understands it."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    rest: tuple[str, ...] = ()

    @property
    def attributes(self) -> Attributes:
        """What authorization asks."""
        if not self.is_resource:
            return Attributes(self.verb, path=self.path)
        return Attributes(
            self.verb, self.group, self.version, self.resource, self.subresource, self.namespace, self.name
        )


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Take a request apart. A path that is no resource's keeps the lower-case method as its verb."""
    plain = RequestInfo(method.lower(), path)
    parts = [p for p in path.split("/") if p]
    if not parts or parts[0] not in ("api", "apis"):
        return plain
    if parts[0] == "api":
        if len(parts) < 3:
            return plain
        group, version, parts = "", parts[1], parts[2:]
    else:
        if len(parts) < 4:
            return plain
        group, version, parts = parts[1], parts[2], parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1 and group == "":
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            parts = parts[2:]
    elif parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    subresource, rest = (parts[2] if len(parts) > 2 else ""), tuple(parts[3:])
    verb = {
        "POST": "create",
        "GET": "get",
        "HEAD": "get",
        "PUT": "update",
        "PATCH": "patch",
        "DELETE": "delete",
    }.get(method, method.lower())
    if verb == "get" and not name:
        verb = "watch" if flag(query, "watch") else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    if verb in ("list", "watch", "deletecollection") and not name:
        for term in query.get("fieldSelector", "").split(","):
            if term.startswith("metadata.name="):
                name = term.removeprefix("metadata.name=").lstrip("=")
    return RequestInfo(verb, path, True, group, version, namespace, resource, subresource, name, rest)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean query parameter, as Go's conversion reads it."""
    return name in query and query[name].lower() in _TRUE


def number(query: Mapping[str, str], name: str) -> int:
    """An integer query parameter, 0 without it. Raises ApiError 400 for other text."""
    text = query.get(name) or "0"
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "BadRequest", f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def dry_run(query: Any) -> bool:
    """Whether dryRun=All was asked. Raises ApiError 422 for another value."""
    values = query.getall("dryRun", []) if hasattr(query, "getall") else []
    for value in values:
        if value not in ("All", ""):
            problem = FieldError("FieldValueNotSupported", "dryRun", 'supported values: "All"', [value])
            raise invalid("WriteOptions", "meta.k8s.io", "", [problem])
    return "All" in values


@dataclass(frozen=True)
class Accept:
    """The form of answer that was agreed: plain, Table or PartialObjectMetadata."""

    form: str = ""  # "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
    version: str = "v1"


def accept(header: str) -> Accept:
    """Choose among the media types of an Accept header. Raises ApiError 406 when none can be served."""
    if not header.strip():
        return Accept()
    for clause in header.split(","):
        media, *parameters = [p.strip() for p in clause.split(";")]
        values = dict(p.split("=", 1) for p in parameters if "=" in p)
        if media not in (JSON_TYPE, "*/*", "application/*"):
            continue
        form = values.get("as", "")
        if not form:
            return Accept()
        known = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
        if form in known and values.get("g") == "meta.k8s.io" and values.get("v") in ("v1", "v1beta1"):
            return Accept(form, values["v"])
    raise not_acceptable([JSON_TYPE])


def media_type(header: str) -> str:
    """The media type of a Content-Type header, without parameters."""
    return header.split(";", 1)[0].strip().lower()


def decode_body(data: bytes, content_type: str, allowed: tuple[str, ...] = (JSON_TYPE, YAML_TYPE)) -> Any:
    """A body as data. Raises ApiError 415 for an unknown media type and 400 for one that does not parse."""
    kind = media_type(content_type) or JSON_TYPE
    if kind not in allowed:
        raise unsupported_media_type(list(allowed))
    try:
        if kind in (YAML_TYPE, "application/apply-patch+yaml"):
            try:
                return json.loads(data)
            except ValueError:
                return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return json.loads(data)
    except (ValueError, yaml.YAMLError) as error:
        text = f"error decoding request body: {error}"
        raise ApiError(400, "BadRequest", text) from None
