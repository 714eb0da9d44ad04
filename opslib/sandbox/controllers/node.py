"""Nodes: heartbeats, cordon and unreachable taints, eviction, pods of nodes that are gone.

Sources: kubernetes pkg/controller/nodelifecycle, pkg/controller/tainteviction, pkg/controller/podgc, and the kubelet's
node status (v1.32).

The annotation `sandbox.opslib/kubelet: stopped` on a Node is its machine's power switch: its kubelet falls silent, and
after the grace period this controller draws the consequences, as it would for a missing heartbeat.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable

from opslib.sandbox.client import LEASES, NODES, PODS, ApiError, Manifest
from opslib.sandbox.clock import micro_stamp, parse_stamp, stamp
from opslib.sandbox.controllers.objects import condition, is_terminating, with_condition
from opslib.sandbox.controllers.runtime import Context, Controller
from opslib.sandbox.controllers.scheduling import UNSCHEDULABLE_TAINT, tolerates

AWAY = "sandbox.opslib/kubelet"
GRACE = 40.0  # platform seconds without a heartbeat; --node-monitor-grace-period
RENEW = 60.0  # real seconds between lease renewals: a heartbeat a second a node would drown the audit log
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
LEASE_SPACE = "kube-node-lease"
CONDITIONS = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    "Ready": ("KubeletReady", "kubelet is posting ready status"),
}


def is_away(node: Manifest) -> bool:
    return (node["metadata"].get("annotations") or {}).get(AWAY) == "stopped"


class NodeController(Controller):
    """The node's own reports and the node lifecycle controller."""

    name = "node-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.nodes = self.watch(NODES)
        self.pods = self.watch(PODS, lambda _old, _new: [])
        self._silent: dict[str, float] = {}  # node -> platform time since which it is silent
        self._renewed: dict[str, float] = {}

    def forget(self) -> None:
        super().forget()
        self._silent.clear()
        self._renewed.clear()

    async def reconcile(self, key: str) -> float | None:
        node = self.nodes.get(key)
        if node is None:
            self._silent.pop(key, None)
            self._renewed.pop(key, None)
            return None
        now = asyncio.get_running_loop().time() * self.clock.speed
        if is_away(node):
            since = self._silent.setdefault(key, now)
            left = since + GRACE - now
            if left > 0:
                return left
            await self._lost(node)
            await self._taint(self.nodes.get(key) or node)
            return None
        self._silent.pop(key, None)
        await self._report(node)
        await self._taint(self.nodes.get(key) or node)
        await self._renew(key)
        return RENEW * self.clock.speed

    # the kubelet's side ---------------------------------------------------------------------------------

    async def _report(self, node: Manifest) -> None:
        status = node.get("status") or {}
        conditions = list(status.get("conditions") or [])
        now = self.clock.now()
        for kind, (reason, message) in CONDITIONS.items():
            entry = {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "reason": reason,
                "message": message,
            }
            known = condition(node, kind)
            if known is None or known.get("status") != entry["status"]:
                conditions = with_condition(conditions, {**entry, "lastHeartbeatTime": stamp(now)}, now)
        if conditions == (status.get("conditions") or []):
            return
        ready = condition(node, "Ready")
        if ready is not None and ready.get("status") != "True":
            name = node["metadata"]["name"]
            self.recorder.event(node, "Normal", "NodeReady", f"Node {name} status is now: NodeReady")
        await self._patch(node, {"status": {"conditions": conditions}}, "status")

    async def _renew(self, name: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed.get(name, -RENEW) < RENEW * 0.9:
            return
        self._renewed[name] = now
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": micro_stamp(self.clock.now()),
        }
        try:
            await self.client.patch(LEASES, LEASE_SPACE, name, {"spec": spec})
        except ApiError as error:
            if error.code != 404:
                raise
            body = {"metadata": {"name": name, "namespace": LEASE_SPACE}, "spec": spec}
            await self.client.create(LEASES, body)

    # the control plane's side ---------------------------------------------------------------------------

    async def _lost(self, node: Manifest) -> None:
        """A node that fell silent: its state is unknown, its pods are not ready."""
        ready = condition(node, "Ready")
        name = node["metadata"]["name"]
        if ready is not None and ready.get("status") == "Unknown":
            return
        conditions = list((node.get("status") or {}).get("conditions") or [])
        for kind in CONDITIONS:
            entry = {
                "type": kind,
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            }
            heartbeat = (condition(node, kind) or {}).get("lastHeartbeatTime")
            if heartbeat:
                entry["lastHeartbeatTime"] = heartbeat
            conditions = with_condition(conditions, entry, self.clock.now())
        await self._patch(node, {"status": {"conditions": conditions}}, "status")
        self.recorder.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self.pods.all():
            if pod["spec"].get("nodeName") != name:
                continue
            entry = {"type": "Ready", "status": "False"}
            old = (pod.get("status") or {}).get("conditions") or []
            body = {"status": {"conditions": with_condition(old, entry, self.clock.now())}}
            meta = pod["metadata"]
            try:
                written = await self.client.patch(
                    PODS, meta["namespace"], meta["name"], body, subresource="status"
                )
            except ApiError as error:
                if error.code != 404:
                    raise
                continue
            self.pods.observe(written)
            self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _taint(self, node: Manifest) -> None:
        """Taints that follow from the conditions and from a cordon."""
        ready = (condition(node, "Ready") or {}).get("status", "Unknown")
        due: dict[tuple[str, str], bool] = {
            (UNSCHEDULABLE_TAINT, "NoSchedule"): bool(node["spec"].get("unschedulable")),
            (UNREACHABLE, "NoSchedule"): ready == "Unknown",
            (UNREACHABLE, "NoExecute"): ready == "Unknown",
            (NOT_READY, "NoSchedule"): ready == "False",
            (NOT_READY, "NoExecute"): ready == "False",
        }
        taints = list(node["spec"].get("taints") or [])
        have = {(t["key"], t.get("effect", "")) for t in taints}
        wanted = [t for t in taints if due.get((t["key"], t.get("effect", "")), True)]
        for (key, effect), on in due.items():
            if on and (key, effect) not in have:
                wanted.append({"key": key, "effect": effect, "timeAdded": stamp(self.clock.now())})
        if wanted == taints:
            return
        body = {
            "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"taints": wanted or None},
        }
        await self._patch(node, body)

    async def _patch(self, node: Manifest, body: Manifest, subresource: str | None = None) -> None:
        name = node["metadata"]["name"]
        written = await self.client.patch(NODES, None, name, body, "merge", subresource)
        self.nodes.observe(written)


