"""All nodes' kubelets in one: a worker a pod, what they share, and what the edge and metrics ask for.

A node annotated `sandbox.opslib/kubelet: stopped` is a machine that is away: its pods are left as they are and
answer nothing, and its node stops reporting (the node controller draws the consequences).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from opslib.sandbox.client import NODES, PODS, Client, Manifest
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers.events import Recorder
from opslib.sandbox.controllers.node import is_away
from opslib.sandbox.controllers.objects import quantity
from opslib.sandbox.informer import Informers
from opslib.sandbox.kubelet.container import ContainerInstance
from opslib.sandbox.kubelet.images import ImageCache
from opslib.sandbox.kubelet.logs import LogStore
from opslib.sandbox.kubelet.pod import PodWorker
from opslib.sandbox.workloads.protocol import Exit, Images, ServiceDirectory, Usage

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 15.0  # platform seconds; metrics-server's resolution
OOM_EXIT = 137


@dataclass(frozen=True)
class Sample:
    """What a pod's containers used at a moment."""

    at: dt.datetime
    containers: dict[str, Usage]


class Addresses:
    """Pod addresses 10.4.NODE.N: unique while in use; nobody listens there."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._subnets: dict[str, int] = {}
        self._next: dict[str, int] = {}

    def take(self, node: str) -> str:
        subnet = self._subnets.setdefault(node, len(self._subnets) + 1)
        for _ in range(65000):
            number = self._next.get(node, 1) + 1
            self._next[node] = number if number < 250 else 1
            address = str(ipaddress.ip_address(f"10.4.{subnet % 256}.{number}"))
            if address not in self._used:
                self._used.add(address)
                return address
        raise RuntimeError(f"no pod address is left on node {node}")

    def hold(self, address: str) -> None:
        """Note an address that is in use already."""
        if address:
            self._used.add(address)

    def release(self, address: str) -> None:
        self._used.discard(address)


class Kubelet:
    """Runs the pods that are bound to nodes (workloads.protocol.Runtime)."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        images: Images,
        services: ServiceDirectory,
        recorder: Recorder,
        log_folder: Path | None = None,
    ) -> None:
        self.client = client
        self.clock = clock
        self.images = images
        self.services = services
        self.recorder = recorder
        self.cache = ImageCache()
        self.logs = LogStore(log_folder)
        self.addresses = Addresses()
        self.samples: dict[str, Sample] = {}
        self.workers: dict[str, PodWorker] = {}
        self.pods = informers.of(PODS)
        self.nodes = informers.of(NODES)
        self._running = False

    def now(self) -> float:
        """Platform seconds on a clock that only runs forward."""
        return asyncio.get_running_loop().time() * self.clock.speed

    def host_ip(self, node: str) -> str:
        obj = self.nodes.get(node)
        for entry in (((obj or {}).get("status") or {}).get("addresses")) or []:
            if entry.get("type") == "InternalIP":
                return str(entry["address"])
        return "127.0.0.1"

    def away(self, node: str) -> bool:
        """Whether a node's machine is away (its annotation says so, or the node does not exist)."""
        obj = self.nodes.get(node)
        return obj is None or is_away(obj)

    # lookups --------------------------------------------------------------------------------------------

    def container(self, pod_uid: str, container_name: str) -> ContainerInstance | None:
        """A running container, or None."""
        worker = self.workers.get(pod_uid)
        if worker is None or self.away(worker.node):
            return None
        for slot in worker.slots:
            if slot.name == container_name:
                return slot.instance
        return None

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by its name."""
        pod = self.pods.get(f"{namespace}/{name}")
        return None if pod is None else self.workers.get(pod["metadata"]["uid"])

    # life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run pods until cancelled."""
        await self.nodes.synced.wait()
        await self.pods.synced.wait()
        self._running = True
        self.pods.on_change(self._pod_changed)
        self.nodes.on_change(self._node_changed)
        try:
            await asyncio.gather(self._sample_forever(), self._flush_forever())
        finally:
            self._running = False
            tasks = [worker.task for worker in self.workers.values() if worker.task]
            for worker in self.workers.values():
                worker.stop()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.workers.clear()
            self.logs.flush()

    def rebuild(self) -> None:
        """Forget all containers and take the pods over anew from what the API says."""
        for uid in list(self.workers):
            self._drop(uid, keep_logs=True)
        for pod in self.pods.all():
            self._pod_changed(None, pod)

    def _pod_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if not self._running:
            return
        if new is None:
            if old is not None:
                self._drop(old["metadata"]["uid"])
            return
        node = new["spec"].get("nodeName")
        if not node or self.nodes.get(node) is None:
            return
        uid = new["metadata"]["uid"]
        worker = self.workers.get(uid)
        if worker is not None:
            if worker.update(new):
                return
            self._drop(uid, keep_logs=True)
        if not self.away(node):
            self._adopt(new)

    def _node_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        node = (new or old or {})["metadata"]["name"]
        was = old is None or is_away(old)
        now_away = self.away(node)
        if was == now_away and old is not None:
            return
        for pod in self.pods.all():
            if pod["spec"].get("nodeName") == node:
                if now_away:
                    self._drop(pod["metadata"]["uid"], keep_logs=True)
                elif pod["metadata"]["uid"] not in self.workers:
                    self._pod_changed(None, pod)

    def _adopt(self, pod: Manifest) -> None:
        worker = PodWorker(self, pod)
        self.addresses.hold(worker.ip)
        self.workers[worker.uid] = worker
        worker.task = asyncio.create_task(self._live(worker), name=f"pod {pod['metadata']['name']}")

    async def _live(self, worker: PodWorker) -> None:
        try:
            await worker.resume()
            await worker.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the worker of pod %s failed; it is started anew", worker.pod["metadata"]["name"])
            await asyncio.sleep(1.0)
            if self.workers.get(worker.uid) is worker:
                self._drop(worker.uid, keep_logs=True)
                current = self.pods.get(
                    f"{worker.pod['metadata']['namespace']}/{worker.pod['metadata']['name']}"
                )
                if current is not None:
                    self._pod_changed(None, current)

    def _drop(self, uid: str, keep_logs: bool = False) -> None:
        worker = self.workers.pop(uid, None)
        self.samples.pop(uid, None)
        if worker is not None:
            worker.stop()
            self.addresses.release(worker.ip)
        if not keep_logs:
            self.logs.drop(uid)

    # usage ----------------------------------------------------------------------------------------------

    async def _sample_forever(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(max(0.5, self.clock.scaled(SAMPLE_SECONDS)))

    def sample(self) -> None:
        """Measure every running container; one above its memory limit is killed by the kernel."""
        now = self.clock.now()
        for uid, worker in list(self.workers.items()):
            used: dict[str, Usage] = {}
            for slot in worker.slots:
                if slot.instance is None:
                    continue
                usage = slot.instance.usage()
                used[slot.name] = usage
                limit = ((slot.state.spec.get("resources") or {}).get("limits") or {}).get("memory")
                if limit is not None and usage.memory_bytes > quantity(limit):
                    worker.kill(slot.name, Exit(0.0, OOM_EXIT, "OOMKilled"))
            if used:
                self.samples[uid] = Sample(now, used)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.logs.flush()
