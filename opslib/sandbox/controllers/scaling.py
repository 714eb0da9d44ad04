"""The arithmetic of a HorizontalPodAutoscaler; no I/O.

Source: kubernetes pkg/controller/podautoscaler/{horizontal.go,replica_calculator.go} (v1.32).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from opslib.sandbox.client import Manifest

TOLERANCE = 0.1
DEFAULT_UP: Manifest = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
DEFAULT_DOWN: Manifest = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


@dataclass
class PodUsage:
    """One pod of the target: what it uses and requests of one resource (thousandths), and whether it counts."""

    request: int
    used: int | None  # None: no metrics
    ready: bool = True


@dataclass(frozen=True)
class Proposal:
    """What one metric asks for; utilization is a percentage of the requests."""

    replicas: int
    utilization: int
    average: int


def propose(current: int, pods: list[PodUsage], target: int | None, average_target: int | None) -> Proposal:
    """Replicas by one resource metric (GetResourceReplicas): by utilization, or by an average in thousandths.

    Pods without metrics count against a change, unready ones as idle when growing. Raises ValueError without
    any usable metrics.
    """
    measured = [pod for pod in pods if pod.used is not None and pod.ready]
    missing = [pod for pod in pods if pod.used is None and pod.ready]
    unready = [pod for pod in pods if not pod.ready]
    if not measured:
        raise ValueError("did not receive metrics for targeted pods (pods might be unready)")
    used = sum(pod.used or 0 for pod in measured)
    requested = sum(pod.request for pod in measured)
    average = used // len(measured)
    utilization = used * 100 // requested if requested else 0

    def ratio_of(total: float, requests: int, count: int) -> float:
        if target is not None:
            return int(total * 100 // requests) / target if requests else 0.0
        return (total / count) / (average_target or 1)

    ratio = ratio_of(used, requested, len(measured))
    extra = missing + (unready if ratio > 1 else [])
    if not extra:
        if abs(1 - ratio) <= TOLERANCE:
            return Proposal(current, utilization, average)
        return Proposal(math.ceil(ratio * len(measured)), utilization, average)
    total: float = used
    for pod in missing:
        if ratio < 1:
            total += pod.request * (target or 100) / 100 if target is not None else (average_target or 0)
    count = len(measured) + len(extra)
    again = ratio_of(total, requested + sum(pod.request for pod in extra), count)
    if abs(1 - again) <= TOLERANCE or (ratio < 1 < again) or (ratio > 1 > again):
        return Proposal(current, utilization, average)
    wanted = math.ceil(again * count)
    if (again < 1 and wanted > current) or (again > 1 and wanted < current):
        return Proposal(current, utilization, average)
    return Proposal(wanted, utilization, average)


@dataclass
class History:
    """What an autoscaler remembers: recommendations and changes, as (platform time, value)."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    ups: list[tuple[float, int]] = field(default_factory=list)
    downs: list[tuple[float, int]] = field(default_factory=list)

    def trim(self, now: float) -> None:
        for entries in (self.recommendations, self.ups, self.downs):
            entries[:] = [entry for entry in entries if now - entry[0] <= 3600]


@dataclass(frozen=True)
class Decision:
    """The size to set and why it differs from what the metrics asked for."""

    replicas: int
    able: tuple[str, str]  # reason and message of AbleToScale
    limited: tuple[bool, str, str]  # status, reason and message of ScalingLimited


def rules(behavior: Manifest | None, direction: str) -> Manifest:
    """scaleUp or scaleDown of spec.behavior, with upstream's defaults."""
    default = DEFAULT_UP if direction == "scaleUp" else DEFAULT_DOWN
    given = (behavior or {}).get(direction) or {}
    return {**default, **{k: v for k, v in given.items() if v is not None}}


def decide(
    current: int,
    desired: int,
    minimum: int,
    maximum: int,
    behavior: Manifest | None,
    history: History,
    now: float,
) -> Decision:
    """Stabilise and limit a desired size (normalizeDesiredReplicasWithBehaviors)."""
    up, down = rules(behavior, "scaleUp"), rules(behavior, "scaleDown")
    if not history.recommendations:
        history.recommendations.append((now, current))
    history.recommendations.append((now, desired))
    history.trim(now)
    low = min(
        (v for t, v in history.recommendations if now - t < up["stabilizationWindowSeconds"]),
        default=desired,
    )
    high = max(
        (v for t, v in history.recommendations if now - t < down["stabilizationWindowSeconds"]),
        default=desired,
    )
    low, high = min(low, desired), max(high, desired)
    stabilised = current
    stabilised = max(stabilised, low)
    stabilised = min(stabilised, high)
    able = ("ReadyForNewScale", "recommended size matches current size")
    if stabilised != desired:
        if stabilised > desired:
            able = (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        else:
            able = (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
    if stabilised > current:
        limit = max(_up_limit(current, up, history, now), current)
        if stabilised > limit and limit < maximum:
            text = "the desired replica count is increasing faster than the maximum scale rate"
            return Decision(limit, able, (True, "ScaleUpLimit", text))
    elif stabilised < current:
        limit = min(_down_limit(current, down, history, now), current)
        if stabilised < limit and limit > minimum:
            text = "the desired replica count is decreasing faster than the maximum scale rate"
            return Decision(limit, able, (True, "ScaleDownLimit", text))
    if stabilised > maximum:
        text = "the desired replica count is more than the maximum replica count"
        return Decision(maximum, able, (True, "TooManyReplicas", text))
    if stabilised < minimum:
        text = "the desired replica count is less than the minimum replica count"
        return Decision(minimum, able, (True, "TooFewReplicas", text))
    text = "the desired count is within the acceptable range"
    return Decision(stabilised, able, (False, "DesiredWithinRange", text))


def _changed(entries: list[tuple[float, int]], period: float, now: float) -> int:
    return sum(value for at, value in entries if now - at < period)


def _up_limit(current: int, rule: Manifest, history: History, now: float) -> int:
    if rule["selectPolicy"] == "Disabled":
        return current
    results = []
    for policy in rule["policies"]:
        period = float(policy["periodSeconds"])
        start = current - _changed(history.ups, period, now) + _changed(history.downs, period, now)
        if policy["type"] == "Pods":
            results.append(start + int(policy["value"]))
        else:
            results.append(math.ceil(start * (1 + int(policy["value"]) / 100)))
    return min(results) if rule["selectPolicy"] == "Min" else max(results)


def _down_limit(current: int, rule: Manifest, history: History, now: float) -> int:
    if rule["selectPolicy"] == "Disabled":
        return current
    results = []
    for policy in rule["policies"]:
        period = float(policy["periodSeconds"])
        start = current - _changed(history.ups, period, now) + _changed(history.downs, period, now)
        if policy["type"] == "Pods":
            results.append(start - int(policy["value"]))
        else:
            results.append(int(start * (1 - int(policy["value"]) / 100)))
    return max(results) if rule["selectPolicy"] == "Min" else min(results)
