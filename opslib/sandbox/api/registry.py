"""The table of everything this server supports: one row a resource.

Names, verbs, short names and categories are those of a genuine v1.32 server's discovery documents. The contract
tests in tests/sandbox/api/ are driven from this table; what is not in it answers 404 or 405.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CRUD = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE = ("create",)
READ = ("get", "list")
GET = ("get",)
GPU = ("get", "patch", "update")

StorageKey = tuple[str, str]  # (group, plural) under which the objects are kept


@dataclass(frozen=True)
class Subresource:
    """A subresource: its verbs, and the kind it speaks where that differs from its parent's."""

    name: str
    verbs: tuple[str, ...] = GPU
    kind: str = ""
    group: str | None = None
    version: str = ""


@dataclass(frozen=True)
class Resource:
    """One row: a resource of one API version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = CRUD
    subresources: tuple[Subresource, ...] = ()
    storage: StorageKey = ("", "")
    storage_version: str = ""
    generation: bool = False
    singular: str = ""
    crd: dict[str, Any] | None = field(default=None, compare=False, hash=False)  # the version of a CRD's spec
    definition: str = ""

    @property
    def key(self) -> StorageKey:
        """Where the objects live; several versions of one kind share it."""
        return self.storage if self.storage[1] else (self.group, self.plural)

    @property
    def api_version(self) -> str:
        """``apps/v1`` or ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        """The kind of a list of it."""
        if self.crd:
            return str(self.crd.get("listKind") or f"{self.kind}List")
        return f"{self.kind}List"

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of this name, if there is one."""
        return next((s for s in self.subresources if s.name == name), None)


STATUS = Subresource("status")
SCALE = Subresource("scale", GPU, "Scale", "autoscaling", "v1")
CONNECT = ("create", "get")

_ALL = ("all",)
_EXT = ("api-extensions",)

BUILTIN: tuple[Resource, ...] = (
    Resource("", "v1", "Binding", "bindings", verbs=CREATE),
    Resource("", "v1", "ComponentStatus", "componentstatuses", False, ("cs",), verbs=READ),
    Resource("", "v1", "ConfigMap", "configmaps", True, ("cm",)),
    Resource("", "v1", "Endpoints", "endpoints", True, ("ep",)),
    Resource("", "v1", "Event", "events", True, ("ev",)),
    Resource("", "v1", "LimitRange", "limitranges", True, ("limits",)),
    Resource(
        "",
        "v1",
        "Namespace",
        "namespaces",
        False,
        ("ns",),
        verbs=tuple(v for v in CRUD if v != "deletecollection"),
        subresources=(Subresource("finalize", ("update",)), STATUS),
    ),
    Resource("", "v1", "Node", "nodes", False, ("no",), subresources=(STATUS,)),
    Resource(
        "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), subresources=(STATUS,)
    ),
    Resource("", "v1", "PersistentVolume", "persistentvolumes", False, ("pv",), subresources=(STATUS,)),
    Resource(
        "",
        "v1",
        "Pod",
        "pods",
        True,
        ("po",),
        _ALL,
        subresources=(
            Subresource("attach", CONNECT, "PodAttachOptions"),
            Subresource("binding", CREATE, "Binding"),
            Subresource("ephemeralcontainers"),
            Subresource("eviction", CREATE, "Eviction", "policy", "v1"),
            Subresource("exec", CONNECT, "PodExecOptions"),
            Subresource("log", GET),
            Subresource("portforward", CONNECT, "PodPortForwardOptions"),
            STATUS,
        ),
    ),
    Resource("", "v1", "PodTemplate", "podtemplates"),
    Resource(
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        True,
        ("rc",),
        _ALL,
        subresources=(SCALE, STATUS),
        generation=True,
    ),
    Resource("", "v1", "ResourceQuota", "resourcequotas", True, ("quota",), subresources=(STATUS,)),
    Resource("", "v1", "Secret", "secrets"),
    Resource(
        "",
        "v1",
        "ServiceAccount",
        "serviceaccounts",
        True,
        ("sa",),
        subresources=(Subresource("token", CREATE, "TokenRequest", "authentication.k8s.io", "v1"),),
    ),
    Resource("", "v1", "Service", "services", True, ("svc",), _ALL, subresources=(STATUS,)),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        False,
        (),
        _EXT,
        generation=True,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        False,
        (),
        _EXT,
        generation=True,
    ),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        False,
        ("crd", "crds"),
        _EXT,
        subresources=(STATUS,),
        generation=True,
    ),
    Resource(
        "apiregistration.k8s.io", "v1", "APIService", "apiservices", False, (), _EXT, subresources=(STATUS,)
    ),
    Resource("apps", "v1", "ControllerRevision", "controllerrevisions"),
    Resource(
        "apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), _ALL, subresources=(STATUS,), generation=True
    ),
    Resource(
        "apps",
        "v1",
        "Deployment",
        "deployments",
        True,
        ("deploy",),
        _ALL,
        subresources=(SCALE, STATUS),
        generation=True,
    ),
    Resource(
        "apps",
        "v1",
        "ReplicaSet",
        "replicasets",
        True,
        ("rs",),
        _ALL,
        subresources=(SCALE, STATUS),
        generation=True,
    ),
    Resource(
        "apps",
        "v1",
        "StatefulSet",
        "statefulsets",
        True,
        ("sts",),
        _ALL,
        subresources=(SCALE, STATUS),
        generation=True,
    ),
    Resource("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=CREATE),
    Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False, verbs=CREATE),
    Resource(
        "authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE
    ),
    Resource(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        False,
        verbs=CREATE,
    ),
    Resource(
        "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False, verbs=CREATE
    ),
    Resource(
        "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=CREATE
    ),
    Resource(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        True,
        ("hpa",),
        _ALL,
        subresources=(STATUS,),
        storage_version="v2",
    ),
    Resource(
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        True,
        ("hpa",),
        _ALL,
        subresources=(STATUS,),
        storage_version="v2",
    ),
    Resource(
        "batch",
        "v1",
        "CronJob",
        "cronjobs",
        True,
        ("cj",),
        _ALL,
        subresources=(STATUS,),
        generation=True,
    ),
    Resource("batch", "v1", "Job", "jobs", True, (), _ALL, subresources=(STATUS,), generation=True),
    Resource("coordination.k8s.io", "v1", "Lease", "leases"),
    Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", generation=True),
    Resource("events.k8s.io", "v1", "Event", "events", True, ("ev",), storage=("", "events")),
    Resource("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False, generation=True),
    Resource(
        "networking.k8s.io",
        "v1",
        "Ingress",
        "ingresses",
        True,
        ("ing",),
        subresources=(STATUS,),
        generation=True,
    ),
    Resource(
        "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",), generation=True
    ),
    Resource("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False),
    Resource(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        True,
        ("pdb",),
        subresources=(STATUS,),
        generation=True,
    ),
    Resource("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False),
    Resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False),
    Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    Resource("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",), generation=True),
    Resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, ("sc",)),
)

# Served by the kubelet stand-in (the metrics server's part) and only passed on.
METRICS_GROUP = "metrics.k8s.io"
METRICS: tuple[Resource, ...] = (
    Resource(METRICS_GROUP, "v1beta1", "NodeMetrics", "nodes", False, verbs=READ),
    Resource(METRICS_GROUP, "v1beta1", "PodMetrics", "pods", True, verbs=READ),
)


class Registry:
    """The built-in rows plus those that CustomResourceDefinitions add."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Resource] = {}
        for row in (*BUILTIN, *METRICS):
            self._rows[row.group, row.version, row.plural] = row
        self._custom: dict[str, list[tuple[str, str, str]]] = {}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The row of this group, version and plural."""
        return self._rows.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """The row of this group, version and kind."""
        return next((r for r in self.of_version(group, version) if r.kind == kind), None)

    def for_storage(self, key: StorageKey) -> Resource | None:
        """The row in whose version objects of this storage are kept."""
        rows = [r for r in self._rows.values() if r.key == key]
        rows.sort(
            key=lambda r: (r.group != key[0], bool(r.storage_version) and r.version != r.storage_version)
        )
        return rows[0] if rows else None

    def of_version(self, group: str, version: str) -> list[Resource]:
        """All rows of one group and version, by plural."""
        rows = [r for (g, v, _), r in self._rows.items() if (g, v) == (group, version)]
        return sorted(rows, key=lambda r: r.plural)

    def versions(self) -> dict[str, list[str]]:
        """Versions by group, the preferred one first."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._rows:
            if version not in found.setdefault(group, []):
                found[group].append(version)
        return found

    def storages(self) -> Iterator[StorageKey]:
        """Every storage that a persistent row uses."""
        seen = set()
        for row in self._rows.values():
            if row.key not in seen and "list" in row.verbs and row.group != METRICS_GROUP:
                seen.add(row.key)
                yield row.key

    def add_crd(self, crd: dict[str, Any]) -> None:
        """Serve the kinds of a CustomResourceDefinition (apiextensions.k8s.io/v1)."""
        self.remove_crd(str(crd["metadata"]["name"]))
        spec = crd["spec"]
        names, mine = spec["names"], []
        ordered = sorted(spec["versions"], key=lambda v: not v.get("storage"))
        storage_version = str(
            next((v["name"] for v in spec["versions"] if v.get("storage")), ordered[0]["name"])
        )
        for version in ordered:
            if not version.get("served"):
                continue
            subs = version.get("subresources") or {}
            subresources: tuple[Subresource, ...] = (STATUS,) if "status" in subs else ()
            if "scale" in subs:
                subresources += (SCALE,)
            row = Resource(
                spec["group"],
                version["name"],
                names["kind"],
                names["plural"],
                spec["scope"] == "Namespaced",
                tuple(names.get("shortNames") or ()),
                tuple(names.get("categories") or ()),
                subresources=subresources,
                storage_version=storage_version,
                generation=True,
                singular=str(names.get("singular") or names["kind"].lower()),
                crd={**version, "listKind": names.get("listKind")},
            )
            self._rows[row.group, row.version, row.plural] = row
            mine.append((row.group, row.version, row.plural))
        self._custom[str(crd["metadata"]["name"])] = mine

    def remove_crd(self, name: str) -> None:
        """Stop serving what the CustomResourceDefinition of this name added."""
        for key in self._custom.pop(name, []):
            self._rows.pop(key, None)

    def clear_crds(self) -> None:
        """Forget all custom resources (before a restore)."""
        for name in list(self._custom):
            self.remove_crd(name)
