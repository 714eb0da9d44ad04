"""What limits how much can run: autoscalers, quotas, disruption budgets, nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import age, frame
from opslib.cluster.kinds import KINDS, quantity, requests_of
from opslib.cluster.workloads import condition
from opslib.errors import NotPermitted

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
ENDED = {"Succeeded", "Failed"}


def hpa_items(api: Api, namespace: str) -> list[Json]:
    """The HorizontalPodAutoscalers of a namespace, as the API has them."""
    return api.items(KINDS["horizontalpodautoscaler"].path(namespace))


def hpa_for(items: list[Json], deployment: str) -> Json | None:
    """The autoscaler that scales this Deployment; None without."""
    for item in items:
        target = item["spec"]["scaleTargetRef"]
        if target.get("kind") == "Deployment" and target.get("name") == deployment:
            return item
    return None


def hpas(api: Api, namespace: str) -> pd.DataFrame:
    """The autoscalers of a namespace; columns: COLUMNS["hpas"]."""
    rows = []
    for item in hpa_items(api, namespace):
        spec, status = item["spec"], item.get("status") or {}
        active, able, limited = (
            condition(item, kind) for kind in ("ScalingActive", "AbleToScale", "ScalingLimited")
        )
        troubled = [c for c in (active, able) if c.get("status") == "False"]
        rows.append(
            {
                "hpa": item["metadata"]["name"],
                "deployment": spec["scaleTargetRef"].get("name", ""),
                "min": spec.get("minReplicas", 1),
                "max": spec["maxReplicas"],
                "current": status.get("currentReplicas", 0),
                "desired": status.get("desiredReplicas", 0),
                "metrics": ", ".join(
                    _metric(m, status.get("currentMetrics") or []) for m in spec.get("metrics") or []
                ),
                "active": active.get("status", "Unknown"),
                "able": able.get("status", "Unknown"),
                "limited": limited.get("reason", "") if limited.get("status") == "True" else "",
                "message": "; ".join(c.get("message", "") for c in troubled),
            }
        )
    return frame("hpas", COLUMNS["hpas"], rows)


def _metric(wanted: Json, current: list[Json]) -> str:
    resource = wanted.get("resource") or {}
    name = resource.get("name", wanted.get("type", ""))
    target = (resource.get("target") or {}).get("averageUtilization")
    now = next(
        (
            ((c.get("resource") or {}).get("current") or {}).get("averageUtilization")
            for c in current
            if (c.get("resource") or {}).get("name") == name
        ),
        None,
    )
    return f"{name} {'unknown' if now is None else now}/{target} %" if target is not None else str(name)


def quotas(api: Api, namespace: str) -> pd.DataFrame:
    """The quotas of a namespace, a row for each limited resource; columns: COLUMNS["quotas"]."""
    rows = []
    for item in api.items(KINDS["resourcequota"].path(namespace)):
        status = item.get("status") or {}
        for resource, hard in (status.get("hard") or (item.get("spec") or {}).get("hard") or {}).items():
            top, used = quantity(hard), quantity((status.get("used") or {}).get(resource, 0))
            rows.append(
                {
                    "quota": item["metadata"]["name"],
                    "resource": resource,
                    "hard": top,
                    "used": used,
                    "free": top - used,
                    "used_share": used / top if top else 1.0,
                }
            )
    return frame("quotas", COLUMNS["quotas"], rows)


def pdbs(api: Api, namespace: str, deployments: list[Json]) -> pd.DataFrame:
    """The disruption budgets of a namespace; columns: COLUMNS["pdbs"]."""
    rows = []
    for item in api.items(KINDS["poddisruptionbudget"].path(namespace)):
        spec, status = item["spec"], item.get("status") or {}
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        rows.append(
            {
                "pdb": item["metadata"]["name"],
                "deployment": next((d["metadata"]["name"] for d in deployments if _selects(wanted, d)), ""),
                "min_available": spec.get("minAvailable"),
                "max_unavailable": spec.get("maxUnavailable"),
                "allowed": status.get("disruptionsAllowed", 0),
                "healthy": status.get("currentHealthy", 0),
                "needed": status.get("desiredHealthy", 0),
                "expected": status.get("expectedPods", 0),
            }
        )
    return frame("pdbs", COLUMNS["pdbs"], rows)


def _selects(wanted: Mapping[str, str], deployment: Json) -> bool:
    labels = ((deployment["spec"]["template"].get("metadata") or {}).get("labels")) or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def nodes(api: Api, namespace: str) -> pd.DataFrame:
    """The nodes and what is asked of them; columns: COLUMNS["nodes"]."""
    items = api.items(KINDS["node"].path())
    try:
        everywhere = api.items(KINDS["pod"].path())
        seen = "all namespaces"
    except NotPermitted:
        everywhere = api.items(KINDS["pod"].path(namespace))
        seen = f"namespace {namespace} only: requests of other namespaces are not counted"
    load: dict[str, list[Json]] = {}
    for pod in everywhere:
        if (pod.get("status") or {}).get("phase") not in ENDED and pod["spec"].get("nodeName"):
            load.setdefault(pod["spec"]["nodeName"], []).append(pod["spec"])
    data = frame("nodes", COLUMNS["nodes"], [_node(n, load.get(n["metadata"]["name"], [])) for n in items])
    data.attrs["counted"] = seen
    return data


def _node(item: Json, specs: list[Json]) -> dict[str, Any]:
    meta, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    room, ready = status.get("allocatable") or {}, condition(item, "Ready")
    labels = meta.get("labels") or {}
    return {
        "node": meta["name"],
        "ready": ready.get("status") == "True",
        "schedulable": not spec.get("unschedulable"),
        "cpu_allocatable": quantity(room.get("cpu", 0)),
        "cpu_requested": sum(requests_of(s, "cpu") for s in specs),
        "memory_allocatable": quantity(room.get("memory", 0)),
        "memory_requested": sum(requests_of(s, "memory") for s in specs),
        "pods_allocatable": int(quantity(room.get("pods", 110))),
        "pods": len(specs),
        "labels": labels,
        "taints": spec.get("taints") or [],
        "zone": labels.get("topology.kubernetes.io/zone", ""),
        "message": "" if ready.get("status") == "True" else ready.get("message", "no Ready condition"),
        "age_seconds": age(meta.get("creationTimestamp")),
    }
