"""The scheduler: binds pending pods to nodes, or says why it cannot.

Source: kubernetes pkg/scheduler (v1.32); back-off 1 s to 10 s, and another look when nodes or pods change.
"""

from __future__ import annotations

from collections.abc import Iterable

from opslib.sandbox.client import NODES, PODS, ApiError, Manifest
from opslib.sandbox.controllers.objects import condition, is_terminating, with_condition
from opslib.sandbox.controllers.runtime import Context, Controller
from opslib.sandbox.controllers.scheduling import Cluster
from opslib.sandbox.informer import key_of

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 10.0  # platform seconds
FLUSH = 300.0  # unschedulable pods are looked at again at least this often


class Scheduler(Controller):
    name = "default-scheduler"
    workers = 1  # one pod at a time: each decision sees the one before

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self._stuck: dict[str, int] = {}  # unschedulable pods -> tries
        self._assumed: dict[str, str] = {}  # uid -> node, until the cache shows it
        self.pods = self.watch(PODS, self._pod_changed)
        self.nodes = self.watch(NODES, self._node_changed)

    def _pod_changed(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        if new is None:
            if old is not None:
                self._stuck.pop(key_of(old), None)
                self._assumed.pop(old["metadata"]["uid"], None)
                if old["spec"].get("nodeName"):
                    self._retry_stuck()  # room was made
            return []
        if new["spec"].get("nodeName"):
            self._assumed.pop(new["metadata"]["uid"], None)
            finished = (new.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
            was = old is not None and (old.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
            if finished and not was:
                self._retry_stuck()
            return []
        if (
            old is None
            or old["spec"] != new["spec"]
            or old["metadata"].get("labels") != new["metadata"].get("labels")
        ):
            return [key_of(new)]
        return []

    def _node_changed(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        def facts(node: Manifest | None) -> tuple[object, ...]:
            if node is None:
                return ()
            return (
                node["spec"],
                node["metadata"].get("labels"),
                (node.get("status") or {}).get("allocatable"),
            )

        if facts(old) != facts(new):
            self._retry_stuck()
        return []

    def _retry_stuck(self) -> None:
        for key, tries in self._stuck.items():
            pause = min(FIRST_BACKOFF * 2.0 ** min(tries - 1, 10), LAST_BACKOFF)
            self.queue.add_after(key, max(0.05, self.clock.scaled(pause)))

    async def reconcile(self, key: str) -> float | None:
        pod = self.pods.get(key)
        if pod is None or pod["spec"].get("nodeName") or is_terminating(pod):
            self._stuck.pop(key, None)
            return None
        if pod["spec"].get("schedulerName", self.name) != self.name or pod["spec"].get("schedulingGates"):
            return None
        if pod["metadata"]["uid"] in self._assumed:
            return None
        cluster = Cluster(list(self.nodes), list(self.pods), self._assumed)
        node, why = cluster.place(pod)
        if node is None:
            return await self._unschedulable(key, pod, why)
        await self._bind(pod, node)
        self._stuck.pop(key, None)
        return None

    async def _bind(self, pod: Manifest, node: str) -> None:
        meta = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._assumed[meta["uid"]] = node
        try:
            await self.client.request("POST", PODS.path(meta["namespace"], meta["name"], "binding"), body)
        except ApiError as error:
            self._assumed.pop(meta["uid"], None)
            if error.code in {404, 409}:
                return
            raise
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        self.recorder.event(pod, "Normal", "Scheduled", text)

    async def _unschedulable(self, key: str, pod: Manifest, why: str) -> float:
        tries = self._stuck.get(key, 0) + 1
        self._stuck[key] = tries
        self.recorder.event(pod, "Warning", "FailedScheduling", why)
        before = condition(pod, "PodScheduled")
        if before is None or before.get("status") != "False" or before.get("message") != why:
            entry = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
            old = (pod.get("status") or {}).get("conditions") or []
            conditions = with_condition(old, entry, self.clock.now())
            meta = pod["metadata"]
            status = {"phase": "Pending", "conditions": conditions}
            body = {"metadata": {"uid": meta["uid"]}, "status": status}
            written = await self.client.patch(
                PODS, meta["namespace"], meta["name"], body, subresource="status"
            )
            self.pods.observe(written)
        return FLUSH
