"""One pod's life: containers start, fail, back off, restart and end; its status follows.

Source: kubernetes pkg/kubelet (syncPod, pod_workers), pkg/kubelet/kuberuntime (computePodActions, doBackOff).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opslib.sandbox.client import PODS, ApiError, Manifest, UnreachableError
from opslib.sandbox.clock import parse_stamp, stamp
from opslib.sandbox.controllers.objects import condition, is_terminating
from opslib.sandbox.kubelet import backoff, environment, images
from opslib.sandbox.kubelet.container import ContainerInstance, PodRef
from opslib.sandbox.kubelet.probes import Kind, Prober
from opslib.sandbox.kubelet.status import (
    ContainerState,
    conditions_of,
    phase_of,
    qos_class,
    terminated,
)
from opslib.sandbox.workloads.protocol import Exit

if TYPE_CHECKING:
    from opslib.sandbox.kubelet.kubelet import Kubelet

log = logging.getLogger(__name__)

CONFIG_RETRY = 10.0  # platform seconds until a missing ConfigMap or volume is looked for again
RELIST = 1.0  # platform seconds until the kubelet acts on an end (its relist period)
STOP_SECONDS = 1.0  # platform seconds a program takes to end on SIGTERM
SIGTERM_EXIT = 143


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
    config_error: str = ""
    told_backoff: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return str(self.state.spec["name"])


class PodWorker:
    """Drives one pod that is bound to a node of this kubelet."""

    def __init__(self, kubelet: Kubelet, pod: Manifest) -> None:
        self.k = kubelet
        self.ref = PodRef(pod)
        self.uid: str = pod["metadata"]["uid"]
        self.node: str = pod["spec"]["nodeName"]
        self.wake = asyncio.Event()
        self.recorder = kubelet.recorder.named("kubelet", self.node)
        status = pod.get("status") or {}
        self.ip: str = status.get("podIP") or ""
        self.started_at = parse_stamp(status["startTime"]) if status.get("startTime") else None
        self.inits = [Slot(_waiting(spec), init=True) for spec in pod["spec"].get("initContainers") or []]
        self.mains = [Slot(_waiting(spec)) for spec in pod["spec"].get("containers") or []]
        self.task: asyncio.Task[None] | None = None
        self._stopping_since: float | None = None
        self._stop_after = 0.0
        self._written = self._writing = _signature(status)
        self.ended = False
        self._take_over(status)

    @property
    def pod(self) -> Manifest:
        return self.ref.manifest

    @property
    def slots(self) -> list[Slot]:
        return [*self.inits, *self.mains]

    # life -----------------------------------------------------------------------------------------------

    def update(self, pod: Manifest) -> bool:
        """A newer manifest of the same pod; False when its status is not this worker's.

        Then the whole state was replaced, and the pod must be taken over anew.
        """
        if _signature(pod.get("status") or {}) not in (self._written, self._writing):
            return False
        stopping = is_terminating(pod) != is_terminating(self.pod)
        respecified = pod["spec"] != self.pod["spec"]
        relabelled = pod["metadata"].get("labels") != self.pod["metadata"].get("labels")
        self.ref.manifest = pod
        if respecified:
            for slot, spec in zip(self.mains, pod["spec"].get("containers") or [], strict=False):
                slot.state.spec = spec
        if stopping or respecified or relabelled:
            self.wake.set()
        return True

    async def run(self) -> None:
        # a flag besides the cancellation: wait_for swallows one that comes together with `wake` (Python < 3.12)
        while not self.ended:
            self.wake.clear()
            pause: float | None
            try:
                pause = await self._sync()
            except (ApiError, UnreachableError) as error:
                if isinstance(error, ApiError) and error.code == 404:
                    return  # it is gone; the informer tells the kubelet
                log.debug("pod %s: %s; it is tried again", self.pod["metadata"]["name"], error)
                pause = 0.5 * self.k.clock.speed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self.wake.wait(), None if pause is None else max(0.002, self.k.clock.scaled(pause))
                )

    def stop(self) -> None:
        """The pod is gone: end everything without another word to the API."""
        self.ended = True
        for slot in self.slots:
            self._end_instance(slot)
        if self.task is not None:
            self.task.cancel()

    async def _sync(self) -> float | None:
        """One look at the pod. Returns platform seconds until the next, None: until something happens."""
        if is_terminating(self.pod):
            return await self._terminate()
        if self._finished():
            return None
        self._prepare()
        now = self.k.now()
        waits: list[float] = []
        missing = await self._missing_volume()
        if missing:
            self._event("Warning", "FailedMount", missing)
            waits.append(CONFIG_RETRY)
        else:
            for slot in self._due_slots():
                wait = await self._advance(slot, now)
                if wait is not None:
                    waits.append(wait)
            if not self._inits_done():
                for slot in self.mains:
                    slot.state.state = {"waiting": {"reason": "PodInitializing"}}
        await self._write_status()
        return min(waits) if waits else None

    def _finished(self) -> bool:
        return (self.pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}

    def _prepare(self) -> None:
        if self.started_at is None:
            self.started_at = self.k.clock.now()
        if not self.ip:
            self.ip = self.k.addresses.take(self.node)

    def _inits_done(self) -> bool:
        return all(slot.state.exit_code == 0 for slot in self.inits)

    def _due_slots(self) -> list[Slot]:
        for slot in self.inits:
            if slot.state.exit_code != 0:
                return [slot]
        return self.mains

    # one container --------------------------------------------------------------------------------------

    async def _advance(self, slot: Slot, now: float) -> float | None:
        if slot.state.running:
            return None
        policy = self.pod["spec"].get("restartPolicy", "Always")
        code = slot.state.exit_code
        if code is not None and (policy == "Never" or (policy == "OnFailure" and code == 0)):
            return None
        if code is not None and slot.init and code == 0:
            return None
        if now < slot.look_at:
            return slot.look_at - now
        if slot.starts:
            left = slot.crash.wait(slot.failed_at, now)
            if left > 0:
                self._back_off(slot)
                return left
        outcome = images.advance(
            slot.pull,
            self.k.images,
            self.k.cache,
            self.node,
            self.pod,
            slot.state.spec,
            now,
            lambda kind, reason, text: self._event(kind, reason, text, slot),
        )
        if isinstance(outcome, images.Waiting):
            self._wait(slot, outcome.reason, outcome.message)
            return outcome.seconds
        slot.state.image_id = images.image_id(slot.state.spec["image"], outcome)
        try:
            sources = environment.Sources(self.k.client, self.pod["metadata"]["namespace"])
            env = await environment.resolve(sources, self.pod, slot.state.spec, self._addresses())
        except environment.ConfigError as error:
            self._event("Warning", "Failed", f"Error: {error}", slot)
            self._wait(slot, "CreateContainerConfigError", str(error))
            slot.look_at = now + CONFIG_RETRY
            return CONFIG_RETRY
        if is_terminating(self.pod):  # deleted while the configuration was read
            return 0.0
        self._start(slot, env)
        return None

    def _wait(self, slot: Slot, reason: str, message: str = "") -> None:
        if slot.state.exit_code is not None:
            slot.state.last = slot.state.state["terminated"]
        slot.state.ready = slot.state.started = False
        slot.state.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    def _back_off(self, slot: Slot) -> None:
        if slot.told_backoff:
            return
        slot.told_backoff = True
        meta = self.pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({self.uid})"
        pause = backoff.text(slot.crash.current)
        self._wait(
            slot, "CrashLoopBackOff", f"back-off {pause} restarting failed container={slot.name} pod={where}"
        )
        text = f"Back-off restarting failed container {slot.name} in pod {where}"
        self._event("Warning", "BackOff", text, slot)

    def _start(self, slot: Slot, env: dict[str, str]) -> None:
        if slot.starts:
            slot.state.restarts += 1
            slot.crash.next(self.k.now())
        if slot.state.exit_code is not None:
            slot.state.last = slot.state.state["terminated"]
        slot.starts += 1
        slot.told_backoff = False
        now = self.k.clock.now()
        self._launch(slot, env, now, secrets.token_hex(32))
        slot.state.state = {"running": {"startedAt": stamp(now)}}
        self._event("Normal", "Created", f"Created container: {slot.name}", slot)
        self._event("Normal", "Started", f"Started container {slot.name}", slot)

    def _launch(
        self,
        slot: Slot,
        env: dict[str, str],
        at: dt.datetime,
        container_id: str,
        adopted: Manifest | None = None,
    ) -> None:
        """Make the running instance of a slot; `adopted` is its old status when it runs already."""
        output = self.k.logs.open(self.uid, slot.name, slot.state.restarts)
        instance = ContainerInstance(
            pod=self.ref,
            spec=slot.state.spec,
            env=env,
            workload=self.k.images.workload(slot.state.spec["image"], slot.name),
            log=output,
            restarts=slot.state.restarts,
            started_at=at,
            container_id=container_id,
            clock=self.k.clock,
            services=self.k.services,
        )
        slot.instance = instance
        slot.state.container_id = f"containerd://{container_id}"
        # what a taken-over program printed at its start is in its log already
        quiet, instance.alive = adopted is not None and bool(output.lines), True
        if quiet:
            instance.alive = False
        plan = instance.start()
        instance.alive = True
        if plan is not None:
            left = max(0.0, plan.after - self.k.clock.since(at))
            loop = asyncio.get_running_loop()
            slot.timer = loop.call_later(self.k.clock.scaled(left), self._exited, slot, instance, plan)
        slot.prober = Prober(
            instance,
            self.k.clock,
            changed=lambda: self._probed(slot),
            kill=lambda kind: self._probe_kill(slot, kind),
            failed=lambda kind, text: self._probe_failed(slot, kind, text),
        )
        slot.prober.start(
            started=bool(adopted and adopted.get("started")), ready=bool(adopted and adopted.get("ready"))
        )
        slot.state.started, slot.state.ready = slot.prober.started, slot.prober.ready

    # what happens to a running container ----------------------------------------------------------------

    def _probed(self, slot: Slot) -> None:
        if slot.prober is not None:
            slot.state.started, slot.state.ready = slot.prober.started, slot.prober.ready
            self.wake.set()

    def _probe_failed(self, slot: Slot, kind: Kind, text: str) -> None:
        self._event("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {text}", slot)

    def _probe_kill(self, slot: Slot, kind: Kind) -> None:
        text = f"Container {slot.name} failed {kind} probe, will be restarted"
        self._event("Normal", "Killing", text, slot)
        self._schedule_exit(slot, Exit(STOP_SECONDS, SIGTERM_EXIT))

    def kill(self, container: str, plan: Exit) -> bool:
        """End a running container by force, e.g. out of memory; False when it does not run."""
        for slot in self.slots:
            if slot.name == container and slot.instance is not None and slot.instance.alive:
                self._schedule_exit(slot, plan)
                return True
        return False

    def _schedule_exit(self, slot: Slot, plan: Exit) -> None:
        if slot.timer is not None:
            slot.timer.cancel()
        loop = asyncio.get_running_loop()
        delay = self.k.clock.scaled(plan.after)
        slot.timer = loop.call_later(delay, self._exited, slot, slot.instance, plan)

    def _exited(self, slot: Slot, instance: ContainerInstance | None, plan: Exit) -> None:
        if instance is None or slot.instance is not instance or not instance.alive:
            return
        for line in plan.log:
            instance.log(line)
        self._end_instance(slot)
        slot.failed_at = self.k.now()
        slot.look_at = slot.failed_at + RELIST  # until then the status shows how it ended
        slot.state.ready = slot.state.started = False
        finished = self.k.clock.now()
        slot.state.state = {
            "terminated": terminated(
                plan.code, plan.reason, instance.started_at, finished, slot.state.container_id
            )
        }
        self.wake.set()

    def _end_instance(self, slot: Slot) -> None:
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        if slot.prober is not None:
            slot.prober.stop()
            slot.prober = None
        if slot.instance is not None:
            slot.instance.end()
            slot.instance = None

    # the end --------------------------------------------------------------------------------------------

    async def _terminate(self) -> float | None:
        now = self.k.now()
        grace = float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        running = [slot for slot in self.slots if slot.instance is not None]
        if self._stopping_since is None:
            self._stopping_since = now
            self._stop_after = min(grace, max((_stop_time(slot) for slot in running), default=0.0))
            for slot in running:
                self._event("Normal", "Killing", f"Stopping container {slot.name}", slot)
        left = min(self._stop_after, grace) - (now - self._stopping_since)
        if running and left > 0:
            await self._write_status()
            return left
        for slot in running:
            forced = self._stop_after >= grace > 0
            code = 137 if forced else SIGTERM_EXIT
            self._exited(slot, slot.instance, Exit(0.0, code))
        if self.pod.get("status"):
            await self._write_status()
        meta = self.pod["metadata"]
        with contextlib.suppress(ApiError):
            await self.k.client.delete(PODS, meta["namespace"], meta["name"], grace=0, uid=self.uid)
        return 30.0

    # status ---------------------------------------------------------------------------------------------

    def _addresses(self) -> Manifest:
        host = self.k.host_ip(self.node)
        return {"hostIP": host, "podIP": self.ip}

    def _event(self, kind: str, reason: str, message: str, slot: Slot | None = None) -> None:
        path = None
        if slot is not None:
            path = f"spec.{'initContainers' if slot.init else 'containers'}{{{slot.name}}}"
        self.recorder.event(self.pod, kind, reason, message, path)

    def compute_status(self) -> Manifest:
        """The whole status as it should read now."""
        before = self.pod.get("status") or {}
        inits, mains = [s.state for s in self.inits], [s.state for s in self.mains]
        phase = phase_of(self.pod["spec"].get("restartPolicy", "Always"), inits, mains)
        gates = [gate["conditionType"] for gate in self.pod["spec"].get("readinessGates") or []]
        gates_ready = all((condition(self.pod, gate) or {}).get("status") == "True" for gate in gates)
        status: Manifest = {
            **before,
            "phase": phase,
            "conditions": conditions_of(
                list(before.get("conditions") or []), phase, inits, mains, gates_ready, self.k.clock.now()
            ),
            "qosClass": before.get("qosClass") or qos_class(self.pod),
            "containerStatuses": [state.as_status() for state in mains],
        }
        if self.started_at is not None:
            status["startTime"] = stamp(self.started_at)
        if self.ip:
            host = self.k.host_ip(self.node)
            status |= {"hostIP": host, "hostIPs": [{"ip": host}]}
            if phase not in {"Succeeded", "Failed"} or before.get("podIP"):
                status |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        if inits:
            status["initContainerStatuses"] = [state.as_status() for state in inits]
        return status

    async def _write_status(self) -> None:
        before = self.pod.get("status") or {}
        status = self.compute_status()
        change = {name: value for name, value in status.items() if before.get(name) != value}
        if not change:
            return
        meta = self.pod["metadata"]
        body = {"metadata": {"uid": self.uid}, "status": change}
        self._writing = _signature(status)
        written = await self.k.client.patch(
            PODS, meta["namespace"], meta["name"], body, "merge", subresource="status"
        )
        self._written = self._writing
        self.k.pods.observe(written)

    # after a restart of this process or a replaced state ------------------------------------------------

    def _take_over(self, status: Manifest) -> None:
        known = {entry["name"]: entry for entry in status.get("containerStatuses") or []}
        known |= {entry["name"]: entry for entry in status.get("initContainerStatuses") or []}
        for slot in self.slots:
            entry = known.get(slot.name)
            if entry is None:
                continue
            state = entry.get("state") or {}
            slot.state.restarts = int(entry.get("restartCount") or 0)
            slot.state.last = (entry.get("lastState") or {}).get("terminated")
            slot.state.image_id = entry.get("imageID") or ""
            slot.state.container_id = entry.get("containerID") or ""
            if slot.state.last or "running" in state or "terminated" in state:
                slot.starts = slot.state.restarts + 1
            if slot.state.restarts:
                slot.crash.current = min(
                    backoff.CRASH_BASE * 2.0 ** min(slot.state.restarts - 1, 10), backoff.CRASH_CAP
                )
                slot.crash.updated = slot.failed_at = self.k.now()
            if state:
                slot.state.state = state
            if slot.state.image_id and "@" in slot.state.image_id:
                digest = slot.state.image_id.rsplit("@", 1)[1]
                self.k.cache.add(self.node, str(slot.state.spec["image"]), digest)

    async def resume(self) -> None:
        """Run again the containers that the status says are running; their start and restarts are kept."""
        sources = environment.Sources(self.k.client, self.pod["metadata"]["namespace"])
        status = self.pod.get("status") or {}
        entries = (status.get("containerStatuses") or []) + (status.get("initContainerStatuses") or [])
        known = {entry["name"]: entry for entry in entries}
        for slot in self.slots:
            if not slot.state.running:
                continue
            try:
                env = await environment.resolve(sources, self.pod, slot.state.spec, self._addresses())
            except environment.ConfigError:
                env = {}  # what it needed is gone since; a process that runs keeps what it had read
            started = parse_stamp(slot.state.state["running"]["startedAt"])
            container_id = slot.state.container_id.removeprefix("containerd://") or secrets.token_hex(32)
            self.k.images.pull(str(slot.state.spec["image"]), self.pod)
            self._launch(slot, env, started, container_id, adopted=known.get(slot.name))

    async def _missing_volume(self) -> str:
        """The kubelet's FailedMount text when a volume's ConfigMap or Secret does not exist, else ''."""
        if any(slot.starts for slot in self.slots):
            return ""
        sources = environment.Sources(self.k.client, self.pod["metadata"]["namespace"])
        for volume in self.pod["spec"].get("volumes") or []:
            for part, kind, field_name in (
                ("configMap", "configmap", "name"),
                ("secret", "secret", "secretName"),
            ):
                source = volume.get(part)
                if not source or source.get("optional"):
                    continue
                name = source.get(field_name, "")
                found = await (sources.configmap(name) if part == "configMap" else sources.secret(name))
                if found is None:
                    for slot in self.slots:
                        slot.state.state = {"waiting": {"reason": "ContainerCreating"}}
                    return (
                        f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind} "{name}" not found'
                    )
        return ""


def _waiting(spec: Manifest) -> ContainerState:
    return ContainerState(spec=spec, state={"waiting": {"reason": "ContainerCreating"}})


def _signature(status: Manifest) -> list[tuple[str, str, int, str]]:
    """What tells a status written by this worker from one of another time."""
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


def _stop_time(slot: Slot) -> float:
    """Platform seconds until a container has ended after it was told to: its preStop hook and then itself."""
    hook = (slot.state.spec.get("lifecycle") or {}).get("preStop") or {}
    seconds = float((hook.get("sleep") or {}).get("seconds") or 0)
    command = " ".join((hook.get("exec") or {}).get("command") or []).split()
    if "sleep" in command[:-1]:
        value = command[command.index("sleep") + 1]
        seconds = float(value) if value.replace(".", "", 1).isdigit() else 0.0
    return seconds + STOP_SECONDS
