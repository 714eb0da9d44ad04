"""kube-state-metrics and cAdvisor series, with the labels that kube-prometheus-stack gives them.

Source: kube-state-metrics 2.10 docs (deployment, replicaset, pod, horizontalpodautoscaler, resourcequota
metrics) and cAdvisor's container_memory_working_set_bytes and container_cpu_usage_seconds_total.
"""

from __future__ import annotations

import datetime as dt
import time

from opslib.sandbox.client import DEPLOYMENTS, HPAS, NODES, PODS, REPLICASETS, STATEFULSETS, Resource
from opslib.sandbox.informer import Informers
from opslib.sandbox.inventory.names import BY_NAME
from opslib.sandbox.workloads.metrics import labels, sample
from opslib.sandbox.workloads.protocol import Manifest, Runtime

RESOURCEQUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
UNITS = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
WAITING = (
    "ContainerCreating",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "ErrImagePull",
    "ImagePullBackOff",
)


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number: 500m is 0.5, 1Gi is 1073741824."""
    words = str(text)
    for suffix in sorted(UNITS, key=len, reverse=True):
        if words.endswith(suffix):
            return float(words.removesuffix(suffix)) * UNITS[suffix]
    return float(words)


def unix(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


class Gauges:
    """Collects samples by metric name, so that each name is written together as the format demands."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, value: float, **pairs: str) -> None:
        self._found.setdefault(name, []).append(sample(name, labels(**pairs), value))

    def lines(self) -> list[str]:
        out = []
        for name, samples in self._found.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            out.append(f"# TYPE {name} {kind}")
            out += samples
        return out


