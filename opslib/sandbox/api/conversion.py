"""Kinds that are served in two versions but kept in one: HPA v1 and v2, Event v1 and events.k8s.io/v1.

Sources: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import Resource

_EVENT_NAMES = {  # events.k8s.io/v1 -> v1
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}


def converted(resource: Resource) -> bool:
    """Whether this row's objects differ from what is stored."""
    if resource.kind == "HorizontalPodAutoscaler":
        return resource.version == "v1"
    return resource.group == "events.k8s.io"


def to_storage(resource: Resource, obj: Json) -> Json:
    """An object as it is kept (the argument may be changed)."""
    if resource.group == "events.k8s.io":
        out = {_EVENT_NAMES.get(k, k): v for k, v in obj.items()}
        return out
    if resource.kind == "HorizontalPodAutoscaler" and resource.version == "v1":
        return _hpa_up(obj)
    return obj


def from_storage(resource: Resource, obj: Json) -> Json:
    """An object as this row shows it."""
    if resource.group == "events.k8s.io":
        back = {v: k for k, v in _EVENT_NAMES.items()}
        return {back.get(k, k): v for k, v in obj.items()}
    if resource.kind == "HorizontalPodAutoscaler" and resource.version == "v1":
        return _hpa_down(obj)
    return obj


def _hpa_up(obj: Json) -> Json:
    out = dict(obj)
    spec = dict(obj.get("spec") or {})
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    if cpu is not None:
        target = {"type": "Utilization", "averageUtilization": cpu}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    out["spec"] = spec
    status = dict(obj.get("status") or {})
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None:
        value = {"averageUtilization": current, "averageValue": "0"}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": value}}]
    if status:
        out["status"] = status
    return out


def _cpu(metrics: list[Json], part: str) -> int | None:
    for metric in metrics or ():
        if metric.get("type") == "Resource" and metric["resource"]["name"] == "cpu":
            value: int | None = (metric["resource"].get(part) or {}).get("averageUtilization")
            return value
    return None


def _hpa_down(obj: Json) -> Json:
    out = dict(obj)
    spec = dict(obj.get("spec") or {})
    cpu = _cpu(spec.pop("metrics", None) or [], "target")
    spec.pop("behavior", None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu
    out["spec"] = spec
    status = dict(obj.get("status") or {})
    current = _cpu(status.pop("currentMetrics", None) or [], "current")
    status.pop("conditions", None)
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    out["status"] = status
    return out
