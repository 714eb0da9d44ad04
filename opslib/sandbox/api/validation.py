"""Validation of what clients get wrong: names, required fields, immutable fields, selectors, limits.

Source: k8s.io/kubernetes/pkg/apis/*/validation; not complete (this server has no webhooks and no CEL), but whatever it
refuses it refuses in Kubernetes' words, as one 422.
"""

from __future__ import annotations

import re
from typing import Any

from opslib.sandbox.api.errors import FieldError, Json
from opslib.sandbox.api.quantities import parse
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.strategy import check_selector

_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_DNS1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_PATH_SEGMENT = re.compile(r"[/%]")
_QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_IMMUTABLE = "field is immutable"
_POD_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_STS_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STS_MUTABLE = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
}
WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job")


def required(path: str, detail: str = "") -> FieldError:
    """A field that must be there."""
    return FieldError("FieldValueRequired", path, detail)


def wrong(path: str, value: object, detail: str) -> FieldError:
    """A value that may not be."""
    return FieldError("FieldValueInvalid", path, detail, value)


def metadata(resource: Resource, meta: Json) -> list[FieldError]:
    """Names, labels, annotations."""
    errors: list[FieldError] = []
    name = meta.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    elif resource.group == "rbac.authorization.k8s.io":
        if _PATH_SEGMENT.search(name) or name in (".", ".."):
            errors.append(wrong("metadata.name", name, "may not contain '/'"))
    elif resource.kind in ("Namespace",):
        if not _LABEL.match(name) or len(name) > 63:
            errors.append(wrong("metadata.name", name, _LABEL_TEXT))
    elif resource.kind == "Service":
        if not _DNS1035.match(name) or len(name) > 63:
            errors.append(wrong("metadata.name", name, _DNS1035_TEXT))
    elif resource.kind != "Event" and (not _SUBDOMAIN.match(name) or len(name) > 253):
        errors.append(wrong("metadata.name", name, _SUBDOMAIN_TEXT))
    errors += labels(meta.get("labels") or {}, "metadata.labels")
    for key in meta.get("annotations") or {}:
        if not _key(key.lower()):
            errors.append(
                wrong("metadata.annotations", key, "name part must consist of alphanumeric characters")
            )
    return errors


def _key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        return False
    return 0 < len(name) <= 63 and bool(_QUALIFIED.match(name))


