"""HorizontalPodAutoscalers (autoscaling/v2) on resource metrics from metrics.k8s.io.

Source: kubernetes pkg/controller/podautoscaler (v1.32). Differences: the metrics of a namespace are read once for all
its autoscalers, and a status in which only the measured values moved is written every five real seconds.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable

from opslib.sandbox.client import (
    DEPLOYMENTS,
    HPAS,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    ApiError,
    Manifest,
    Resource,
    UnreachableError,
)
from opslib.sandbox.clock import stamp
from opslib.sandbox.controllers.objects import (
    is_ready,
    is_terminating,
    matches,
    millis,
    phase,
    with_condition,
)
from opslib.sandbox.controllers.rollout import current as status_count
from opslib.sandbox.controllers.rollout import wanted
from opslib.sandbox.controllers.runtime import Context, Controller
from opslib.sandbox.controllers.scaling import History, PodUsage, decide, propose

POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
PERIOD = 15.0  # platform seconds; --horizontal-pod-autoscaler-sync-period
LEAST_PERIOD = 1.0  # real seconds: faster would only burn processor time
VALUES_EVERY = 5.0  # real seconds between status writes in which only measured values moved
TARGETS = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFULSETS, "ReplicaSet": REPLICASETS}


class MetricsError(Exception):
    """A metric could not be computed; the text is the controller's."""


