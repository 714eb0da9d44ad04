"""ReplicaSets: as many pods as wanted.

Source: kubernetes pkg/controller/replicaset (v1.32).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from opslib.sandbox.client import PODS, REPLICASETS, ApiError, Manifest
from opslib.sandbox.controllers.objects import (
    available_in,
    condition,
    is_active,
    is_ready,
    is_terminating,
    matches,
    with_condition,
    without_condition,
)
from opslib.sandbox.controllers.podcontrol import PodControl, victims
from opslib.sandbox.controllers.rollout import wanted
from opslib.sandbox.controllers.runtime import Context, Controller, owner_keys, owner_of

BURST = 500  # replicaset.BurstReplicas


class ReplicaSetController(Controller):
    name = "replicaset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sets = self.watch(REPLICASETS)
        self.pods = self.watch(PODS, self._owners_of_pod)
        self.control = PodControl(self.client, self.pods, context.recorder.named(self.name))

    def _owners_of_pod(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        found = set(owner_keys("ReplicaSet")(old, new))
        if new is not None and owner_of(new) is None:
            for rs in self.sets.all(new["metadata"]["namespace"]):
                if matches(rs["spec"].get("selector"), new["metadata"].get("labels")):
                    found.add(f"{new['metadata']['namespace']}/{rs['metadata']['name']}")
        return found

    async def reconcile(self, key: str) -> float | None:
        rs = self.sets.get(key)
        if rs is None:
            return None
        mine = await self.control.claim(rs, rs["spec"].get("selector"))
        active = [pod for pod in mine if is_active(pod)]
        failure: ApiError | None = None
        if not is_terminating(rs):
            try:
                await self._manage(rs, active)
            except ApiError as error:
                failure = error
            uid = rs["metadata"]["uid"]
            active = [
                pod
                for pod in self.pods.all(rs["metadata"]["namespace"])
                if is_active(pod) and (owner_of(pod) or {}).get("uid") == uid
            ]
        again = await self._sync_status(self.sets.get(key) or rs, active, failure)
        if failure is not None:
            raise failure
        return again

    async def _manage(self, rs: Manifest, active: list[Manifest]) -> None:
        missing = wanted(rs) - len(active)
        if missing > 0:
            await self._create(rs, min(missing, BURST))
        elif missing < 0:
            uids = {pod["metadata"]["uid"] for pod in active}
            related = active + [
                pod for pod in self._siblings(rs) if pod["metadata"]["uid"] not in uids and is_active(pod)
            ]
            count = min(-missing, BURST)
            for pod in victims(active, count, related, self.clock.now()):
                await self.control.delete(rs, pod)

    async def _create(self, rs: Manifest, missing: int) -> None:
        # slowStartBatch: 1, 2, 4 ... so that a refusal costs one request, not all
        batch, left = 1, missing
        while left > 0:
            size = min(batch, left)
            results = await asyncio.gather(
                *(self.control.create(rs, rs["spec"]["template"]) for _ in range(size)),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            left -= size
            batch *= 2

    def _siblings(self, rs: Manifest) -> list[Manifest]:
        """Pods of the ReplicaSets of the same Deployment (getIndirectlyRelatedPods)."""
        owner = owner_of(rs)
        namespace = rs["metadata"]["namespace"]
        if owner is None:
            return []
        uids = {
            other["metadata"]["uid"]
            for other in self.sets.all(namespace)
            if (owner_of(other) or {}).get("uid") == owner["uid"]
        }
        return [pod for pod in self.pods.all(namespace) if (owner_of(pod) or {}).get("uid") in uids]

    async def _sync_status(
        self, rs: Manifest, active: list[Manifest], failure: ApiError | None
    ) -> float | None:
        min_ready = int(rs["spec"].get("minReadySeconds") or 0)
        labels = rs["spec"]["template"].get("metadata", {}).get("labels") or {}
        ready = [pod for pod in active if is_ready(pod)]
        waits = [available_in(pod, min_ready, self.clock) for pod in ready]
        available = sum(1 for wait in waits if wait is not None and wait <= 0)
        labelled = sum(1 for pod in active if labels.items() <= (pod["metadata"].get("labels") or {}).items())
        before = rs.get("status") or {}
        conditions = list(before.get("conditions") or [])
        if failure is not None and condition(rs, "ReplicaFailure") is None:
            reason = "FailedCreate" if wanted(rs) > len(active) else "FailedDelete"
            entry = {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": reason,
                "message": failure.message,
            }
            conditions = with_condition(conditions, entry, self.clock.now())
        elif failure is None:
            conditions = without_condition(conditions, "ReplicaFailure")
        status: Manifest = {
            "replicas": len(active),
            "observedGeneration": rs["metadata"].get("generation", 1),
        }
        counts = {
            "fullyLabeledReplicas": labelled,
            "readyReplicas": len(ready),
            "availableReplicas": available,
        }
        status |= {name: value for name, value in counts.items() if value}
        if conditions:
            status["conditions"] = conditions
        if status != before and not (is_terminating(rs) and not before):
            written = await self.client.update_status(REPLICASETS, {**rs, "status": status})
            self.sets.observe(written)
        later = [wait for wait in waits if wait]
        return min(later) if later else None