def labels(values: Json, path: str) -> list[FieldError]:
    """Label keys and values."""
    errors = []
    for key, value in values.items():
        if not _key(key):
            text = (
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
                "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )
            errors.append(wrong(path, key, text))
        if value and (len(str(value)) > 63 or not _QUALIFIED.match(str(value))):
            errors.append(wrong(path, value, _LABEL_VALUE_TEXT))
    return errors


def on_create(resource: Resource, obj: Json) -> list[FieldError]:
    """All that is wrong with a new object."""
    return metadata(resource, obj["metadata"]) + _content(resource, obj)


def on_update(resource: Resource, obj: Json, old: Json) -> list[FieldError]:
    """All that is wrong with a changed object."""
    errors = metadata(resource, obj["metadata"])
    if obj == old:
        return errors
    errors += _content(resource, obj)
    spec, was = obj.get("spec") or {}, old.get("spec") or {}
    kind = resource.kind if resource.crd is None else ""
    if kind == "Pod":
        errors += _pod_update(spec, was)
    elif kind in ("Deployment", "ReplicaSet", "DaemonSet") and spec.get("selector") != was.get("selector"):
        errors.append(wrong("spec.selector", spec.get("selector"), _IMMUTABLE))
    elif kind == "StatefulSet":
        fixed = {k: v for k, v in spec.items() if k not in _STS_MUTABLE}
        if fixed != {k: v for k, v in was.items() if k not in _STS_MUTABLE}:
            errors.append(FieldError("FieldValueForbidden", "spec", _STS_TEXT))
    elif kind == "Job":
        for name in ("completions", "selector", "template"):
            if spec.get(name) != was.get(name) and not (name == "template" and was.get("suspend")):
                errors.append(wrong(f"spec.{name}", spec.get(name), _IMMUTABLE))
    elif kind == "Service":
        if (
            was.get("clusterIP")
            and spec.get("clusterIP") != was["clusterIP"]
            and spec.get("type") != "ExternalName"
        ):
            text = "may not change once set"
            errors.append(wrong("spec.clusterIPs[0]", spec.get("clusterIP"), text))
    elif kind in ("RoleBinding", "ClusterRoleBinding") and obj.get("roleRef") != old.get("roleRef"):
        errors.append(wrong("roleRef", obj.get("roleRef"), "cannot change roleRef"))
    elif kind in ("ConfigMap", "Secret"):
        if old.get("immutable") and any(
            obj.get(k) != old.get(k) for k in ("data", "binaryData", "immutable")
        ):
            errors.append(
                FieldError("FieldValueForbidden", "data", "field is immutable when `immutable` is set")
            )
        if kind == "Secret" and obj.get("type") != old.get("type"):
            errors.append(wrong("type", obj.get("type"), _IMMUTABLE))
    elif kind == "PersistentVolumeClaim":
        fixed = {
            k: v for k, v in spec.items() if k not in ("resources", "volumeName", "volumeAttributesClassName")
        }
        if was.get("volumeName") and fixed != {k: was[k] for k in was if k in fixed}:
            text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
            errors.append(FieldError("FieldValueForbidden", "spec", text))
    return errors


def _pod_update(spec: Json, was: Json) -> list[FieldError]:
    def fixed(value: Json) -> Json:
        out = {
            k: v for k, v in value.items() if k not in ("activeDeadlineSeconds", "tolerations", "nodeName")
        }
        for part in ("containers", "initContainers"):
            if part in out:
                out[part] = [{k: v for k, v in c.items() if k != "image"} for c in out[part]]
        out.pop("ephemeralContainers", None)
        return out

    before = was.get("tolerations") or []
    after = spec.get("tolerations") or []
    kept = all(t in after for t in before)
    moved = bool(was.get("nodeName")) and spec.get("nodeName") != was.get("nodeName")
    if fixed(spec) != fixed(was) or not kept or moved or (spec.get("nodeName") and not was.get("nodeName")):
        return [FieldError("FieldValueForbidden", "spec", _POD_TEXT)]
    return []


def _content(resource: Resource, obj: Json) -> list[FieldError]:
    if resource.crd is not None:
        return _custom(resource, obj)
    kind, spec = resource.kind, obj.get("spec") or {}
    errors: list[FieldError] = []
    if kind in WORKLOADS:
        for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "parallelism", "backoffLimit"):
            if isinstance(spec.get(name), int) and spec[name] < 0:
                errors.append(wrong(f"spec.{name}", spec[name], "must be greater than or equal to 0"))
        if kind != "Job" and not spec.get("selector"):
            errors.append(required("spec.selector"))
        elif kind != "Job" and not any(spec["selector"].values()):
            errors.append(
                wrong("spec.selector", spec["selector"], "empty selector is invalid for deployment")
            )
        errors += check_selector(obj)
        template = spec.get("template") or {}
        allowed = ("OnFailure", "Never") if kind == "Job" else ("Always",)
        errors += pod_spec(template.get("spec") or {}, "spec.template.spec", allowed)
        errors += labels((template.get("metadata") or {}).get("labels") or {}, "spec.template.labels")
    elif kind == "Pod":
        errors += pod_spec(spec, "spec", ("Always", "OnFailure", "Never"))
    elif kind in ("ConfigMap", "Secret"):
        for key in [*(obj.get("data") or {}), *(obj.get("binaryData") or {})]:
            if not _CONFIG_KEY.match(key):
                text = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
                    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )
                errors.append(wrong(f"data[{key}]", key, text))
    elif kind == "Service":
        errors += _service(spec)
    elif kind == "HorizontalPodAutoscaler":
        errors += _autoscaler(spec)
    elif kind in ("RoleBinding", "ClusterRoleBinding"):
        if not (obj.get("roleRef") or {}).get("name"):
            errors.append(required("roleRef.name"))
    elif kind in ("Role", "ClusterRole"):
        for i, rule in enumerate(obj.get("rules") or ()):
            if not rule.get("verbs"):
                errors.append(required(f"rules[{i}].verbs", "verbs must contain at least one value"))
    elif kind == "PodDisruptionBudget" and None not in (spec.get("minAvailable"), spec.get("maxUnavailable")):
        errors.append(wrong("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    return errors


def _service(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") not in kinds:
        shown = ", ".join(f'"{k}"' for k in kinds)
        errors.append(
            FieldError("FieldValueNotSupported", "spec.type", f"supported values: {shown}", spec.get("type"))
        )
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        errors.append(required("spec.ports"))
    for i, port in enumerate(ports):
        if not 1 <= int(port.get("port") or 0) <= 65535:
            errors.append(
                wrong(f"spec.ports[{i}].port", port.get("port"), "must be between 1 and 65535, inclusive")
            )
        if len(ports) > 1 and not port.get("name"):
            errors.append(required(f"spec.ports[{i}].name"))
    return errors


def _autoscaler(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas")
    if not isinstance(high, int) or high < 1:
        errors.append(wrong("spec.maxReplicas", high, "must be greater than 0"))
    elif isinstance(low, int) and high < low:
        errors.append(wrong("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    if isinstance(low, int) and low < 1:
        errors.append(wrong("spec.minReplicas", low, "must be greater than or equal to 1"))
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        errors.append(required("spec.scaleTargetRef.name"))
    return errors


def pod_spec(spec: Json, path: str, restart: tuple[str, ...]) -> list[FieldError]:
    """A pod's spec, alone or in a template."""
    errors: list[FieldError] = []
    containers = spec.get("containers") or []
    if not containers:
        errors.append(required(f"{path}.containers"))
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    seen: set[str] = set()
    for part in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(part) or ()):
            errors += _container(container, f"{path}.{part}[{i}]", volumes, seen)
    policy = spec.get("restartPolicy")
    if policy not in restart:
        shown = ", ".join(f'"{r}"' for r in restart)
        errors.append(
            FieldError(
                "FieldValueNotSupported", f"{path}.restartPolicy", f"supported values: {shown}", policy
            )
        )
    return errors


def _container(container: Json, path: str, volumes: set[Any], seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = container.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    elif not _LABEL.match(name):
        errors.append(wrong(f"{path}.name", name, _LABEL_TEXT))
    elif name in seen:
        errors.append(FieldError("FieldValueDuplicate", f"{path}.name", "", name))
    seen.add(name)
    image = container.get("image") or ""
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(wrong(f"{path}.image", image, "must not have leading or trailing whitespace"))
    for j, port in enumerate(container.get("ports") or ()):
        if not 1 <= int(port.get("containerPort") or 0) <= 65535:
            where = f"{path}.ports[{j}].containerPort"
            errors.append(wrong(where, port.get("containerPort"), "must be between 1 and 65535, inclusive"))
    for j, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            errors.append(
                FieldError("FieldValueNotFound", f"{path}.volumeMounts[{j}].name", "", mount.get("name"))
            )
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for key, value in (resources.get("requests") or {}).items():
        if key in limits and parse(value) > parse(limits[key]):
            text = f"must be less than or equal to {key} limit of {limits[key]}"
            errors.append(wrong(f"{path}.resources.requests", value, text))
    return errors


def _custom(resource: Resource, obj: Json) -> list[FieldError]:
    schema = ((resource.crd or {}).get("schema") or {}).get("openAPIV3Schema") or {}
    errors: list[FieldError] = []
    for name in schema.get("required") or ():
        if name not in obj:
            errors.append(required(name))
    for name, sub in (schema.get("properties") or {}).items():
        if name in obj and name not in ("apiVersion", "kind", "metadata"):
            errors += _schema(sub, obj[name], name)
    return errors


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def _schema(schema: Json, value: Any, path: str) -> list[FieldError]:
    """A value of a custom resource against its structural schema (OpenAPI v3 as apiextensions allows it)."""
    if value is None and schema.get("nullable"):
        return []
    kind = schema.get("type")
    if kind and not schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, _JSON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits:
            names = {
                dict: "object",
                list: "array",
                str: "string",
                bool: "boolean",
                int: "integer",
                float: "number",
            }
            text = f'{path} in body must be of type {kind}: "{names.get(type(value), "null")}"'
            return [FieldError("FieldValueTypeInvalid", path, text, names.get(type(value), "null"))]
    errors: list[FieldError] = []
    if "enum" in schema and value not in schema["enum"]:
        shown = ", ".join(f'"{v}"' for v in schema["enum"])
        errors.append(FieldError("FieldValueNotSupported", path, f"supported values: {shown}", value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            text = f"{path} in body should be greater than or equal to {schema['minimum']}"
            errors.append(wrong(path, value, text))
        if "maximum" in schema and value > schema["maximum"]:
            errors.append(
                wrong(path, value, f"{path} in body should be less than or equal to {schema['maximum']}")
            )
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            errors.append(wrong(path, value, f"{path} in body should match '{schema['pattern']}'"))
        if len(value) < int(schema.get("minLength", 0)):
            text = f"{path} in body should be at least {schema['minLength']} chars long"
            errors.append(wrong(path, value, text))
    if isinstance(value, dict):
        errors += [required(f"{path}.{n}") for n in schema.get("required") or () if n not in value]
        rest = schema.get("additionalProperties")
        for key, item in value.items():
            sub = (schema.get("properties") or {}).get(key, rest if isinstance(rest, dict) else None)
            if sub:
                errors += _schema(sub, item, f"{path}.{key}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            errors += _schema(schema.get("items") or {}, item, f"{path}[{i}]")
    return errors
