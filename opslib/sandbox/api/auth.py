"""Who is asking (bearer tokens) and may they (RBAC), as k8s.io/apiserver's authentication and
k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac decide it, with their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from opslib.sandbox.api.errors import ApiError, Json, forbidden, unauthorized
from opslib.sandbox.api.store import Store

RBAC = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"

# What every authenticated user may do on a genuine cluster: the default roles system:discovery, system:basic-user and
# system:public-info-viewer.
_EVERYONE_PATHS = (
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
)
_EVERYONE = (
    ("authorization.k8s.io", ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
    ("authentication.k8s.io", ("selfsubjectreviews",)),
)
_ANONYMOUS_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")


@dataclass(frozen=True)
class User:
    """An authenticated user."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""

    @property
    def is_master(self) -> bool:
        """Whether RBAC is bypassed."""
        return MASTERS in self.groups


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True)
class Attributes:
    """What is asked for: a resource request, or a path."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # only for non-resource requests


class Auth:
    """Tokens and RBAC over the objects of the store."""

    def __init__(self, tokens: Path, store: Store) -> None:
        self.path, self.store = tokens, store
        self._stamp = 0.0
        self._users: dict[str, User] = {}
        self._issued: dict[str, tuple[User, datetime]] = {}

    def issue(self, token: str, user: User, expires: datetime) -> None:
        """Accept a service account's token until it expires (it does not survive a restart)."""
        self._issued[token] = (user, expires)

    def _tokens(self) -> dict[str, User]:
        try:
            stamp = self.path.stat().st_mtime
        except FileNotFoundError:
            return {}
        if stamp != self._stamp:
            rows = json.loads(self.path.read_text())
            self._users = {
                r["token"]: User(r["user"], (*r.get("groups", ()), AUTHENTICATED), r.get("uid", ""))
                for r in rows
            }
            self._stamp = stamp
        return self._users

    def of_token(self, token: str) -> User | None:
        """The user of a token, or None."""
        issued = self._issued.get(token)
        if issued:
            return issued[0] if datetime.now(UTC) < issued[1] else None
        return self._tokens().get(token)

    def authenticate(self, header: str) -> User:
        """The user of an Authorization header; anonymous without one. Raises ApiError 401 for a bad one."""
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        user = self.of_token(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user

    # authorization

    def allowed(self, user: User, asked: Attributes) -> tuple[bool, str]:
        """Whether RBAC allows it, and the reason it gives."""
        if user.is_master:
            return True, ""
        if asked.path and not asked.resource:
            open_paths = _EVERYONE_PATHS if AUTHENTICATED in user.groups else _ANONYMOUS_PATHS
            if asked.verb == "get" and any(_path_matches(p, asked.path) for p in open_paths):
                return True, ""
        elif AUTHENTICATED in user.groups and asked.verb == "create":
            for group, resources in _EVERYONE:
                if asked.group == group and asked.resource in resources:
                    return (
                        True,
                        'RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user"',
                    )
        for reason, rule in self.rules(user, asked.namespace):
            if rule_allows(rule, asked):
                return True, reason
        return False, ""

    def rules(self, user: User, namespace: str) -> Iterator[tuple[str, Json]]:
        """Every rule that applies to the user there, with RBAC's reason."""
        for (_, name), entry in self.store.items((RBAC, "clusterrolebindings")):
            if subject := _subject(entry.obj, user, ""):
                role = entry.obj["roleRef"]["name"]
                reason = f'RBAC: allowed by ClusterRoleBinding "{name}" of ClusterRole "{role}" to {subject}'
                for rule in self._role_rules(entry.obj["roleRef"], ""):
                    yield reason, rule
        if not namespace:
            return
        for (_, name), entry in self.store.items((RBAC, "rolebindings"), namespace):
            if subject := _subject(entry.obj, user, namespace):
                ref = entry.obj["roleRef"]
                reason = f'RBAC: allowed by RoleBinding "{name}/{namespace}" of {ref["kind"]} "{ref["name"]}" to {subject}'
                for rule in self._role_rules(ref, namespace):
                    yield reason, rule

    def _role_rules(self, ref: Json, namespace: str) -> list[Json]:
        if ref["kind"] == "ClusterRole":
            entry = self.store.get((RBAC, "clusterroles"), "", ref["name"])
        else:
            entry = self.store.get((RBAC, "roles"), namespace, ref["name"])
        return list(entry.obj.get("rules") or ()) if entry else []

    def check(self, user: User, asked: Attributes) -> None:
        """Raise ApiError 403 with RBAC's text unless it is allowed."""
        ok, _ = self.allowed(user, asked)
        if not ok:
            raise denied(user, asked)


def denied(user: User, asked: Attributes) -> ApiError:
    """The 403 of the generic API server for a user who may not do this."""
    if asked.path and not asked.resource:
        text = f'User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        return ApiError(403, "Forbidden", f"forbidden: {text}", {})
    what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    text = f'User "{user.name}" cannot {asked.verb} resource "{what}" in API group "{asked.group}"'
    text += f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    return forbidden(asked.resource, asked.group, asked.name, text)


def _subject(binding: Json, user: User, namespace: str) -> str:
    """How RBAC names the subject of a binding that is this user; empty when none is."""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return f'User "{name}"'
        if kind == "Group" and name in user.groups:
            return f'Group "{name}"'
        if kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{space}:{name}":
                return f'ServiceAccount "{name}/{space}"'
    return ""


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def rule_allows(rule: Json, asked: Attributes) -> bool:
    """Whether one PolicyRule covers the request."""
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path and not asked.resource:
        return any(_path_matches(p, asked.path) for p in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    wanted = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    resources = rule.get("resources") or ()
    covered = "*" in resources or wanted in resources
    if not covered and asked.subresource:
        covered = f"*/{asked.subresource}" in resources
    if not covered:
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names
