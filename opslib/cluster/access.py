"""Who this is, what it may do, and which cluster this is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opslib.cluster.kinds import KINDS
from opslib.errors import NotInstalled

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any


@dataclass(frozen=True)
class Identity:
    """Who the API takes this identity for."""

    user: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """One permission to be asked for: `patch deployments.apps/api-gateway`."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        what = self.resource + (f"/{self.subresource}" if self.subresource else "")
        full = f"{what}.{self.group}" if self.group else what
        return f"{self.verb} {full}" + (f"/{self.name}" if self.name else "")


def identity(api: Api) -> Identity:
    """The user as the API sees it (SelfSubjectReview, Kubernetes 1.28 and later; beta before)."""
    body = {"kind": "SelfSubjectReview"}
    for version in ("v1", "v1beta1"):
        try:
            path = f"/apis/authentication.k8s.io/{version}/selfsubjectreviews"
            answer = api.post(path, body | {"apiVersion": f"authentication.k8s.io/{version}"})
        except NotInstalled:
            continue
        info = (answer.get("status") or {}).get("userInfo") or {}
        return Identity(info.get("username", ""), tuple(info.get("groups") or ()))
    return Identity("unknown: this cluster has no SelfSubjectReview")


def allowed(api: Api, wish: Wish) -> tuple[bool, str]:
    """Whether the identity may do it, and the API's reason (SelfSubjectAccessReview; writes nothing)."""
    attributes = {
        "verb": wish.verb,
        "group": wish.group,
        "resource": wish.resource,
        "namespace": wish.namespace,
        "name": wish.name,
        "subresource": wish.subresource,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    status = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body).get("status") or {}
    return bool(status.get("allowed")), status.get("reason", "")


def refused(api: Api, wishes: Iterable[Wish]) -> list[str]:
    """Those wishes that the identity may not do."""
    from concurrent.futures import ThreadPoolExecutor

    asked = list(dict.fromkeys(wishes))
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="access") as pool:
        answers = list(pool.map(lambda wish: allowed(api, wish)[0], asked))
    return [str(wish) for wish, ok in zip(asked, answers, strict=True) if not ok]


def cluster_uid(api: Api) -> str:
    """The uid of namespace kube-system: it stays for the cluster's life and differs between clusters."""
    return str(api.get(KINDS["namespace"].path(name="kube-system"))["metadata"]["uid"])
