"""Subresources that are not the object itself: scale, eviction, binding, token; and ComponentStatus.

Source: k8s.io/kubernetes/pkg/registry/{apps,core}/*/storage and pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from opslib.sandbox.api import requests
from opslib.sandbox.api.auth import AUTHENTICATED, User
from opslib.sandbox.api.errors import (
    ApiError,
    FieldError,
    Json,
    bad_request,
    conflict,
    invalid,
    no_such_path,
    not_found,
    too_many_requests,
    unsupported_media_type,
)
from opslib.sandbox.api.patch import json_patch, merge_patch
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.requests import RequestInfo
from opslib.sandbox.api.selectors import selector_matches
from opslib.sandbox.api.store import Entry, encode, labels_of
from opslib.sandbox.api.strategy import now, random_token
from opslib.sandbox.api.verbs import answer, options_of

if TYPE_CHECKING:
    from opslib.sandbox.api.server import ApiServer

PODS = ("", "pods")
BUDGETS = ("policy", "poddisruptionbudgets")


async def handle(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource, user: User
) -> web.Response:
    """Answer a request on one of these subresources."""
    del user
    if info.subresource == "scale":
        return await _scale(server, request, info, resource)
    if info.subresource == "eviction":
        return await _evict(server, request, info, resource)
    if info.subresource == "binding":
        return await binding(server, request, info, resource)
    if info.subresource == "token":
        return await _token(server, request, info, resource)
    raise no_such_path()


# scale


def _selector_text(selector: Json | None) -> str:
    parts = [f"{k}={v}" for k, v in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for rule in (selector or {}).get("matchExpressions") or ():
        values = ",".join(sorted(rule.get("values") or ()))
        text = {
            "In": f"{rule['key']} in ({values})",
            "NotIn": f"{rule['key']} notin ({values})",
            "Exists": rule["key"],
            "DoesNotExist": f"!{rule['key']}",
        }
        parts.append(text[rule["operator"]])
    return ",".join(parts)


def _path(obj: Json, path: str, default: Any) -> Any:
    node: Any = obj
    for part in path.strip(".").split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return default if node is None else node


def _as_scale(resource: Resource, entry: Entry) -> Json:
    obj = entry.obj
    meta = {
        k: obj["metadata"][k]
        for k in ("name", "namespace", "uid", "creationTimestamp")
        if k in obj["metadata"]
    }
    meta["resourceVersion"] = obj["metadata"]["resourceVersion"]
    status: Json = {"replicas": _path(obj, "status.replicas", 0)}
    wanted = _path(obj, "spec.replicas", 0)
    if resource.crd is not None:
        rule = resource.crd["subresources"]["scale"]
        wanted = _path(obj, rule["specReplicasPath"], 0)
        status = {"replicas": _path(obj, rule["statusReplicasPath"], 0)}
        if rule.get("labelSelectorPath"):
            status["selector"] = _path(obj, rule["labelSelectorPath"], "")
    else:
        status["selector"] = _selector_text((obj.get("spec") or {}).get("selector"))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


async def _scale(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.Response:
    entry = server.store.get(resource.key, info.namespace, info.name)
    if info.verb == "get":
        if entry is None:
            raise not_found(resource.plural, resource.group, info.name)
        return answer(encode(_as_scale(resource, entry)))
    data = await request.read()
    kind = requests.media_type(request.headers.get("Content-Type", ""))
    options = options_of(request, "scale")
    entry = server.store.get(resource.key, info.namespace, info.name)
    if entry is None:
        raise not_found(resource.plural, resource.group, info.name)
    current = _as_scale(resource, entry)
    if info.verb == "update":
        wanted = await server.verbs.body(request)
    else:
        allowed = requests.PATCH_TYPES[:3]
        if kind not in allowed:
            raise unsupported_media_type(list(allowed))
        patch = requests.decode_body(data, kind, allowed)
        wanted = json_patch(current, patch) if kind == allowed[0] else merge_patch(current, patch)
    if not isinstance(wanted, dict) or not isinstance(wanted.get("spec") or {}, dict):
        raise bad_request("the object provided is unrecognized (must be of type Scale)")
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
            f"{type(replicas).__name__} into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0:
        text = "must be greater than or equal to 0"
        problem = FieldError("FieldValueInvalid", "spec.replicas", text, replicas)
        raise invalid("Scale", "autoscaling", info.name, [problem])
    asked = wanted.get("metadata") or {}

    def change(obj: Json) -> Json:
        if asked.get("uid"):
            obj["metadata"]["uid"] = asked["uid"]
        if asked.get("resourceVersion"):
            obj["metadata"]["resourceVersion"] = asked["resourceVersion"]
        path = ["spec", "replicas"]
        if resource.crd is not None:
            path = resource.crd["subresources"]["scale"]["specReplicasPath"].strip(".").split(".")
        node = obj
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = replicas
        return obj

    result = server.objects.update(resource, info.namespace, info.name, change, options)
    return answer(encode(_as_scale(resource, result)))


# eviction


def _budgets(server: ApiServer, pod: Json) -> list[tuple[str, Entry]]:
    namespace, labels = pod["metadata"]["namespace"], labels_of(pod)
    found = []
    for (_, name), entry in server.store.items(BUDGETS, namespace):
        if selector_matches((entry.obj.get("spec") or {}).get("selector"), labels):
            found.append((name, entry))
    return found


def _healthy(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


async def _evict(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.Response:
    body = await server.verbs.body(request)
    if not isinstance(body, dict) or body.get("kind", "Eviction") != "Eviction":
        raise bad_request("the object provided is unrecognized (must be of type Eviction)")
    meta = body.get("metadata") or {}
    if meta.get("name") not in (None, "", info.name):
        raise bad_request("name in URL does not match name in Eviction object")
    options = options_of(request)
    delete = dict(body.get("deleteOptions") or {})
    options.dry_run |= "All" in (delete.get("dryRun") or ())
    entry = server.store.get(resource.key, info.namespace, info.name)
    if entry is None:
        raise not_found("pods", "", info.name)
    pod = entry.obj
    phase = (pod.get("status") or {}).get("phase")
    going = bool(pod["metadata"].get("deletionTimestamp"))
    if phase not in ("Succeeded", "Failed", "Pending") and not going:
        budgets = _budgets(server, pod)
        if len(budgets) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise ApiError(500, "", text)
        for name, budget in budgets:
            _spend(server, pod, name, budget, options.dry_run)
    server.objects.delete(resource, info.namespace, info.name, delete, options)
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer(encode(status), 201)


def _spend(server: ApiServer, pod: Json, name: str, budget: Entry, dry_run: bool) -> None:
    status = budget.obj.get("status") or {}
    spec = budget.obj.get("spec") or {}
    current, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if not _healthy(pod):
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy == "AlwaysAllow" or (current >= desired > 0):
            return
    refused = "Cannot evict pod as it would violate the pod's disruption budget."
    if status.get("observedGeneration", 0) < budget.obj["metadata"].get("generation", 0):
        text = f"The disruption budget {name} is still being processed by the server."
        raise too_many_requests(refused, [{"reason": "DisruptionBudget", "message": text}])
    if status.get("disruptionsAllowed", 0) <= 0:
        text = f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        raise too_many_requests(refused, [{"reason": "DisruptionBudget", "message": text}])
    if dry_run:
        return
    obj = budget.copy()
    obj["status"]["disruptionsAllowed"] -= 1
    obj["status"].setdefault("disruptedPods", {})[pod["metadata"]["name"]] = now()
    server.store.put(BUDGETS, budget.obj["metadata"]["namespace"], name, obj)


# binding


async def binding(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.Response:
    """Bind a pod to a node: pods/NAME/binding, or the older bindings resource."""
    body = await server.verbs.body(request)
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type Binding)")
    name = info.name or (body.get("metadata") or {}).get("name", "")
    target = body.get("target") or {}
    if target.get("kind") not in ("", None, "Node") or not target.get("name"):
        problem = FieldError("FieldValueRequired", "target.name", "")
        raise invalid("Binding", "", name, [problem])
    pods = server.registry.find("", "v1", "pods")
    assert pods is not None
    entry = server.store.get(PODS, info.namespace, name)
    if entry is None:
        raise not_found("pods", "", name)
    if entry.obj["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{entry.obj["spec"]["nodeName"]}"'
        raise conflict("pods/binding", "", name, why)
    if entry.obj["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    obj = entry.copy()
    obj["spec"]["nodeName"] = target["name"]
    conditions = [c for c in (obj["status"].get("conditions") or []) if c["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    obj["status"]["conditions"] = [*conditions, scheduled]
    del resource
    if not options_of(request).dry_run:
        server.store.put(PODS, info.namespace, name, obj)
    return answer(
        encode({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}), 201
    )


# token


async def _token(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.Response:
    body = await server.verbs.body(request)
    entry = server.store.get(resource.key, info.namespace, info.name)
    if entry is None:
        raise not_found(resource.plural, resource.group, info.name)
    spec = (body if isinstance(body, dict) else {}).get("spec") or {}
    seconds = int(spec.get("expirationSeconds") or 3600)
    if seconds < 600:
        text = "may not specify a duration less than 10 minutes"
        problem = FieldError("FieldValueInvalid", "spec.expirationSeconds", text, seconds)
        raise invalid("TokenRequest", "authentication.k8s.io", "", [problem])
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    token = random_token(48)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{info.namespace}", AUTHENTICATED)
    name = f"system:serviceaccount:{info.namespace}:{info.name}"
    server.auth.issue(token, User(name, groups, entry.obj["metadata"]["uid"]), expires)
    stamp = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    result = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": info.name, "namespace": info.namespace, "creationTimestamp": now()},
        "spec": {
            "audiences": spec.get("audiences") or ["https://kubernetes.default.svc"],
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": stamp},
    }
    return answer(encode(result), 201)


def component_statuses(info: RequestInfo) -> web.Response:
    """The components this sandbox stands for; a genuine server asks their health ports, here the API itself answers."""
    item: Json = {
        "metadata": {"name": "etcd-0"},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }
    if info.verb == "get" and info.name:
        if info.name != "etcd-0":
            raise not_found("componentstatuses", "", info.name)
        return answer(encode({"kind": "ComponentStatus", "apiVersion": "v1", **item}))
    listed = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": [item]}
    return answer(encode(listed), 200, ["v1 ComponentStatus is deprecated in v1.19+"])
