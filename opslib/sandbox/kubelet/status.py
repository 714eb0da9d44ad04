"""A pod's status from the states of its containers; no I/O.

Source: kubernetes pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import stamp
from opslib.sandbox.controllers.objects import condition, with_condition


@dataclass
class ContainerState:
    """What the kubelet knows of one container."""

    spec: Manifest
    state: Manifest  # {"waiting": {...}}, {"running": {...}} or {"terminated": {...}}
    last: Manifest | None = None  # the terminated state before
    ready: bool = False
    started: bool = False
    restarts: int = 0
    image_id: str = ""
    container_id: str = ""

    @property
    def waiting(self) -> bool:
        return "waiting" in self.state

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """The exit code of a terminated container, else None."""
        return int(self.state["terminated"]["exitCode"]) if "terminated" in self.state else None

    def as_status(self) -> Manifest:
        return {
            "name": self.spec["name"],
            "state": self.state,
            "lastState": {"terminated": self.last} if self.last else {},
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.spec["image"],
            "imageID": self.image_id,
            **({"containerID": self.container_id} if self.container_id else {}),
            "started": self.started,
        }


def pod_status(
    pod: Manifest,
    inits: list[ContainerState],
    mains: list[ContainerState],
    addresses: Manifest | None,
    started_at: dt.datetime | None,
    now: dt.datetime,
) -> Manifest:
    """The whole status of a pod; `addresses` has hostIP and podIP."""
    before = pod.get("status") or {}
    phase = phase_of(pod["spec"].get("restartPolicy", "Always"), inits, mains)
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    gates_ready = all((condition(pod, gate) or {}).get("status") == "True" for gate in gates)
    old = list(before.get("conditions") or [])
    status: Manifest = {
        **before,
        "phase": phase,
        "conditions": conditions_of(old, phase, inits, mains, gates_ready, now),
        "qosClass": before.get("qosClass") or qos_class(pod),
        "containerStatuses": [state.as_status() for state in mains],
    }
    if started_at is not None:
        status["startTime"] = stamp(started_at)
    if addresses is not None:
        host, own = addresses["hostIP"], addresses["podIP"]
        status |= {"hostIP": host, "hostIPs": [{"ip": host}], "podIP": own, "podIPs": [{"ip": own}]}
    if inits:
        status["initContainerStatuses"] = [state.as_status() for state in inits]
    return status


def phase_of(policy: str, inits: list[ContainerState], mains: list[ContainerState]) -> str:
    """status.phase (getPhase)."""
    for init in inits:
        code = init.exit_code
        if code is None or code != 0:
            failed = code is not None and code != 0 and policy == "Never"
            return "Failed" if failed else "Pending"
    running = sum(1 for c in mains if c.running)
    waiting = sum(1 for c in mains if c.waiting and not c.last)
    stopped = sum(1 for c in mains if c.exit_code is not None or (c.waiting and c.last))
    succeeded = sum(1 for c in mains if c.exit_code == 0)
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if stopped and policy != "Always":
        if stopped == succeeded:
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    return "Running" if stopped else "Pending"


def conditions_of(
    before: list[Manifest],
    phase: str,
    inits: list[ContainerState],
    mains: list[ContainerState],
    gates_ready: bool,
    now: dt.datetime,
) -> list[Manifest]:
    """status.conditions; those of others (PodScheduled, DisruptionTarget, readiness gates) are kept."""
    waiting_inits = [c.spec["name"] for c in inits if c.exit_code != 0]
    if waiting_inits and phase != "Succeeded":
        text = f"containers with incomplete status: [{' '.join(waiting_inits)}]"
        initialised = _entry("Initialized", False, "ContainersNotInitialized", text)
    else:
        reason = "PodCompleted" if phase == "Succeeded" else ""
        initialised = _entry("Initialized", True, reason)
    unready = [c.spec["name"] for c in mains if not c.ready]
    if phase == "Succeeded":
        containers = _entry("ContainersReady", False, "PodCompleted")
    elif phase == "Failed":
        containers = _entry("ContainersReady", False, "PodFailed")
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        containers = _entry("ContainersReady", False, "ContainersNotReady", text)
    else:
        containers = _entry("ContainersReady", True)
    ready = {**containers, "type": "Ready"}
    if containers["status"] == "True" and not gates_ready:
        text = 'the status of pod readiness gate is not "True"'
        ready = _entry("Ready", False, "ReadinessGatesNotReady", text)
    sandbox = _entry("PodReadyToStartContainers", phase in {"Running", "Pending"})
    result = before
    for entry in (sandbox, initialised, ready, containers):
        result = with_condition(result, entry, now)
    return result


def _entry(kind: str, value: bool, reason: str = "", message: str = "") -> Manifest:
    entry: Manifest = {"type": kind, "status": "True" if value else "False"}
    if reason:
        entry["reason"] = reason
    if message:
        entry["message"] = message
    return entry


def qos_class(pod: Manifest) -> str:
    """BestEffort, Burstable or Guaranteed (qos.ComputePodQOS)."""
    guaranteed, any_resource = True, False
    for container in pod["spec"].get("containers") or []:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_resource |= bool({"cpu", "memory"} & (set(limits) | set(requests)))
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not any_resource:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def terminated(
    code: int, reason: str, started: dt.datetime, finished: dt.datetime, container_id: str
) -> Manifest:
    """corev1.ContainerStateTerminated."""
    return {
        "exitCode": code,
        "reason": reason,
        "startedAt": stamp(started),
        "finishedAt": stamp(finished),
        "containerID": container_id,
    }
