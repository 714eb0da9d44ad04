"""Namespaces and the 24 nodes of the production cluster (PLATFORM.md 6: three pools, three zones)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from opslib.sandbox.inventory.build import Manifest, obj, stamp

CLUSTER = "pss-nano-gke-prod"
KUBELET_VERSION = "v1.32.4-gke.1415000"
# name -> whether it carries the label `name`: only pss-nano does (PLATFORM.md 1.10)
NAMESPACES = (
    "default",
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "pss-nano",
    "monitoring",
    "istio-system",
    "ingress-nginx",
    "cert-manager",
    "argocd",
    "velero",
)


@dataclass(frozen=True)
class Pool:
    """One node pool: `per_zone` nodes in each of the zones a, b, c."""

    name: str
    workload: str
    machine: str
    per_zone: int
    memory: str
    allocatable: str
    tainted: bool


POOLS = (
    Pool("api-pool", "api", "n2-standard-4", 3, "16374Mi", "13310Mi", tainted=False),
    Pool("worker-pool", "worker", "n2-standard-4", 2, "16374Mi", "13310Mi", tainted=True),
    Pool("cache-pool", "cache", "n2-highmem-4", 3, "32880Mi", "28918Mi", tainted=True),
)


def namespaces(now: dt.datetime) -> list[Manifest]:
    found = []
    for name in NAMESPACES:
        labels = {"kubernetes.io/metadata.name": name}
        if name == "pss-nano":
            labels |= {"name": name, "environment": "production"}
        namespace = obj(
            "v1",
            "Namespace",
            name,
            namespace=None,
            created=now - dt.timedelta(hours=3000),
            labels=labels,
            spec={"finalizers": ["kubernetes"]},
            status={"phase": "Active"},
        )
        found.append(namespace)
    return found


def node_names(workload: str = "") -> list[str]:
    """The names of the nodes, all or of one pool's workload (api, worker, cache)."""
    names = []
    for pool in POOLS:
        if workload in ("", pool.workload):
            for zone in "abc":
                names += [_name(pool, zone, index) for index in range(pool.per_zone)]
    return names


def _name(pool: Pool, zone: str, index: int) -> str:
    # GKE: gke-CLUSTER-POOL-HASH-SUFFIX, one instance group (hash) a zone
    group = {"a": "5c1f7b2d", "b": "8d40e6a9", "c": "e37a91c4"}[zone]
    return f"gke-{CLUSTER}-{pool.name}-{group}-{['k4zt', 'p9wm', 'x2vd'][index]}"


def nodes(now: dt.datetime, kubelet_port: int = 10250) -> list[Manifest]:
    """The nodes, Ready; all are served by one kubelet on loopback."""
    found, number = [], 0
    for pool in POOLS:
        for zone in "abc":
            for index in range(pool.per_zone):
                number += 1
                found.append(_node(pool, zone, _name(pool, zone, index), number, now, kubelet_port))
    return found


def _node(pool: Pool, zone: str, name: str, number: int, now: dt.datetime, kubelet_port: int) -> Manifest:
    born = now - dt.timedelta(hours=960 - number * 3)
    spec: Manifest = {
        "podCIDR": f"10.4.{number}.0/24",
        "podCIDRs": [f"10.4.{number}.0/24"],
        "providerID": f"gce://pss-nano-project/us-central1-{zone}/{name}",
    }
    if pool.tainted:
        spec["taints"] = [{"key": "workload", "value": pool.workload, "effect": "NoSchedule"}]
    size = {"cpu": "4", "memory": pool.memory, "ephemeral-storage": "98831908Ki", "pods": "110"}
    usable = {"cpu": "3920m", "memory": pool.allocatable, "ephemeral-storage": "47060071478", "pods": "110"}
    conditions = [
        _condition(
            "MemoryPressure", "False", "KubeletHasSufficientMemory", "sufficient memory available", now, born
        ),
        _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "no disk pressure", now, born),
        _condition("PIDPressure", "False", "KubeletHasSufficientPID", "sufficient PID available", now, born),
    ]
    ready = _condition("Ready", "True", "KubeletReady", "", now, born)
    ready["message"] = "kubelet is posting ready status"
    return obj(
        "v1",
        "Node",
        name,
        namespace=None,
        created=born,
        labels={
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": pool.machine,
            "topology.kubernetes.io/region": "us-central1",
            "topology.kubernetes.io/zone": f"us-central1-{zone}",
            "cloud.google.com/gke-nodepool": pool.name,
            "workload": pool.workload,
        },
        spec=spec,
        status={
            "capacity": size,
            "allocatable": usable,
            "conditions": [*conditions, ready],
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
            "nodeInfo": {
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": KUBELET_VERSION,
                "containerRuntimeVersion": "containerd://1.7.27",
                "osImage": "Container-Optimized OS from Google",
                "kernelVersion": "6.6.72+",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": f"{number:032x}",
                "systemUUID": f"{number:08x}-0000-4000-8000-000000000000",
                "bootID": f"{number:08x}-0000-4000-8000-000000000001",
            },
        },
    )


def _condition(
    kind: str, status: str, reason: str, message: str, now: dt.datetime, born: dt.datetime
) -> Manifest:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": f"kubelet has {message}" if message else "",
        "lastHeartbeatTime": stamp(now),
        "lastTransitionTime": stamp(born),
    }
