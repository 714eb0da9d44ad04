"""The health of an Application's objects as Argo CD judges it; no I/O.

Source: argoproj/gitops-engine pkg/health.
"""

from __future__ import annotations

from opslib.sandbox.client import Manifest
from opslib.sandbox.controllers.objects import condition
from opslib.sandbox.controllers.rollout import current, wanted

WORST = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")


def worst(healths: list[str]) -> str:
    """The health of the whole: the worst of its parts (Healthy for none)."""
    return max(healths, key=WORST.index, default="Healthy")


def health_of(obj: Manifest) -> Manifest | None:
    """{"status", "message"} of one object; None for a kind that has no health."""
    kind = obj["kind"]
    if kind == "Deployment":
        return _deployment(obj)
    if kind == "StatefulSet":
        ready = current(obj, "readyReplicas") >= wanted(obj)
        text = f"Waiting for {wanted(obj) - current(obj, 'readyReplicas')} pods to be ready..."
        return _of("Healthy") if ready else _of("Progressing", text)
    if kind == "HorizontalPodAutoscaler":
        return _autoscaler(obj)
    if kind == "Ingress":
        ready = bool(((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress"))
        return _of("Healthy" if ready else "Progressing")
    if kind == "Service":
        waits = obj["spec"].get("type") == "LoadBalancer" and not (
            (obj.get("status") or {}).get("loadBalancer") or {}
        ).get("ingress")
        return _of("Progressing" if waits else "Healthy")
    if kind == "Job":
        failed = (condition(obj, "Failed") or {}).get("status") == "True"
        done = (condition(obj, "Complete") or {}).get("status") == "True"
        return _of("Degraded" if failed else "Healthy" if done else "Progressing")
    return None


def _of(status: str, message: str = "") -> Manifest:
    return {"status": status, **({"message": message} if message else {})}


def _deployment(obj: Manifest) -> Manifest:
    name = obj["metadata"]["name"]
    if obj["spec"].get("paused"):
        return _of("Suspended", "Deployment is paused")
    if int(obj["metadata"].get("generation") or 0) > current(obj, "observedGeneration"):
        return _of(
            "Progressing",
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        )
    if (condition(obj, "Progressing") or {}).get("reason") == "ProgressDeadlineExceeded":
        return _of("Degraded", f'Deployment "{name}" exceeded its progress deadline')
    updated, total, available = (
        current(obj, "updatedReplicas"),
        current(obj),
        current(obj, "availableReplicas"),
    )
    if updated < wanted(obj):
        text = f"{updated} out of {wanted(obj)} new replicas have been updated..."
    elif total > updated:
        text = f"{total - updated} old replicas are pending termination..."
    elif available < updated:
        text = f"{available} of {updated} updated replicas are available..."
    else:
        return _of("Healthy")
    return _of("Progressing", f"Waiting for rollout to finish: {text}")


def _autoscaler(obj: Manifest) -> Manifest:
    for entry in (obj.get("status") or {}).get("conditions") or []:
        bad = entry.get("status") == "False" and entry.get("reason", "").startswith(("Failed", "Invalid"))
        if bad:
            return _of("Degraded", entry.get("message", ""))
    for kind in ("AbleToScale", "ScalingLimited"):
        entry = condition(obj, kind) or {}
        if entry.get("status") == "True":
            return _of("Healthy", entry.get("message", ""))
    return _of("Progressing", "Waiting to Autoscale")
