"""A small cluster for tests: the real API process, the real controllers and kubelet, programs of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from opslib.sandbox import pki
from opslib.sandbox.client import (
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    ApiError,
    Client,
    Manifest,
    Resource,
    UnreachableError,
)
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers.manager import Manager
from opslib.sandbox.informer import Informers
from opslib.sandbox.kubelet.kubelet import Kubelet
from opslib.sandbox.kubelet.server import KubeletServer
from opslib.sandbox.state import Sandbox
from opslib.sandbox.workloads.protocol import Container, ExecResult, Exit, HttpAnswer, Pull, Usage

SPEED = 50.0


class NoServices:
    """No cluster networking."""

    def call(self, service: str, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer | None:
        return None


@dataclass
class Programs:
    """Images whose tag says what they do; a test may change `health` and `memory` while they run.

    ok: serves; crash: exits 1 after a second; unready: answers 503 to readiness; done: exits 0 after two
    seconds; fail: exits 3 after a second; missing: cannot be pulled.
    """

    health: dict[str, int] = field(default_factory=dict)  # pod name -> status of every answer
    memory: dict[str, int] = field(default_factory=dict)  # pod name -> bytes
    started: list[tuple[str, str]] = field(default_factory=list)  # (pod, image)

    def pull(self, ref: str, pod: Manifest) -> Pull:
        if "missing" in ref:
            text = f'failed to resolve reference "{ref}": {ref}: not found'
            return Pull(False, f"rpc error: code = NotFound desc = {text}", 0.2)
        return Pull(True, "", 0.3, "sha256:" + f"{abs(hash(ref)):064x}"[:64])

    def workload(self, ref: str, container: str) -> Programs:
        return self

    def start(self, c: Container) -> Exit | None:
        tag = c.spec["image"].rsplit(":", 1)[1]
        self.started.append((c.pod["metadata"]["name"], c.spec["image"]))
        c.log(f"starting {tag}, attempt {c.restarts}")
        if tag.startswith("crash"):
            return Exit(1.0, 1, "Error", ["Error: GREETING is required"])
        if tag.startswith("fail"):
            return Exit(1.0, 3, "Error", ["it failed"])
        if tag.startswith("done"):
            return Exit(2.0, 0, "Completed", ["done"])
        return None

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        if port != 3000:
            return None
        c.log(f"{method} {path}") if path == "/hello" else None
        status = self.health.get(c.pod["metadata"]["name"], 200)
        if "unready" in c.spec["image"] and path == "/ready":
            status = 503
        return HttpAnswer(status, json.dumps({"path": path, "pod": c.pod["metadata"]["name"]}), 0.01)

    def usage(self, c: Container) -> Usage:
        return Usage(20, self.memory.get(c.pod["metadata"]["name"], 50 * 1024**2))

    async def exec(self, c: Container, argv: list[str], stdin: bytes | None) -> ExecResult:
        if argv[0] == "env":
            return ExecResult(0, "".join(f"{k}={v}\n" for k, v in sorted(c.env.items())).encode())
        if argv[0] == "cat":
            return ExecResult(0, stdin or b"")
        if argv[0] == "sleep":
            await asyncio.sleep(float(argv[1]))
            return ExecResult(0)
        return ExecResult(int(argv[-1]) if argv[-1].isdigit() else 0, b"out\n", b"err\n")


class Cluster:
    """The running cluster and what tests do with it."""

    def __init__(self, path: Path, speed: float) -> None:
        self.sandbox = Sandbox.at(path)
        self.sandbox.path.mkdir(parents=True, exist_ok=True)
        self.speed = speed
        self.clock = Clock(speed)
        self.programs = Programs()
        self.api: subprocess.Popen[bytes] | None = None
        self.kubelet_port = 0
        self._tasks: list[asyncio.Task[None]] = []
        pki.ensure(self.sandbox)

    # processes

    async def start_api(self) -> None:
        log = (self.sandbox.path / "api.log").open("ab")
        command = [sys.executable, "-m", "opslib.sandbox.api", "--state", str(self.sandbox.path)]
        self.api = subprocess.Popen([*command, "--speed", str(self.speed)], stdout=log, stderr=log)
        address = self.sandbox.path / "kube" / "address.json"
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(address.read_text())
                if found["pid"] == self.api.pid:
                    break
            assert self.api.poll() is None, (self.sandbox.path / "api.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the API did not start in time"
            await asyncio.sleep(0.05)
        pki.write_kubeconfigs(self.sandbox, found["url"])

    async def stop_api(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.api is not None
        self.api.send_signal(how)
        await asyncio.to_thread(self.api.wait)

    async def start(self) -> None:
        """Controllers and kubelet; started again after `stop` they take over what runs."""
        self.client = Client.from_kubeconfig(self.sandbox.kubeconfig)
        self.informers = Informers(self.client)
        self.manager = Manager(self.client, self.informers, self.clock, state=self.sandbox.path)
        self.kubelet = Kubelet(
            self.client,
            self.informers,
            self.clock,
            self.programs,
            NoServices(),
            self.manager.recorder,
            self.sandbox.path / "pods",
        )
        self.server = KubeletServer(self.kubelet)
        folder = self.sandbox.pki
        self.kubelet_port = await self.server.start(
            self.kubelet_port, folder / "kubelet.crt", folder / "kubelet.key"
        )
        address = self.sandbox.path / "platform" / "address.json"
        address.parent.mkdir(exist_ok=True)
        address.write_text(json.dumps({"kubelet": f"https://127.0.0.1:{self.kubelet_port}"}))
        self._tasks = [asyncio.create_task(self.manager.run()), asyncio.create_task(self.kubelet.run())]
        await self.informers.start()
        await asyncio.wait_for(self.informers.wait_synced(NODES, PODS, DEPLOYMENTS), 20)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        await self.server.stop()
        await self.informers.stop()
        await self.client.close()

    # objects

    async def add_nodes(self, count: int, **labels: str) -> None:
        for number in range(count):
            name = f"node-{number}"
            node = {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
                "spec": {},
                "status": {
                    "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
                    "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet_port}},
                },
            }
            created = await self.client.create(NODES, node)
            if not (created.get("status") or {}).get("allocatable"):
                await self.client.patch(NODES, None, name, {"status": node["status"]}, subresource="status")

    async def namespace(self, name: str) -> str:
        await self.client.create(NAMESPACES, {"metadata": {"name": name}})
        return name

    async def wait(self, what: str, check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
        """Ask until the answer is true; fails with what was waited for."""
        deadline = time.monotonic() + seconds
        while True:
            found: Any = None
            with contextlib.suppress(ApiError, UnreachableError):
                found = await check()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            await asyncio.sleep(0.05)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        return await self.client.get(resource, namespace, name)

    async def pods(self, namespace: str) -> list[Manifest]:
        return (await self.client.list(PODS, namespace))[0]

    async def events(self, namespace: str, reason: str) -> list[Manifest]:
        found, _ = await self.client.list(EVENTS, namespace)
        return [event for event in found if event["reason"] == reason]

    async def rolled_out(self, namespace: str, name: str, seconds: float = 20.0) -> Manifest:
        async def done() -> Manifest | None:
            d = await self.get(DEPLOYMENTS, namespace, name)
            status, replicas = d.get("status") or {}, d["spec"]["replicas"]
            good = (
                status.get("observedGeneration") == d["metadata"]["generation"]
                and status.get("updatedReplicas", 0) == replicas
                and status.get("replicas", 0) == replicas
                and status.get("availableReplicas", 0) == replicas
            )
            return d if good else None

        return await self.wait(f"deployment {name} rolled out", done, seconds)

    async def kubectl(self, *arguments: str, seconds: float = 30.0) -> tuple[int, str, str]:
        """Plain kubectl as the admin."""
        program = Path(sys.executable).parent / "kubectl"
        env = {**os.environ, "KUBECONFIG": str(self.sandbox.kubeconfig), "HOME": str(self.sandbox.path)}
        process = await asyncio.create_subprocess_exec(
            str(program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode()


def deployment(namespace: str, name: str, tag: str = "ok", replicas: int = 3, **spec: Any) -> Manifest:
    """A Deployment of one of the test programs, with quick probes."""
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2, "failureThreshold": 2}
    container = {
        "name": name,
        "image": f"test/{name}:{tag}",
        "ports": [{"name": "http", "containerPort": 3000}],
        "readinessProbe": probe,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    }
    labels = {"app.kubernetes.io/name": name}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
            },
            **spec,
        },
    }


@pytest.fixture(scope="module")
def make_deployment() -> Callable[..., Manifest]:
    return deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One cluster a module, with six nodes; everything it started is ended with it."""
    made = Cluster(tmp_path_factory.mktemp("cluster") / "sandbox", SPEED)
    await made.start_api()
    try:
        await made.start()
        try:
            await made.add_nodes(6)
            yield made
        finally:
            await made.stop()
    finally:
        await made.stop_api()