class KubeState:
    """Reads the informers' caches at every scrape."""

    def __init__(self, informers: Informers) -> None:
        self._of = informers.of
        for resource in (DEPLOYMENTS, REPLICASETS, STATEFULSETS, PODS, HPAS, NODES, RESOURCEQUOTAS):
            informers.of(resource)
        self._runtime: Runtime | None = None
        self._cpu: dict[tuple[str, str], tuple[float, float]] = {}  # seconds used, when last added to

    def attach(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def lines(self) -> list[str]:
        g = Gauges()
        for one in self._of(DEPLOYMENTS):
            _deployment(g, one)
        for one in self._of(REPLICASETS):
            pairs = {
                "namespace": one["metadata"]["namespace"],
                "replicaset": one["metadata"]["name"],
            }
            g.add("kube_replicaset_created", unix(one["metadata"]["creationTimestamp"]), **pairs)
            g.add("kube_replicaset_spec_replicas", float(one["spec"].get("replicas", 1)), **pairs)
            for ref in one["metadata"].get("ownerReferences") or []:
                g.add("kube_replicaset_owner", 1.0, owner_kind=ref["kind"], owner_name=ref["name"], **pairs)
        for one in self._of(STATEFULSETS):
            pairs = {
                "namespace": one["metadata"]["namespace"],
                "statefulset": one["metadata"]["name"],
            }
            g.add("kube_statefulset_replicas", float(one["spec"].get("replicas", 1)), **pairs)
            ready = float((one.get("status") or {}).get("readyReplicas") or 0)
            g.add("kube_statefulset_status_replicas_ready", ready, **pairs)
        for one in self._of(HPAS):
            _hpa(g, one)
        for one in self._of(RESOURCEQUOTAS):
            _quota(g, one)
        for one in self._of(NODES):
            _node(g, one)
        for one in self._of(PODS):
            self._pod(g, one)
        return g.lines()

    def _pod(self, g: Gauges, pod: Manifest) -> None:
        meta, status = pod["metadata"], pod.get("status") or {}
        pairs = {"namespace": meta["namespace"], "pod": meta["name"]}
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        g.add("kube_pod_status_ready", float(ready), condition="true", **pairs)
        phase = status.get("phase", "Pending")
        for name in ("Pending", "Running", "Succeeded", "Failed"):
            g.add("kube_pod_status_phase", float(phase == name), phase=name, **pairs)
        for one in status.get("containerStatuses") or []:
            own = {**pairs, "container": one["name"]}
            restarts = float(one.get("restartCount") or 0)
            g.add("kube_pod_container_status_restarts_total", restarts, **own)
            reason = ((one.get("state") or {}).get("waiting") or {}).get("reason")
            if reason in WAITING:
                g.add("kube_pod_container_status_waiting_reason", 1.0, reason=reason, **own)
            last = ((one.get("lastState") or {}).get("terminated") or {}).get("reason")
            if last:
                g.add("kube_pod_container_status_last_terminated_reason", 1.0, reason=last, **own)
        for spec in pod["spec"].get("containers") or []:
            self._container(g, pod, spec, pairs)

    def _container(self, g: Gauges, pod: Manifest, spec: Manifest, pairs: dict[str, str]) -> None:
        own, name = {**pairs, "container": spec["name"]}, spec["name"]
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit:
            g.add(
                "kube_pod_container_resource_limits", quantity(limit), resource="memory", unit="byte", **own
            )
        running = self._runtime.container(pod["metadata"]["uid"], name) if self._runtime else None
        if name in BY_NAME:
            address = (pod.get("status") or {}).get("podIP", "0.0.0.0")  # noqa: S104 - a label, not a socket
            # what the annotation-based scrape job of the platform would record
            g.add("up", float(running is not None), job="kubernetes-pods", instance=f"{address}:3000")
        if running is None:
            return
        usage = running.usage()
        g.add("container_memory_working_set_bytes", float(usage.memory_bytes), image=spec["image"], **own)
        key, now = (pod["metadata"]["uid"], name), time.monotonic()
        used, before = self._cpu.get(key, (0.0, now))
        used += (now - before) * usage.cpu_millicores / 1000
        self._cpu[key] = (used, now)
        g.add("container_cpu_usage_seconds_total", round(used, 3), image=spec["image"], **own)
        while len(self._cpu) > 1000:
            self._cpu.pop(next(iter(self._cpu)))


def _deployment(g: Gauges, one: Manifest) -> None:
    meta, status = one["metadata"], one.get("status") or {}
    pairs = {"namespace": meta["namespace"], "deployment": meta["name"]}
    g.add("kube_deployment_created", unix(meta["creationTimestamp"]), **pairs)
    g.add("kube_deployment_metadata_generation", float(meta.get("generation") or 1), **pairs)
    g.add("kube_deployment_spec_replicas", float(one["spec"].get("replicas", 1)), **pairs)
    for metric, field in (
        ("replicas", "replicas"),
        ("replicas_available", "availableReplicas"),
        ("replicas_unavailable", "unavailableReplicas"),
        ("replicas_updated", "updatedReplicas"),
        ("observed_generation", "observedGeneration"),
    ):
        g.add(f"kube_deployment_status_{metric}", float(status.get(field) or 0), **pairs)
    for condition in status.get("conditions") or []:
        for value in ("true", "false", "unknown"):
            g.add(
                "kube_deployment_status_condition",
                float(condition["status"].lower() == value),
                condition=condition["type"],
                status=value,
                **pairs,
            )


def _hpa(g: Gauges, one: Manifest) -> None:
    meta, spec, status = one["metadata"], one["spec"], one.get("status") or {}
    pairs = {"namespace": meta["namespace"], "horizontalpodautoscaler": meta["name"]}
    prefix = "kube_horizontalpodautoscaler"
    g.add(f"{prefix}_spec_min_replicas", float(spec.get("minReplicas") or 1), **pairs)
    g.add(f"{prefix}_spec_max_replicas", float(spec["maxReplicas"]), **pairs)
    g.add(f"{prefix}_status_current_replicas", float(status.get("currentReplicas") or 0), **pairs)
    g.add(f"{prefix}_status_desired_replicas", float(status.get("desiredReplicas") or 0), **pairs)


def _quota(g: Gauges, one: Manifest) -> None:
    meta, status = one["metadata"], one.get("status") or {}
    for kind in ("hard", "used"):
        for resource, value in (status.get(kind) or {}).items():
            g.add(
                "kube_resourcequota",
                quantity(value),
                namespace=meta["namespace"],
                resourcequota=meta["name"],
                resource=resource,
                type=kind,
            )


def _node(g: Gauges, one: Manifest) -> None:
    name = one["metadata"]["name"]
    g.add("kube_node_spec_unschedulable", float(bool(one["spec"].get("unschedulable"))), node=name)
    for condition in (one.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready":
            g.add(
                "kube_node_status_condition",
                float(condition["status"] == "True"),
                node=name,
                condition="Ready",
                status="true",
            )
