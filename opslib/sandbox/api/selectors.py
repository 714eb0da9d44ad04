"""Label and field selectors (k8s.io/apimachinery/pkg/labels, pkg/fields; fields per resource from pkg/registry)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from opslib.sandbox.api.errors import ApiError, Json, bad_request
from opslib.sandbox.api.registry import Resource

Match = Callable[[Json], bool]
_SET = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_PAIR = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s*(?P<op>==|!=|=|>|<)\s*(?P<value>[^\s,()]*)\s*$")
_KEY = re.compile(r"^\s*(?P<not>!?)\s*(?P<key>[^\s!=,()]+)\s*$")


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return parts


def _requirement(part: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(part):
        key = found["key"]
        values = {v.strip() for v in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: key not in labels or labels[key] not in values
    if found := _PAIR.match(part):
        key, value, op = found["key"], found["value"], found["op"]
        if op in ("=", "=="):
            return lambda labels: labels.get(key) == value
        if op == "!=":
            return lambda labels: labels.get(key) != value
        try:
            limit = int(value)
        except ValueError:
            raise bad_request(
                f"unable to parse requirement: values[0][{key}]: Invalid value: {value!r}: for 'Gt', 'Lt' operators, "
                "the value must be an integer"
            ) from None

        def compare(labels: Mapping[str, str]) -> bool:
            try:
                number = int(labels[key])
            except (KeyError, ValueError):
                return False
            return number > limit if op == ">" else number < limit

        return compare
    if found := _KEY.match(part):
        key = found["key"]
        if found["not"]:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise bad_request(f"unable to parse requirement: found '{part.strip()}', expected: identifier")


def label_matcher(text: str) -> Match | None:
    """A predicate for a labelSelector parameter; None when it selects everything."""
    if not text.strip():
        return None
    requirements = [_requirement(part) for part in _split(text)]

    def match(obj: Json) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(r(labels) for r in requirements)

    return match


def selector_matches(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector object (matchLabels, matchExpressions) selects these labels; None selects nothing."""
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], rule.get("values") or []
        held = {
            "In": key in labels and labels.get(key) in values,
            "NotIn": key not in labels or labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(rule["operator"], False)
        if not held:
            return False
    return True


# Fields that may be selected besides metadata.name and metadata.namespace, with the value of an absent field.
FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("", "pods"): {
        "spec.nodeName": "",
        "spec.restartPolicy": "",
        "spec.schedulerName": "",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": "false",
        "status.phase": "",
        "status.podIP": "",
        "status.nominatedNodeName": "",
    },
    ("", "events"): {
        "involvedObject.kind": "",
        "involvedObject.namespace": "",
        "involvedObject.name": "",
        "involvedObject.uid": "",
        "involvedObject.apiVersion": "",
        "involvedObject.resourceVersion": "",
        "involvedObject.fieldPath": "",
        "reason": "",
        "reportingComponent": "",
        "source": "",
        "type": "",
    },
    ("", "namespaces"): {"status.phase": ""},
    ("", "nodes"): {"spec.unschedulable": "false"},
    ("", "secrets"): {"type": ""},
    ("", "services"): {"spec.clusterIP": "", "spec.type": ""},
    ("", "replicationcontrollers"): {"status.replicas": "0"},
    ("apps", "replicasets"): {"status.replicas": "0"},
    ("batch", "jobs"): {"status.successful": "0"},
}


def field_value(obj: Json, path: str, absent: str) -> str:
    """The value that a field selector compares, as text."""
    if path == "reportingComponent":
        return str(obj.get("reportingComponent") or (obj.get("source") or {}).get("component") or "")
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    if path == "status.successful":
        path = "status.succeeded"
    node: Any = obj
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            return absent
    if isinstance(node, bool):
        return "true" if node else "false"
    return str(node)


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", text)


def field_matcher(resource: Resource, text: str) -> tuple[Match | None, str]:
    """A predicate for a fieldSelector parameter, and the name it pins if it has metadata.name=NAME.

    Raises ApiError 400 for a field that this resource does not support, with Kubernetes' text.
    """
    if not text.strip():
        return None, ""
    allowed: dict[str, Any] = {"metadata.name": "", "metadata.namespace": ""}
    allowed.update(FIELDS.get(resource.key, {}))
    if resource.crd:
        for selectable in resource.crd.get("selectableFields") or ():
            allowed[selectable["jsonPath"].lstrip(".")] = ""
    terms: list[tuple[str, bool, str]] = []
    pinned = ""
    for part in re.split(r"(?<!\\),", text):
        found = re.match(r"^(?P<path>[^!=]+)(?P<op>==|!=|=)(?P<value>.*)$", part)
        if not found:
            raise bad_request(
                f'unable to find "{resource.group or ""}" that match label selector "", field selector "{text}": '
                f"invalid selector: '{part}'; can't understand '{part}'"
            )
        path, value = found["path"].strip(), _unescape(found["value"])
        if path not in allowed:
            raise _unknown_field(resource, text, path)
        equal = found["op"] != "!="
        if path == "metadata.name" and equal:
            pinned = value
        terms.append((path, equal, value))

    def match(obj: Json) -> bool:
        return all((field_value(obj, p, allowed[p]) == v) is equal for p, equal, v in terms)

    return match, pinned


def _unknown_field(resource: Resource, text: str, path: str) -> ApiError:
    gv = resource.api_version
    if resource.group == "" and resource.version == "v1":
        gv = "v1"
    return bad_request(
        f'Unable to find "{gv}, Resource={resource.plural}" that match label selector "", '
        f'field selector "{text}": field label not supported: {path}'
    )
