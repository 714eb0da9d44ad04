"""All controllers of a cluster in one process (kube-controller-manager and kube-scheduler)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from opslib.sandbox.client import Client
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers.argocd import ArgoController
from opslib.sandbox.controllers.deployment import DeploymentController
from opslib.sandbox.controllers.disruption import DisruptionController
from opslib.sandbox.controllers.endpoints import EndpointsController, EndpointSliceController
from opslib.sandbox.controllers.events import EventSink, Recorder
from opslib.sandbox.controllers.hpa import HpaController
from opslib.sandbox.controllers.job import JobController
from opslib.sandbox.controllers.node import NodeController, TaintEvictionController
from opslib.sandbox.controllers.replicaset import ReplicaSetController
from opslib.sandbox.controllers.runtime import Context, Controller
from opslib.sandbox.controllers.scheduler import Scheduler
from opslib.sandbox.controllers.statefulset import StatefulSetController
from opslib.sandbox.informer import Informers

CONTROLLERS: tuple[type[Controller], ...] = (
    DeploymentController,
    ReplicaSetController,
    Scheduler,
    EndpointsController,
    EndpointSliceController,
    StatefulSetController,
    JobController,
    DisruptionController,
    HpaController,
    NodeController,
    TaintEvictionController,
)


class Manager:
    """Builds and runs the controllers; share its `informers` and `recorder` with the kubelet."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        state: Path | None = None,
        only: Sequence[type[Controller]] | None = None,
    ) -> None:
        self.sink = EventSink(client, clock)
        self.recorder = Recorder(self.sink, "controller-manager")
        self.context = Context(client, informers, clock, self.recorder)
        self.controllers = [kind(self.context) for kind in (CONTROLLERS if only is None else only)]
        if state is not None and only is None:
            self.controllers.append(ArgoController(self.context, state))

    def add(self, controller: Controller) -> None:
        """Run one more controller; before `run`."""
        self.controllers.append(controller)

    async def run(self) -> None:
        """Run until cancelled."""
        await self.context.informers.start()
        tasks = [asyncio.create_task(c.run(), name=c.name) for c in self.controllers]
        tasks.append(asyncio.create_task(self.sink.run(), name="events"))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
