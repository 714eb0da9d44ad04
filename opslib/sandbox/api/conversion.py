"""Kinds that are served in two versions but kept in one: HPA v1 and v2, Event v1 and events.k8s.io/v1.

Sources: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

import json

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import Resource

_PREFIX = "autoscaling.alpha.kubernetes.io/"  # where v1 carries what it has no fields for
_METRICS, _BEHAVIOR = _PREFIX + "metrics", _PREFIX + "behavior"
_CURRENT, _CONDITIONS = _PREFIX + "current-metrics", _PREFIX + "conditions"
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
        return {_EVENT_NAMES.get(k, k): v for k, v in obj.items()}
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
    notes = dict((obj.get("metadata") or {}).get("annotations") or {})
    metrics, behavior = notes.pop(_METRICS, None), notes.pop(_BEHAVIOR, None)
    conditions, current = notes.pop(_CONDITIONS, None), notes.pop(_CURRENT, None)
    if "annotations" in (obj.get("metadata") or {}):
        out["metadata"] = {**obj["metadata"], "annotations": notes}
        if not notes and metrics:
            del out["metadata"]["annotations"]
    if obj.get("spec") is not None:
        spec = dict(obj["spec"])
        cpu = spec.pop("targetCPUUtilizationPercentage", None)
        found = [_metric_up(m) for m in json.loads(metrics)] if metrics else []
        if cpu is not None:
            found.append(_cpu_metric("target", {"type": "Utilization", "averageUtilization": cpu}))
        if found:
            spec["metrics"] = found
        if behavior:
            spec["behavior"] = json.loads(behavior)
        out["spec"] = spec
    if obj.get("status") is not None:
        status = dict(obj["status"])
        percent = status.pop("currentCPUUtilizationPercentage", None)
        held = json.loads(current) if current else []
        if percent is not None:
            held.append(_cpu_metric("current", {"averageUtilization": percent, "averageValue": "0"}))
        if held:
            status["currentMetrics"] = held
        if conditions:
            status["conditions"] = json.loads(conditions)
        out["status"] = status
    return out


def _cpu_metric(part: str, value: Json) -> Json:
    return {"type": "Resource", "resource": {"name": "cpu", part: value}}


def _is_cpu(metric: Json, part: str) -> bool:
    inner = metric.get("resource") or {}
    return inner.get("name") == "cpu" and (inner.get(part) or {}).get("averageUtilization") is not None


def _metric_up(metric: Json) -> Json:
    inner = metric.get("resource")
    if metric.get("type") != "Resource" or not inner or "target" in inner:
        return metric
    if "targetAverageUtilization" in inner:
        target = {"type": "Utilization", "averageUtilization": inner["targetAverageUtilization"]}
    else:
        target = {"type": "AverageValue", "averageValue": inner.get("targetAverageValue")}
    return {"type": "Resource", "resource": {"name": inner["name"], "target": target}}


def _metric_down(metric: Json) -> Json:
    inner = metric.get("resource")
    if metric.get("type") != "Resource" or not inner:
        return metric
    target, out = inner.get("target") or {}, {"name": inner["name"]}
    if target.get("averageUtilization") is not None:
        out["targetAverageUtilization"] = target["averageUtilization"]
    else:
        out["targetAverageValue"] = target.get("averageValue")
    return {"type": "Resource", "resource": out}


def _hpa_down(obj: Json) -> Json:
    out, notes = dict(obj), {}
    spec = dict(obj.get("spec") or {})
    metrics = spec.pop("metrics", None) or []
    cpu = next((m for m in metrics if _is_cpu(m, "target")), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    if others := [_metric_down(m) for m in metrics if m is not cpu]:
        notes[_METRICS] = json.dumps(others, separators=(",", ":"))
    if behavior := spec.pop("behavior", None):
        notes[_BEHAVIOR] = json.dumps(behavior, separators=(",", ":"))
    out["spec"] = spec
    status = dict(obj.get("status") or {})
    held = status.pop("currentMetrics", None) or []
    current = next((m for m in held if _is_cpu(m, "current")), None)
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current["resource"]["current"]["averageUtilization"]
    if left := [m for m in held if m is not current]:
        notes[_CURRENT] = json.dumps(left, separators=(",", ":"))
    if conditions := status.pop("conditions", None):
        notes[_CONDITIONS] = json.dumps(conditions, separators=(",", ":"))
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    out["status"] = status
    if notes:
        meta = out["metadata"]
        out["metadata"] = {**meta, "annotations": {**(meta.get("annotations") or {}), **notes}}
    return out
