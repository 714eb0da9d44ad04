"""One pod's life: containers start, fail, back off, restart and end; its status follows.

Source: kubernetes pkg/kubelet (syncPod, pod_workers), pkg/kubelet/kuberuntime (computePodActions, doBackOff).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import secrets
from typing import TYPE_CHECKING

from opslib.sandbox.client import PODS, ApiError, Manifest, UnreachableError
from opslib.sandbox.clock import parse_stamp, stamp
from opslib.sandbox.controllers.objects import is_terminating
from opslib.sandbox.kubelet import backoff, environment, images
from opslib.sandbox.kubelet.container import ContainerInstance, PodRef
from opslib.sandbox.kubelet.probes import Kind, Prober
from opslib.sandbox.kubelet.slots import STOP_SECONDS, Slot, signature
from opslib.sandbox.kubelet.status import pod_status, terminated
from opslib.sandbox.workloads.protocol import Exit

if TYPE_CHECKING:
    from opslib.sandbox.kubelet.kubelet import Kubelet

log = logging.getLogger(__name__)

CONFIG_RETRY = 10.0  # platform seconds until a missing ConfigMap or volume is looked for again
RELIST = 1.0  # platform seconds until the kubelet acts on an end (its relist period)
SIGTERM_EXIT = 143


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
        self.inits = [Slot.of(spec, init=True) for spec in pod["spec"].get("initContainers") or []]
        self.mains = [Slot.of(spec) for spec in pod["spec"].get("containers") or []]
        self.task: asyncio.Task[None] | None = None
        self._stopping_since: float | None = None
        self._stop_after = 0.0
        self._written = self._writing = signature(status)
        self.ended = False
        entries = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
        self._known: dict[str, Manifest] = {entry["name"]: entry for entry in entries}
        for slot in self.slots:
            if slot.name in self._known:
                slot.remember(self._known[slot.name], kubelet.now())
                _, at, digest = slot.state.image_id.rpartition("@")
                if at:
                    kubelet.cache.add(self.node, str(slot.state.spec["image"]), digest)

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
        if signature(pod.get("status") or {}) not in (self._written, self._writing):
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
        missing = ""
        if not any(slot.starts for slot in self.slots):
            sources = environment.Sources(self.k.client, self.pod["metadata"]["namespace"])
            missing = await environment.missing_volume(sources, self.pod)
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
            self._stop_after = min(grace, max((slot.stop_time() for slot in running), default=0.0))
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
        return pod_status(
            self.pod,
            [slot.state for slot in self.inits],
            [slot.state for slot in self.mains],
            self._addresses() if self.ip else None,
            self.started_at,
            self.k.clock.now(),
        )

    async def _write_status(self) -> None:
        before = self.pod.get("status") or {}
        status = self.compute_status()
        change = {name: value for name, value in status.items() if before.get(name) != value}
        if not change:
            return
        meta = self.pod["metadata"]
        body = {"metadata": {"uid": self.uid}, "status": change}
        self._writing = signature(status)
        written = await self.k.client.patch(
            PODS, meta["namespace"], meta["name"], body, "merge", subresource="status"
        )
        self._written = self._writing
        self.k.pods.observe(written)

    # after a restart of this process or a replaced state ------------------------------------------------

    async def resume(self) -> None:
        """Run again the containers that the status says are running; their start and restarts are kept."""
        sources = environment.Sources(self.k.client, self.pod["metadata"]["namespace"])
        for slot in self.slots:
            if not slot.state.running:
                continue
            try:
                env = await environment.resolve(sources, self.pod, slot.state.spec, self._addresses())
            except environment.ConfigError:
                env = {}  # what it had read is gone since
            started = parse_stamp(slot.state.state["running"]["startedAt"])
            container_id = slot.state.container_id.removeprefix("containerd://") or secrets.token_hex(32)
            self.k.images.pull(str(slot.state.spec["image"]), self.pod)
            self._launch(slot, env, started, container_id, adopted=self._known.get(slot.name))
