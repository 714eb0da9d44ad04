"""The platform behind the API: controllers, kubelet, edge, traffic and exporter in one process.

python -m opslib.sandbox.platform --state DIR --speed N [--kubeconfig FILE]

All of it are clients of the Kubernetes API. SIGTERM ends it cleanly; killed and started again it takes the
running pods over and listens on the ports it had.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from opslib.sandbox.client import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    INGRESSES,
    NODES,
    PODS,
    SERVICES,
    ApiError,
    Client,
    Connection,
    Manifest,
    UnreachableError,
)
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers.manager import Manager
from opslib.sandbox.informer import Informers
from opslib.sandbox.kubelet.kubelet import Kubelet
from opslib.sandbox.kubelet.server import KubeletServer
from opslib.sandbox.state import read_json, write_atomic
from opslib.sandbox.workloads.edge import Edge
from opslib.sandbox.workloads.edge_server import Certificates, EdgeServer, announce, listen
from opslib.sandbox.workloads.exporter import Exporter
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.kube_state import KubeState
from opslib.sandbox.workloads.network import Network
from opslib.sandbox.workloads.registry import Registry
from opslib.sandbox.workloads.stores import Stores
from opslib.sandbox.workloads.traffic import Traffic

log = logging.getLogger("opslib.sandbox.platform")
NEEDED = (PODS, NODES, SERVICES, ENDPOINTSLICES, INGRESSES, DEPLOYMENTS)  # without these nothing is answered
FIRST_DAY = 60.0  # real seconds that traffic waits for a new platform at most
TAKE_OVER = 3.0  # real seconds that a restore waits for the kubelet at most
TOLD_EVERY = 1.0  # real seconds between two looks at what the API should know of us


class GatedClient(Client):
    """A client whose writes can be refused for a while: when the whole state is about to be replaced.

    Otherwise a controller that has seen the new ReplicaSets but still the old pods would create them again.
    """

    def __init__(self, connection: Connection, user_agent: str = "opslib-sandbox") -> None:
        super().__init__(connection, user_agent)
        self.open = True
        self._writing = 0

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = 30.0,  # noqa: ASYNC109 - as in Client
    ) -> Manifest:
        if method == "GET":
            return await super().request(method, path, body, params, content_type, timeout)
        if not self.open:
            raise UnreachableError(f"{method} {path}: the state is being replaced")
        self._writing += 1
        try:
            return await super().request(method, path, body, params, content_type, timeout)
        finally:
            self._writing -= 1

    async def close_gate(self) -> None:
        """Refuse writes from now on; returns when those on their way have ended."""
        self.open = False
        while self._writing:  # noqa: ASYNC110 - a counter of many, looked at once a restore
            await asyncio.sleep(0.005)


class Platform:
    """Everything that lives behind the API of one sandbox."""

    def __init__(self, state: Path, speed: float, kubeconfig: Path) -> None:
        self.state = state
        self.client = GatedClient(Connection.from_kubeconfig(kubeconfig))
        self.informers = Informers(self.client)
        clock = Clock(speed)
        config_maps = self.informers.of(CONFIGMAPS)
        metrics = GatewayMetrics()
        self.network = Network(self.informers)
        self.manager = Manager(self.client, self.informers, clock, state)
        self.images = Registry(Stores(state), metrics, lambda space, name: config_maps.get(f"{space}/{name}"))
        self.kubelet = Kubelet(
            self.client,
            self.informers,
            clock,
            self.images,
            self.network,
            self.manager.recorder,
            state / "platform" / "pods",
        )
        self.edge = Edge(self.informers, self.network)
        kube = KubeState(self.informers)
        self.exporter = Exporter(self.edge, metrics, kube, state / "platform" / "counters.json")
        self.network.attach(self.kubelet)
        self.edge.attach(self.kubelet)
        kube.attach(self.kubelet)
        self.edge_server = EdgeServer(self.edge, Certificates(self.informers))
        self.kubelet_server = KubeletServer(self.kubelet)
        self.traffic = Traffic(self.edge)
        self._runners: list[web.AppRunner] = []
        self.ports: dict[str, int] = {}

    async def run(self) -> None:
        """Listen, announce the addresses, run until cancelled."""
        await self.informers.start()
        await self._listen()
        tasks = [
            asyncio.create_task(job, name=name)
            for name, job in (
                ("controllers", self.manager.run()),
                ("kubelet", self.kubelet.run()),
                ("announce", self._tell_forever()),
                ("counters", self.exporter.run()),
                ("traffic", self._send_traffic()),
            )
        ]
        self._write_address()
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _send_traffic(self) -> None:
        await self.informers.wait_synced()
        if self.exporter.first_life:
            # users come when the doors open: a start-up is not an incident in the metrics
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_available(), FIRST_DAY)
        await self.traffic.run()

    async def _all_available(self) -> None:
        deployments = self.informers.of(DEPLOYMENTS)
        while not len(deployments) or any(  # noqa: ASYNC110 - once in a sandbox's life
            int((one.get("status") or {}).get("availableReplicas") or 0) < one["spec"].get("replicas", 1)
            for one in deployments
        ):
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        before = _ports(read_json(self.state / "platform" / "address.json"))
        http_port, https_port = await self.edge_server.start(
            before.get("edge_http", 0), before.get("edge_https", 0)
        )
        pki = self.state / "pki"
        self.ports = {
            "edge_http": http_port,
            "edge_https": https_port,
            "kubelet": await self.kubelet_server.start(
                before.get("kubelet", 0), pki / "kubelet.crt", pki / "kubelet.key"
            ),
            "exporter": await self._serve([web.get("/metrics", self._metrics)], before.get("exporter", 0)),
            "control": await self._serve(
                [
                    web.get("/healthz", self._healthz),
                    web.post("/pause", self._pause),
                    web.post("/reset", self._reset),
                ],
                before.get("control", 0),
            ),
        }

    async def _serve(self, routes: list[web.RouteDef], port: int) -> int:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        return await listen(runner, port)

    def _write_address(self) -> None:
        host = "127.0.0.1"
        address = {
            "pid": os.getpid(),
            "kubelet": f"https://{host}:{self.ports['kubelet']}",
            "edge_http": f"http://{host}:{self.ports['edge_http']}",
            "edge_https": f"https://{host}:{self.ports['edge_https']}",
            "exporter": f"http://{host}:{self.ports['exporter']}/metrics",
            "control": f"http://{host}:{self.ports['control']}",
        }
        write_atomic(self.state / "platform" / "address.json", json.dumps(address, indent=1) + "\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.exporter.text(), content_type="text/plain")

    async def _healthz(self, _: web.Request) -> web.Response:
        unsynced = [one.plural for one in NEEDED if not self.informers.of(one).synced.is_set()]
        if unsynced:
            return web.Response(status=503, text=f"not yet listed: {', '.join(sorted(unsynced))}\n")
        return web.Response(text=f"ok: {len(self.kubelet.workers)} pods, {self.traffic.sent} requests sent\n")

    async def _pause(self, _: web.Request) -> web.Response:
        """Before a state restore: change nothing any more until /reset."""
        self.traffic.paused = True
        await self.client.close_gate()
        return web.Response(text="ok\n")

    async def _reset(self, _: web.Request) -> web.Response:
        """After a state restore: list everything anew, take the pods over, count from the healthy past, act."""
        self.traffic.paused = True
        await self.client.close_gate()
        lists = {informer.resource: informer.lists for informer in self.informers.all()}
        await self.informers.stop()
        await self.informers.start()
        while any(  # noqa: ASYNC110 - some milliseconds, once a restore
            self.informers.of(resource).lists <= count for resource, count in lists.items()
        ):
            await asyncio.sleep(0.005)
        for controller in self.manager.controllers:
            controller.forget()
        self.images.reset()
        self.kubelet.rebuild()
        with contextlib.suppress(TimeoutError):  # a restored state may hold pods that cannot be taken over
            await asyncio.wait_for(self._all_taken_over(), TAKE_OVER)
        self.exporter.reset()
        self.client.open = True
        self.traffic.paused = False
        return web.Response(text="ok\n")

    async def _all_taken_over(self) -> None:
        """Until every container that its pod's status calls running is run by the kubelet."""
        expected = [
            (pod["metadata"]["uid"], status["name"])
            for pod in self.informers.of(PODS)
            for status in (pod.get("status") or {}).get("containerStatuses") or []
            if "running" in (status.get("state") or {})
        ]
        for uid, name in expected:
            while self.kubelet.container(uid, name) is None:  # noqa: ASYNC110 - some milliseconds
                await asyncio.sleep(0.005)

    async def _tell_forever(self) -> None:
        """Keep the API's picture of us true: the kubelet's port in the nodes, the edge's in the Ingresses."""
        await self.informers.wait_synced(NODES, INGRESSES)
        while True:
            with contextlib.suppress(ApiError, UnreachableError):
                await self._tell_nodes()
                await announce(self.client, self.informers, self.ports["edge_http"], self.ports["edge_https"])
            await asyncio.sleep(TOLD_EVERY)

    async def _tell_nodes(self) -> None:
        endpoint = {"kubeletEndpoint": {"Port": self.ports["kubelet"]}}
        stale = [
            node["metadata"]["name"]
            for node in self.informers.of(NODES)
            if (node.get("status") or {}).get("daemonEndpoints") != endpoint
        ]
        for name in stale:
            await self.client.patch(
                NODES, None, name, {"status": {"daemonEndpoints": endpoint}}, "merge", "status"
            )

    async def _close(self) -> None:
        await self.edge_server.stop()
        await self.kubelet_server.stop()
        for runner in self._runners:
            await runner.cleanup()
        await self.informers.stop()
        await self.client.close()


def _ports(address: Any) -> dict[str, int]:
    """The ports of an earlier life, by part; empty when there was none."""
    if not isinstance(address, dict):
        return {}
    found = {key: urlsplit(value).port for key, value in address.items() if isinstance(value, str)}
    return {key: port for key, port in found.items() if port}


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends or SIGTERM or SIGINT comes."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m opslib.sandbox.platform", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the sandbox's folder")
    parser.add_argument("--speed", type=float, default=20.0, help="platform seconds per real second")
    parser.add_argument("--kubeconfig", type=Path, help="default: the state folder's platform/kubeconfig")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state = given.state.absolute()
    kubeconfig = given.kubeconfig or state / "platform" / "kubeconfig"

    async def work() -> None:
        await until_signal(Platform(state, given.speed, kubeconfig).run())

    asyncio.run(work())


if __name__ == "__main__":
    main()
