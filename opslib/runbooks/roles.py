"""The Roles of an observer and a responder, from what the runbooks declare that they read and change.

`run.apply` is a convention; these are the control (DESIGN.md, idea 4). An observer may read what is declared and nothing
else: no Secret, no exec. A responder may also make the declared changes and hold the leases that guard them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from opslib.cluster.gitops import HOME
from opslib.runbooks.catalogue import Runbook
from opslib.runbooks.front import Access

OBSERVER, RESPONDER = "opslib-observer", "opslib-responder"
OBSERVERS, RESPONDERS = "opslib:observers", "opslib:responders"  # groups, as the identity provider names them
RBAC = "rbac.authorization.k8s.io"
CLUSTER_WIDE = ("nodes", "namespaces", "persistentvolumes", "storageclasses", "customresourcedefinitions")
LEASE = "coordination.k8s.io"
# Who am I, and what may I: Kubernetes allows it to everybody, unless somebody took system:basic-user away.
REVIEWS = [
    Access("create", "selfsubjectaccessreviews", "authorization.k8s.io"),
    Access("create", "selfsubjectreviews", "authentication.k8s.io"),
]
LEASES = [Access(verb, "leases", LEASE) for verb in ("get", "create", "update", "delete")]

Json = dict[str, Any]


def roles(
    books: Iterable[Runbook],
    namespace: str,
    *,
    argocd: str = HOME,
    observers: str = OBSERVERS,
    responders: str = RESPONDERS,
) -> list[Json]:
    """The manifests: one ClusterRole, Roles in the platform's and in Argo CD's namespace, and their bindings by group."""
    reads: list[Access] = []
    changes: list[Access] = []
    for book in books:
        reads += book.front.access("reads")
        changes += book.front.access("changes")
    whole = [each for each in reads if each.resource in CLUSTER_WIDE]
    both = [observers, responders]
    found = [
        _role("ClusterRole", OBSERVER, "", [*whole, *REVIEWS]),
        _binding("ClusterRole", OBSERVER, "", both),
    ]
    for place, mine in ((namespace, _of_platform), (argocd, _of_argocd)):
        if read := [each for each in reads if mine(each)]:
            found += [_role("Role", OBSERVER, place, read), _binding("Role", OBSERVER, place, both)]
        if written := [each for each in changes if mine(each)]:
            leases = LEASES if place == namespace else []
            found.append(_role("Role", RESPONDER, place, [*written, *leases]))
            found.append(_binding("Role", RESPONDER, place, [responders]))
    return found


def place_of(access: Access, namespace: str, argocd: str = HOME) -> str:
    """The namespace in which an access is needed; empty: in the whole cluster."""
    if access.resource in CLUSTER_WIDE:
        return ""
    return argocd if _of_argocd(access) else namespace


def _of_argocd(access: Access) -> bool:
    return access.group == "argoproj.io"


def _of_platform(access: Access) -> bool:
    return access.resource not in CLUSTER_WIDE and not _of_argocd(access)


def _role(kind: str, name: str, namespace: str, needed: Sequence[Access]) -> Json:
    verbs: dict[tuple[str, str], set[str]] = {}
    for each in needed:
        resource = each.resource + (f"/{each.subresource}" if each.subresource else "")
        verbs.setdefault((each.group, resource), set()).add(each.verb)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), allowed in sorted(verbs.items()):
        together.setdefault((group, tuple(sorted(allowed))), []).append(resource)
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": list(allowed)}
        for (group, allowed), resources in together.items()
    ]
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": _meta(name, namespace), "rules": rules}


def _binding(kind: str, name: str, namespace: str, groups: Sequence[str]) -> Json:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": _meta(name, namespace),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
        "subjects": [{"kind": "Group", "apiGroup": RBAC, "name": group} for group in groups],
    }


def _meta(name: str, namespace: str) -> Json:
    meta: Json = {"name": name, "labels": {"app.kubernetes.io/managed-by": "opslib"}}
    return {**meta, "namespace": namespace} if namespace else meta
