"""One container of a pod over all its instances, and how it is recognised after a restart of this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from opslib.sandbox.client import Manifest
from opslib.sandbox.kubelet import backoff, images
from opslib.sandbox.kubelet.container import ContainerInstance
from opslib.sandbox.kubelet.probes import Prober
from opslib.sandbox.kubelet.status import ContainerState

STOP_SECONDS = 1.0  # platform seconds a program takes to end on SIGTERM


@dataclass
class Slot:
    """One container of the pod, over all its instances."""

    state: ContainerState
    init: bool = False
    instance: ContainerInstance | None = None
    prober: Prober | None = None
    pull: images.PullState = field(default_factory=images.PullState)
    crash: backoff.Backoff = field(default_factory=backoff.Backoff)
    failed_at: float = 0.0  # platform time of the last end
    look_at: float = 0.0  # platform time before which there is nothing to do
    starts: int = 0  # how often it was started
    told_backoff: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return str(self.state.spec["name"])

    @classmethod
    def of(cls, spec: Manifest, init: bool = False) -> Slot:
        """A container that has not been started."""
        return cls(ContainerState(spec=spec, state={"waiting": {"reason": "ContainerCreating"}}), init)

    def remember(self, entry: Manifest, now: float) -> None:
        """Take in what a pod's status says of this container."""
        state = entry.get("state") or {}
        self.state.restarts = int(entry.get("restartCount") or 0)
        self.state.last = (entry.get("lastState") or {}).get("terminated")
        self.state.image_id = entry.get("imageID") or ""
        self.state.container_id = entry.get("containerID") or ""
        if self.state.last or "running" in state or "terminated" in state:
            self.starts = self.state.restarts + 1
        if self.state.restarts:
            grown = backoff.CRASH_BASE * 2.0 ** min(self.state.restarts - 1, 10)
            self.crash.current = min(grown, backoff.CRASH_CAP)
            self.crash.updated = self.failed_at = now
        if state:
            self.state.state = state

    def stop_time(self) -> float:
        """Platform seconds until it has ended after it was told to: its preStop hook, then itself."""
        hook = (self.state.spec.get("lifecycle") or {}).get("preStop") or {}
        seconds = float((hook.get("sleep") or {}).get("seconds") or 0)
        command = " ".join((hook.get("exec") or {}).get("command") or []).split()
        if "sleep" in command[:-1]:
            value = command[command.index("sleep") + 1]
            seconds = float(value) if value.replace(".", "", 1).isdigit() else 0.0
        return seconds + STOP_SECONDS


def signature(status: Manifest) -> list[tuple[str, str, int, str]]:
    """What tells a status written by one worker from one of another time."""
    entries = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return [
        (
            entry["name"],
            entry.get("containerID") or "",
            int(entry.get("restartCount") or 0),
            next(iter(entry.get("state") or {}), ""),
        )
        for entry in entries
    ]
