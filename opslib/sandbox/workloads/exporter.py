"""One /metrics endpoint for the sandbox's Prometheus: edge, gateway and cluster state."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from opslib.sandbox.workloads import history, metrics
from opslib.sandbox.workloads.edge import Edge
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.kube_state import KubeState

SAVE_EVERY = 2.0  # real seconds


class Exporter:
    """Renders the series; keeps the counters in a file, so that a restarted process counts on."""

    def __init__(self, edge: Edge, gateway: GatewayMetrics, kube: KubeState, file: Path) -> None:
        self._edge = edge
        self._gateway = gateway
        self._kube = kube
        self._file = file
        self.first_life = not file.exists()
        metrics.restore(file, (*edge.families, *gateway.families))
        history.take_over(edge.families, gateway.families, time.time())

    def text(self) -> str:
        """The current values in Prometheus' text format."""
        lines = [line for family in self._edge.families for line in family.lines()]
        return "\n".join([*lines, *self._gateway.lines(), *self._kube.lines()]) + "\n"

    def reset(self) -> None:
        """Forget what was counted: the state was restored, and Prometheus with it."""
        for family in (*self._edge.families, *self._gateway.families):
            family.values.clear()
        history.take_over(self._edge.families, self._gateway.families, time.time())
        self.save()

    def save(self) -> None:
        metrics.save(self._file, (*self._edge.families, *self._gateway.families))

    async def run(self) -> None:
        """Save the counters now and then, until cancelled."""
        try:
            while True:
                await asyncio.sleep(SAVE_EVERY)
                self.save()
        finally:
            self.save()
