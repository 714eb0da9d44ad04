"""The Kubernetes kinds that opslib reads and writes: their paths, and quantities in base units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = Any


@dataclass(frozen=True)
class Kind:
    """One kind: where it lives in the API."""

    kind: str
    group: str  # empty: the core group
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As a manifest names it: apps/v1, v1."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As kubectl names it: deployments.apps."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of one object, or of all in a namespace, or of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")
        return f"{root}{inside}/{self.plural}{tail}"


KINDS = {
    kind.kind.lower(): kind
    for kind in (
        Kind("Pod", "", "v1", "pods"),
        Kind("Service", "", "v1", "services"),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("Event", "", "v1", "events"),
        Kind("Node", "", "v1", "nodes", namespaced=False),
        Kind("Namespace", "", "v1", "namespaces", namespaced=False),
        Kind("ResourceQuota", "", "v1", "resourcequotas"),
        Kind("Deployment", "apps", "v1", "deployments"),
        Kind("ReplicaSet", "apps", "v1", "replicasets"),
        Kind("StatefulSet", "apps", "v1", "statefulsets"),
        Kind("Ingress", "networking.k8s.io", "v1", "ingresses"),
        Kind("EndpointSlice", "discovery.k8s.io", "v1", "endpointslices"),
        Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers"),
        Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
        Kind("Lease", "coordination.k8s.io", "v1", "leases"),
        Kind("Application", "argoproj.io", "v1alpha1", "applications"),
    )
}
SHORT = {
    "hpa": "horizontalpodautoscaler",
    "pdb": "poddisruptionbudget",
    "cm": "configmap",
    "deploy": "deployment",
}


def kind_of(name: str) -> Kind:
    """The kind by its name or short name, in any case, singular or plural or as a resource (deployments.apps)."""
    wanted = name.lower().split(".")[0]
    wanted = SHORT.get(wanted, wanted)
    for kind in KINDS.values():
        if wanted in (kind.kind.lower(), kind.plural):
            return kind
    raise KeyError(f"opslib does not know the kind {name!r}")


_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def quantity(text: Json) -> float:
    """A Kubernetes quantity (`250m`, `2Gi`, `1e3`) in its base unit: cores, bytes, count.

    Source: k8s.io/apimachinery/pkg/api/resource/quantity.go. Raises ValueError for anything else.
    """
    raw = str(text).strip()
    number = raw.rstrip("numkKMGTPi")
    suffix = raw[len(number) :]
    if suffix not in _SUFFIXES:
        raise ValueError(f"{raw!r} is not a quantity")
    return float(number) * _SUFFIXES[suffix]


def requests_of(pod_spec: Json, resource: str) -> float:
    """What the scheduler reserves for a pod: the containers' sum or the largest init container, plus overhead."""

    def asked(container: Json) -> float:
        return quantity(((container.get("resources") or {}).get("requests") or {}).get(resource, 0))

    total = sum(asked(c) for c in pod_spec.get("containers") or [])
    start = max((asked(c) for c in pod_spec.get("initContainers") or []), default=0.0)
    return max(total, start) + quantity((pod_spec.get("overhead") or {}).get(resource, 0))


def limits_of(pod_spec: Json, resource: str) -> float:
    """The sum of the containers' limits; 0 for a container without one."""
    return sum(
        quantity(((c.get("resources") or {}).get("limits") or {}).get(resource, 0))
        for c in pod_spec.get("containers") or []
    )