class TaintEvictionController(Controller):
    """Deletes pods that do not tolerate a NoExecute taint of their node, and pods whose node is gone."""

    name = "taint-eviction-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.nodes = self.watch(NODES, self._pods_of_node)
        self.pods = self.watch(PODS, self._assigned)
        self._orphaned: dict[str, float] = {}

    def _assigned(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        if new is None or not new["spec"].get("nodeName"):
            return []
        if old is not None and old["spec"].get("nodeName") and old["spec"] == new["spec"]:
            return []
        return [f"{new['metadata']['namespace']}/{new['metadata']['name']}"]

    def _pods_of_node(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        before = ((old or {}).get("spec") or {}).get("taints")
        after = ((new or {}).get("spec") or {}).get("taints")
        if old is not None and new is not None and before == after:
            return []
        name = (new or old or {})["metadata"]["name"]
        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in self.pods.all()
            if pod["spec"].get("nodeName") == name
        ]

    def forget(self) -> None:
        super().forget()
        self._orphaned.clear()

    async def reconcile(self, key: str) -> float | None:
        pod = self.pods.get(key)
        if pod is None:
            self._orphaned.pop(key, None)
            return None
        node = self.nodes.get(str(pod["spec"].get("nodeName")))
        if node is None:
            return await self._orphan(key, pod)
        self._orphaned.pop(key, None)
        if is_terminating(pod):
            return None
        taints = [t for t in node["spec"].get("taints") or [] if t.get("effect") == "NoExecute"]
        waits = []
        for taint in taints:
            matching = [
                t
                for t in pod["spec"].get("tolerations") or []
                if tolerates({"spec": {"tolerations": [t]}}, taint)
            ]
            if not matching:
                waits.append(0.0)
                continue
            seconds = [
                float(t["tolerationSeconds"]) for t in matching if t.get("tolerationSeconds") is not None
            ]
            if seconds:
                since = self.clock.since(parse_stamp(taint["timeAdded"])) if taint.get("timeAdded") else 0.0
                waits.append(max(0.0, min(seconds) - since))
        if not waits:
            return None
        if min(waits) > 0:
            return min(waits)
        await self._evict(pod)
        return None

    async def _evict(self, pod: Manifest) -> None:
        meta = pod["metadata"]
        text = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
        self.recorder.event(pod, "Normal", "TaintManagerEviction", text)
        entry = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        old = copy.deepcopy((pod.get("status") or {}).get("conditions") or [])
        body = {"status": {"conditions": with_condition(old, entry, self.clock.now())}}
        try:
            await self.client.patch(PODS, meta["namespace"], meta["name"], body, subresource="status")
            await self.client.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    async def _orphan(self, key: str, pod: Manifest) -> float | None:
        """The node does not exist: after the quarantine the pod is removed (podgc)."""
        if not pod["spec"].get("nodeName"):
            return None
        now = asyncio.get_running_loop().time() * self.clock.speed
        left = self._orphaned.setdefault(key, now) + GRACE - now
        if left > 0:
            return left
        meta = pod["metadata"]
        try:
            await self.client.delete(PODS, meta["namespace"], meta["name"], grace=0, uid=meta["uid"])
        except ApiError as error:
            if error.code not in {404, 409}:
                raise
        return None
