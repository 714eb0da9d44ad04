"""PodDisruptionBudgets: how many pods may be evicted now.

Source: kubernetes pkg/controller/disruption (v1.32).
"""

from __future__ import annotations

from collections.abc import Iterable

from opslib.sandbox.client import DEPLOYMENTS, PDBS, PODS, REPLICASETS, STATEFULSETS, Manifest
from opslib.sandbox.controllers.objects import (
    int_or_percent,
    is_ready,
    is_terminating,
    matches,
    phase,
    with_condition,
)
from opslib.sandbox.controllers.rollout import wanted
from opslib.sandbox.controllers.runtime import Context, Controller, owner_of


class DisruptionController(Controller):
    name = "disruption-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.budgets = self.watch(PDBS)
        self.pods = self.watch(PODS, self._budgets_of)
        self.sets = self.watch(REPLICASETS, self._scaled)
        self.deployments = self.watch(DEPLOYMENTS, self._scaled)
        self.stateful = self.watch(STATEFULSETS, self._scaled)

    def _budgets_of(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        found = set()
        for pod in (old, new):
            if pod is None:
                continue
            for budget in self.budgets.all(pod["metadata"]["namespace"]):
                if matches(budget["spec"].get("selector"), pod["metadata"].get("labels")):
                    found.add(f"{pod['metadata']['namespace']}/{budget['metadata']['name']}")
        return found

    def _scaled(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        if new is None or (old is not None and wanted(old) == wanted(new)):
            return []
        labels = (new["spec"].get("template") or {}).get("metadata", {}).get("labels")
        namespace = new["metadata"]["namespace"]
        return [
            f"{namespace}/{budget['metadata']['name']}"
            for budget in self.budgets.all(namespace)
            if matches(budget["spec"].get("selector"), labels)
        ]

    async def reconcile(self, key: str) -> float | None:
        budget = self.budgets.get(key)
        if budget is None or is_terminating(budget):
            return None
        namespace = budget["metadata"]["namespace"]
        pods = [
            pod
            for pod in self.pods.all(namespace)
            if matches(budget["spec"].get("selector"), pod["metadata"].get("labels"))
            and phase(pod) not in {"Succeeded", "Failed"}
        ]
        expected, desired = self._expected(budget, pods)
        disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
        healthy = sum(
            1
            for pod in pods
            if is_ready(pod) and not is_terminating(pod) and pod["metadata"]["name"] not in disrupted
        )
        allowed = max(0, healthy - desired) if expected > 0 else 0
        enough = allowed > 0
        entry = {
            "type": "DisruptionAllowed",
            "status": "True" if enough else "False",
            "reason": "SufficientPods" if enough else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        before = budget.get("status") or {}
        status: Manifest = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": budget["metadata"].get("generation", 1),
            "conditions": with_condition(before.get("conditions") or [], entry, self.clock.now()),
        }
        still = {
            name: at
            for name, at in disrupted.items()
            if any(pod["metadata"]["name"] == name and not is_terminating(pod) for pod in pods)
        }
        if still:
            status["disruptedPods"] = still
        if status != before:
            written = await self.client.update_status(PDBS, {**budget, "status": status})
            self.budgets.observe(written)
        # an eviction that never became a deletion counts again after two minutes
        return 120.0 if still else None

    def _expected(self, budget: Manifest, pods: list[Manifest]) -> tuple[int, int]:
        """(expectedPods, desiredHealthy)."""
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            expected = self._scale_of(pods)
            return expected, max(0, expected - int_or_percent(spec["maxUnavailable"], expected, True))
        least = spec.get("minAvailable", 1)
        if isinstance(least, str) and least.endswith("%"):
            expected = self._scale_of(pods)
            return expected, int_or_percent(least, expected, True)
        return len(pods), int(least)

    def _scale_of(self, pods: list[Manifest]) -> int:
        """spec.replicas of all the controllers behind the pods, each counted once."""
        counted: dict[str, int] = {}
        for pod in pods:
            owner, namespace = owner_of(pod), pod["metadata"]["namespace"]
            if owner is None:
                continue
            found = {"ReplicaSet": self.sets, "StatefulSet": self.stateful}.get(owner["kind"])
            obj = found.get(f"{namespace}/{owner['name']}") if found is not None else None
            above = owner_of(obj) if obj is not None else None
            if above is not None and above["kind"] == "Deployment":
                obj = self.deployments.get(f"{namespace}/{above['name']}") or obj
            if obj is not None:
                counted[obj["metadata"]["uid"]] = wanted(obj)
        return sum(counted.values())