class HpaController(Controller):
    name = "horizontal-pod-autoscaler"
    workers = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.autoscalers = self.watch(HPAS, self._respecified)
        self.pods = self.watch(PODS, lambda _old, _new: [])
        self.targets = {kind: self.watch(r, lambda _o, _n: []) for kind, r in TARGETS.items()}
        self._history: dict[str, History] = {}
        self._metrics: dict[str, tuple[float, asyncio.Task[dict[str, Manifest]]]] = {}
        self._written: dict[str, float] = {}

    def _respecified(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        obj = new or old
        if obj is None:
            return []
        key = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        if old is None or new is None or old["spec"] != new["spec"]:
            return [key]
        return []

    def forget(self) -> None:
        super().forget()
        self._history.clear()
        self._written.clear()

    async def reconcile(self, key: str) -> float | None:
        found = self.autoscalers.get(key)
        if found is None or is_terminating(found):
            self._history.pop(key, None)
            self._written.pop(key, None)
            return None
        await self._sync(key, copy.deepcopy(found))
        return max(PERIOD, LEAST_PERIOD * self.clock.speed)

    async def _sync(self, key: str, hpa: Manifest) -> None:
        spec, now = hpa["spec"], asyncio.get_running_loop().time() * self.clock.speed
        reference = spec["scaleTargetRef"]
        before = hpa.get("status") or {}
        conditions = list(before.get("conditions") or [])
        informer = self.targets.get(reference["kind"])
        namespace = hpa["metadata"]["namespace"]
        target = informer.get(f"{namespace}/{reference['name']}") if informer is not None else None
        if target is None:
            text = f'{reference["kind"].lower()}s/scale.apps "{reference["name"]}" not found'
            conditions = self._set(
                conditions,
                "AbleToScale",
                False,
                "FailedGetScale",
                f"the HPA controller was unable to get the target's current scale: {text}",
            )
            self.recorder.event(hpa, "Warning", "FailedGetScale", text)
            await self._write(key, hpa, {**before, "conditions": conditions}, force=True)
            return
        text = "the HPA controller was able to get the target's current scale"
        if not any(c["type"] == "AbleToScale" and c["status"] == "True" for c in conditions):
            conditions = self._set(conditions, "AbleToScale", True, "SucceededGetScale", text)
        size = wanted(target)
        minimum, maximum = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
        status: Manifest = {
            "observedGeneration": hpa["metadata"].get("generation", 1),
            "currentReplicas": status_count(target),
            "desiredReplicas": size,
            "currentMetrics": before.get("currentMetrics") or [],
        }
        if before.get("lastScaleTime"):
            status["lastScaleTime"] = before["lastScaleTime"]
        reason, desired = "", size
        if size == 0 and minimum != 0:
            text = "scaling is disabled since the replica count of the target is zero"
            conditions = self._set(conditions, "ScalingActive", False, "ScalingDisabled", text)
            status["desiredReplicas"] = 0
        elif size > maximum:
            desired, reason = maximum, "Current number of replicas above Spec.MaxReplicas"
        elif size < minimum:
            desired, reason = minimum, "Current number of replicas below Spec.MinReplicas"
        else:
            history = self._history.setdefault(key, History())
            try:
                asked, cause, metrics, partly = await self._by_metrics(hpa, target, size)
            except MetricsError as error:
                self._failed_metrics(hpa, error)
                conditions = self._set(
                    conditions,
                    "ScalingActive",
                    False,
                    "FailedGetResourceMetric",
                    f"the HPA was unable to compute the replica count: {error}",
                )
                await self._write(key, hpa, {**status, "conditions": conditions}, force=True)
                return
            status["currentMetrics"] = metrics
            text = f"the HPA was able to successfully calculate a replica count from {cause}"
            conditions = self._set(conditions, "ScalingActive", True, "ValidMetricFound", text)
            if partly is not None:
                self._failed_metrics(hpa, partly)
                asked = max(asked, size)  # an unknown metric might want more: never shrink on half the facts
            decision = decide(size, asked, minimum, maximum, spec.get("behavior"), history, now)
            conditions = self._set(conditions, "AbleToScale", True, *decision.able)
            conditions = self._set(conditions, "ScalingLimited", *decision.limited)
            desired = decision.replicas
            reason = f"{cause} above target" if desired > size else "All metrics below target"
        if desired != size:
            await self._rescale(hpa, target, reference, desired, reason)
            status |= {"desiredReplicas": desired, "lastScaleTime": stamp(self.clock.now())}
            text = f"the HPA controller was able to update the target scale to {desired}"
            conditions = self._set(conditions, "AbleToScale", True, "SucceededRescale", text)
            history = self._history.setdefault(key, History())
            (history.ups if desired > size else history.downs).append((now, abs(desired - size)))
        await self._write(key, hpa, {**status, "conditions": conditions}, force=desired != size)

    def _set(
        self, conditions: list[Manifest], kind: str, status: bool, reason: str, message: str
    ) -> list[Manifest]:
        entry = {
            "type": kind,
            "status": "True" if status else "False",
            "reason": reason,
            "message": message,
        }
        return with_condition(conditions, entry, self.clock.now())

    def _failed_metrics(self, hpa: Manifest, error: MetricsError) -> None:
        self.recorder.event(hpa, "Warning", "FailedGetResourceMetric", str(error))
        text = f"invalid metrics (1 invalid out of {len(hpa['spec'].get('metrics') or [])}), first error is: {error}"
        self.recorder.event(hpa, "Warning", "FailedComputeMetricsReplicas", text)

    async def _rescale(
        self, hpa: Manifest, target: Manifest, reference: Manifest, desired: int, reason: str
    ) -> None:
        resource = TARGETS[reference["kind"]]
        meta = target["metadata"]
        body = {"spec": {"replicas": desired}}
        try:
            await self.client.patch(
                resource, meta["namespace"], meta["name"], body, "merge", subresource="scale"
            )
        except ApiError as error:
            text = f"New size: {desired}; reason: {reason}; error: {error.message}"
            self.recorder.event(hpa, "Warning", "FailedRescale", text)
            raise
        self.recorder.event(hpa, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        # the cache must not show the old size when this is looked at again
        fresh = await self.client.get(resource, meta["namespace"], meta["name"])
        self.targets[reference["kind"]].observe(fresh)

    # metrics --------------------------------------------------------------------------------------------

    async def _by_metrics(
        self, hpa: Manifest, target: Manifest, size: int
    ) -> tuple[int, str, list[Manifest], MetricsError | None]:
        """(replicas, what decided, status.currentMetrics, the first metric that failed).

        Raises MetricsError when no metric could be computed.
        """
        specs = hpa["spec"].get("metrics") or [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]
        best: tuple[int, str] | None = None
        shown: list[Manifest] = []
        failed: MetricsError | None = None
        for metric in specs:
            try:
                replicas, cause, entry = await self._one(hpa, target, size, metric)
            except MetricsError as error:
                failed = failed or error
                continue
            shown.append(entry)
            if best is None or replicas > best[0]:
                best = (replicas, cause)
        if best is None:
            raise failed or MetricsError("no metrics are configured")
        return best[0], best[1], shown, failed

    async def _one(
        self, hpa: Manifest, target: Manifest, size: int, metric: Manifest
    ) -> tuple[int, str, Manifest]:
        if metric["type"] not in {"Resource", "ContainerResource"}:
            raise MetricsError(
                f"failed to get {metric['type'].lower()} metric: unable to fetch metrics from custom metrics API: "
                "the server could not find the requested resource"
            )
        part = "resource" if metric["type"] == "Resource" else "containerResource"
        source = metric[part]
        name, goal = source["name"], source["target"]
        namespace = hpa["metadata"]["namespace"]
        usage = await self._pod_metrics(namespace, name)
        pods = self._usages(hpa, target, name, usage, source.get("container"), "averageUtilization" in goal)
        by_share = goal.get("averageUtilization")
        by_value = millis(goal["averageValue"]) if goal.get("averageValue") is not None else None
        try:
            proposal = propose(size, pods, int(by_share) if by_share is not None else None, by_value)
        except ValueError as error:
            raise MetricsError(
                f"failed to get {name} {'utilization' if by_share is not None else 'usage'}: {error}"
            ) from error
        value = f"{proposal.average}m" if name == "cpu" else str(proposal.average // 1000)
        current: Manifest = {"averageValue": value}
        cause = f"{name} resource"
        if by_share is not None:
            current["averageUtilization"] = proposal.utilization
            cause = f"{name} resource utilization (percentage of request)"
        entry: Manifest = {"name": name, "current": current}
        if source.get("container"):
            entry["container"] = source["container"]
        return proposal.replicas, cause, {"type": metric["type"], part: entry}

    def _usages(
        self,
        hpa: Manifest,
        target: Manifest,
        name: str,
        usage: dict[str, Manifest],
        container: str | None,
        by_share: bool,
    ) -> list[PodUsage]:
        found = []
        for pod in self.pods.all(hpa["metadata"]["namespace"]):
            if not matches(target["spec"].get("selector"), pod["metadata"].get("labels")):
                continue
            if is_terminating(pod) or phase(pod) in {"Failed", "Succeeded"}:
                continue
            request = 0
            for entry in pod["spec"]["containers"]:
                if container is not None and entry["name"] != container:
                    continue
                text = ((entry.get("resources") or {}).get("requests") or {}).get(name)
                if text is None and by_share:
                    where = f"container {entry['name']} of Pod {pod['metadata']['name']}"
                    raise MetricsError(
                        f"failed to get {name} utilization: missing request for {name} in {where}"
                    )
                request += millis(text or "0")
            metrics = usage.get(pod["metadata"]["name"])
            used = None
            if metrics is not None:
                used = sum(
                    millis(c["usage"].get(name, "0"))
                    for c in metrics["containers"]
                    if container is None or c["name"] == container
                )
            # only cpu distrusts pods that are not ready: their start-up load is no sign of demand
            ready = name != "cpu" or (is_ready(pod) and phase(pod) == "Running")
            found.append(PodUsage(request, used, ready))
        return found

    async def _pod_metrics(self, namespace: str, name: str) -> dict[str, Manifest]:
        now = asyncio.get_running_loop().time()
        cached = self._metrics.get(namespace)
        if cached is None or now - cached[0] > LEAST_PERIOD * 0.9:
            cached = (now, asyncio.create_task(self._read_metrics(namespace)))
            self._metrics[namespace] = cached
        try:
            found = await asyncio.shield(cached[1])
        except ApiError as error:
            raise MetricsError(
                f"failed to get {name} utilization: unable to get metrics for resource {name}: "
                f"unable to fetch metrics from resource metrics API: {error.message}"
            ) from error
        if not found:
            raise MetricsError(
                f"failed to get {name} utilization: unable to get metrics for resource {name}: "
                "no metrics returned from resource metrics API"
            )
        return found

    async def _read_metrics(self, namespace: str) -> dict[str, Manifest]:
        items, _ = await self.client.list(POD_METRICS, namespace)
        return {item["metadata"]["name"]: item for item in items}

    async def _write(self, key: str, hpa: Manifest, status: Manifest, force: bool = False) -> None:
        before = hpa.get("status") or {}
        if status == before:
            return
        now = asyncio.get_running_loop().time()
        only_values = all(status.get(k) == before.get(k) for k in {*status, *before} if k != "currentMetrics")
        if only_values and not force and now - self._written.get(key, 0.0) < VALUES_EVERY:
            return
        self._written[key] = now
        try:
            written = await self.client.update_status(HPAS, {**hpa, "status": status})
        except (ApiError, UnreachableError) as error:
            if isinstance(error, ApiError) and error.code == 409:
                return  # the next period writes it
            raise
        self.autoscalers.observe(written)
