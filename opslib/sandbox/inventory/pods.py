"""The pods that already run when a sandbox comes up: as old as their ReplicaSet, taken over by the kubelet.

Without them every pod would look as if it had been restarted a minute ago, all services at the same time.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

from opslib.sandbox.inventory.build import Manifest, obj, owner, safe_hash, stamp
from opslib.sandbox.inventory.names import NAMESPACE
from opslib.sandbox.inventory.nodes import node_names

# what the LimitRange gives a container that asks for nothing
DEFAULTS = {
    "limits": {"cpu": "500m", "memory": "512Mi"},
    "requests": {"cpu": "250m", "memory": "256Mi"},
}


class Placement:
    """Gives each pod the next api node and the next address of that node."""

    def __init__(self) -> None:
        self._nodes = node_names("api")
        self._next = 0
        self._addresses: dict[str, int] = {}

    def take(self) -> tuple[str, str]:
        node = self._nodes[self._next % len(self._nodes)]
        self._next += 1
        number = self._addresses.get(node, 1) + 1
        self._addresses[node] = number
        return node, f"10.4.{self._nodes.index(node) + 1}.{number}"


def running(replicasets: list[Manifest]) -> Iterator[Manifest]:
    """One Running, Ready pod for each replica of these ReplicaSets. Pods of one ReplicaSet are on different nodes."""
    placement = Placement()
    for rs in replicasets:
        born = dt.datetime.fromisoformat(rs["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        for index in range(rs["spec"]["replicas"]):
            yield _pod(rs, index, born + dt.timedelta(seconds=1 + 24 * index), *placement.take())


def _pod(rs: Manifest, index: int, born: dt.datetime, node: str, address: str) -> Manifest:
    meta, template = rs["metadata"], rs["spec"]["template"]
    name = f"{meta['name']}-{safe_hash([meta['uid'], index], 5)}"
    spec: dict[str, Any] = {**copy.deepcopy(template["spec"]), "nodeName": node}
    if meta["namespace"] == NAMESPACE:
        for container in spec["containers"]:
            container.setdefault("resources", copy.deepcopy(DEFAULTS))
    pod = obj(
        "v1",
        "Pod",
        name,
        namespace=meta["namespace"],
        created=born,
        labels=template["metadata"].get("labels"),
        annotations=template["metadata"].get("annotations"),
        spec=spec,
    )
    pod["metadata"]["generateName"] = f"{meta['name']}-"
    pod["metadata"]["ownerReferences"] = [owner(rs)]
    started, ready = born + dt.timedelta(seconds=3), born + dt.timedelta(seconds=15)
    pod["status"] = {
        "phase": "Running",
        "qosClass": "Burstable",
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": stamp(born),
        "conditions": [
            {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": stamp(when)}
            for kind, when in (
                ("PodReadyToStartContainers", started),
                ("Initialized", born),
                ("Ready", ready),
                ("ContainersReady", ready),
                ("PodScheduled", born),
            )
        ],
        "containerStatuses": [_container(c, pod["metadata"]["uid"], started) for c in spec["containers"]],
    }
    return pod


def _container(spec: Manifest, pod_uid: str, started: dt.datetime) -> Manifest:
    from opslib.sandbox.workloads import catalogue

    identity = hashlib.sha256(f"{pod_uid}/{spec['name']}".encode()).hexdigest()
    repository = catalogue.normalise(spec["image"]).partition("@")[0].rpartition(":")[0]
    return {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": f"{repository}@{catalogue.digest(spec['image'])}",
        "containerID": f"containerd://{identity}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "lastState": {},
        "state": {"running": {"startedAt": stamp(started)}},
    }
