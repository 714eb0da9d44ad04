"""The cells of a pod: its status word, ready count and restarts (printPod in kubectl's printers)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from opslib.sandbox.api.columns_text import NONE, age
from opslib.sandbox.api.errors import Json


def _reason(pod: Json) -> tuple[str, int, int, str]:
    """The status word, ready containers, restarts and the time of the last restart."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    word = status.get("reason") or status.get("phase", "Unknown")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            word = "SchedulingGated"
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    total = len(spec.get("initContainers") or ())
    restarts, ready, last, initializing = 0, 0, "", False
    for i, held in enumerate(status.get("initContainerStatuses") or ()):
        restarts += held.get("restartCount", 0)
        last = max(last, _finished(held))
        state = held.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended and ended.get("exitCode", 0) == 0:
            continue
        if held["name"] in sidecars and held.get("started"):
            ready += bool(held.get("ready"))
            continue
        if ended:
            word = _ended(ended, "Init:")
        elif waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            word = f"Init:{waiting['reason']}"
        else:
            word = f"Init:{i}/{total}"
        initializing = True
        break
    if not initializing:
        restarts, last, running = 0, "", False
        for held in reversed(status.get("containerStatuses") or []):
            restarts += held.get("restartCount", 0)
            last = max(last, _finished(held))
            state = held.get("state") or {}
            ended, waiting = state.get("terminated"), state.get("waiting")
            if waiting and waiting.get("reason"):
                word = waiting["reason"]
            elif ended:
                word = _ended(ended, "")
            elif held.get("ready") and "running" in state:
                running = True
                ready += 1
        if word == "Completed" and running:
            conditions = status.get("conditions") or ()
            is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
            word = "Running" if is_ready else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            word = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            word = "Terminating"
    return word, ready, restarts, last


def _ended(ended: Json, prefix: str) -> str:
    if ended.get("reason"):
        return f"{prefix}{ended['reason']}"
    if ended.get("signal"):
        return f"{prefix}Signal:{ended['signal']}"
    return f"{prefix}ExitCode:{ended.get('exitCode', 0)}"


def _finished(status: Json) -> str:
    return str(((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "")


def pod_cells(pod: Json, now: datetime) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    word, ready, restarts, last = _reason(pod)
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    total = len(spec.get("containers") or ()) + len(sidecars)
    shown = f"{restarts} ({age(last, now)} ago)" if restarts and last else str(restarts)
    gates = spec.get("readinessGates") or ()
    held = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    passed = sum(1 for g in gates if g["conditionType"] in held)
    return [
        pod["metadata"]["name"],
        f"{ready}/{total}",
        word,
        shown,
        age(pod["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]
