"""Reviews: what may I do, who am I (authorization.k8s.io, authentication.k8s.io). Created, answered, not stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from opslib.sandbox.api.auth import _EVERYONE, _EVERYONE_PATHS, Attributes, User
from opslib.sandbox.api.errors import Json, bad_request
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.requests import RequestInfo
from opslib.sandbox.api.store import encode
from opslib.sandbox.api.verbs import answer, options_of

if TYPE_CHECKING:
    from opslib.sandbox.api.server import ApiServer


async def handle(
    server: ApiServer, request: web.Request, resource: Resource, info: RequestInfo, user: User
) -> web.Response:
    """Answer one review."""
    warnings: list[str] = []
    body = server.objects.decode(resource, await server.verbs.body(request), options_of(request), warnings)
    spec = body.setdefault("spec", {}) or {}
    metadata = {"creationTimestamp": None, **body["metadata"]}
    result: Json = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if resource.kind != "SelfSubjectReview":
        result["spec"] = spec
    if resource.kind == "SelfSubjectReview":
        result["status"] = {"userInfo": _user_info(user)}
    elif resource.kind == "TokenReview":
        found = server.auth.of_token(str(spec.get("token", "")))
        if found is None:
            result["status"] = {"user": {}, "error": "[invalid bearer token]"}
        else:
            result["status"] = {"authenticated": True, "user": _user_info(found)}
    elif resource.kind == "SelfSubjectRulesReview":
        result["status"] = _rules(server, user, str(spec.get("namespace", "")))
    else:
        who = user
        if resource.kind != "SelfSubjectAccessReview":
            who = User(str(spec.get("user", "")), tuple(spec.get("groups") or ()), str(spec.get("uid", "")))
        result["status"] = _access(server, who, spec, info)
    return answer(encode(result), 201, warnings)


def _user_info(user: User) -> Json:
    info: Json = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return info


def _access(server: ApiServer, user: User, spec: Json, info: RequestInfo) -> Json:
    asked: Any = spec.get("resourceAttributes")
    path: Any = spec.get("nonResourceAttributes")
    if (asked is None) == (path is None):
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    if asked is not None:
        attributes = Attributes(
            asked.get("verb", ""),
            asked.get("group", ""),
            asked.get("version", ""),
            asked.get("resource", ""),
            asked.get("subresource", ""),
            asked.get("namespace", "") or info.namespace,
            asked.get("name", ""),
        )
    else:
        attributes = Attributes(path.get("verb", ""), path=path.get("path", ""))
    allowed, reason = server.auth.allowed(user, attributes)
    status: Json = {"allowed": allowed}
    if reason:
        status["reason"] = reason
    return status


def _rules(server: ApiServer, user: User, namespace: str) -> Json:
    if not namespace:
        raise bad_request("no namespace on request")
    resource_rules: list[Json] = [
        {"verbs": ["create"], "apiGroups": [group], "resources": list(names)} for group, names in _EVERYONE
    ]
    path_rules: list[Json] = [{"verbs": ["get"], "nonResourceURLs": list(_EVERYONE_PATHS)}]
    if user.is_master:
        resource_rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        path_rules.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    for _, rule in server.auth.rules(user, namespace):
        if rule.get("nonResourceURLs"):
            path_rules.append({k: rule[k] for k in ("verbs", "nonResourceURLs")})
        else:
            kept = ("verbs", "apiGroups", "resources", "resourceNames")
            resource_rules.append({k: rule[k] for k in kept if rule.get(k)})
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
