"""The kubelet's HTTPS server: logs, exec, attach, port-forward, metrics, health.

Sources: kubernetes pkg/kubelet/server/server.go; metrics-server's metrics.k8s.io/v1beta1.
"""

from __future__ import annotations

import datetime as dt
import json
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import stamp
from opslib.sandbox.controllers.objects import matches
from opslib.sandbox.kubelet import portforward, streams
from opslib.sandbox.kubelet.container import ContainerInstance
from opslib.sandbox.kubelet.kubelet import SAMPLE_SECONDS, Kubelet, Sample
from opslib.sandbox.kubelet.logs import ContainerLog, LogOptions, parse_nano, read
from opslib.sandbox.kubelet.pod import PodWorker
from opslib.sandbox.kubelet.slots import Slot

METRICS = "/apis/metrics.k8s.io/v1beta1"


class KubeletServer:
    """Serves one kubelet on one port for all its nodes."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.k = kubelet
        self.app = web.Application()
        route = self.app.router.add_get
        route("/healthz", self._healthz)
        route("/pods", self._pods)
        route("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for name, handler in (("exec", self._exec), ("attach", self._attach)):
            for path in (f"/{name}/{{namespace}}/{{pod}}/{{container}}",):
                self.app.router.add_route("*", path, handler)
        self.app.router.add_route("*", "/portForward/{namespace}/{pod}", self._port_forward)
        route(METRICS, self._metrics_discovery)
        route(f"{METRICS}/nodes", self._node_list)
        route(f"{METRICS}/nodes/{{name}}", self._node_one)
        route(f"{METRICS}/pods", self._pod_list)
        route(f"{METRICS}/namespaces/{{namespace}}/pods", self._pod_list)
        route(f"{METRICS}/namespaces/{{namespace}}/pods/{{name}}", self._pod_one)
        self._runner: web.AppRunner | None = None

    async def start(
        self, port: int = 0, certificate: Path | None = None, key: Path | None = None, host: str = "127.0.0.1"
    ) -> int:
        """Listen, on another port when the wanted one is taken; returns the port.

        Without a certificate it speaks plain HTTP.
        """
        context: ssl.SSLContext | None = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        except OSError:
            if not port:
                raise
            await web.TCPSite(self._runner, host, 0, ssl_context=context).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # lookups --------------------------------------------------------------------------------------------

    def _worker(self, request: web.Request) -> PodWorker:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        worker = self.k.worker(namespace, name)
        if worker is None or self.k.away(worker.node):
            raise web.HTTPNotFound(text="pod does not exist")
        return worker

    def _slot(self, request: web.Request) -> tuple[PodWorker, Slot]:
        worker, name = self._worker(request), request.match_info["container"]
        for slot in worker.slots:
            if slot.name == name:
                return worker, slot
        where = f'"{worker.pod["metadata"]["name"]}"'
        raise web.HTTPNotFound(text=f'container "{name}" not found in pod {where}')

    def _running(self, request: web.Request) -> ContainerInstance:
        worker, slot = self._slot(request)
        if slot.instance is None:
            meta = worker.pod["metadata"]
            raise web.HTTPNotFound(
                text=f'container not found ("{slot.name}")'
                if not slot.starts
                else f'container "{slot.name}" of pod {meta["namespace"]}/{meta["name"]} is not running'
            )
        return slot.instance

    # handlers -------------------------------------------------------------------------------------------

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, _request: web.Request) -> web.Response:
        items = [worker.pod for worker in self.k.workers.values()]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        worker, slot = self._slot(request)
        query = request.query
        previous = query.get("previous") in {"true", "1"}
        output = self._log_of(worker, slot, previous)
        try:
            options = _log_options(query.get, self.k.clock.now())
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for piece in read(output, options):
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:
            pass  # the reader left
        return response

    def _log_of(self, worker: PodWorker, slot: Slot, previous: bool) -> ContainerLog:
        """The log asked for, or the kubelet's own reason why there is none (400)."""
        name, pod = slot.name, worker.pod["metadata"]["name"]
        number = slot.state.restarts
        if previous:
            # the previous instance is the last that ended: while one waits to restart, it is the current one's
            found = self.k.logs.find(worker.uid, name, number - 1) if slot.instance is not None else None
            if slot.instance is None and slot.starts:
                found = self.k.logs.find(worker.uid, name, number)
            if found is None:
                text = f'previous terminated container "{name}" in pod "{pod}" not found'
                raise web.HTTPBadRequest(text=text)
            return found
        if not slot.starts:
            waiting = slot.state.state.get("waiting") or {}
            reason = waiting.get("reason", "ContainerCreating")
            text = f'container "{name}" in pod "{pod}" is waiting to start: {reason}'
            if reason in {"ImagePullBackOff", "ErrImagePull"}:
                text = (
                    f'container "{name}" in pod "{pod}" is waiting to start: trying and failing to pull image'
                )
            raise web.HTTPBadRequest(text=text)
        return self.k.logs.find(worker.uid, name, number) or self.k.logs.open(worker.uid, name, number)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        instance = self._running(request)
        _want_websocket(request)
        return await streams.serve_exec(request, instance)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        instance = self._running(request)
        _want_websocket(request)
        return await streams.serve_attach(request, instance)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        worker = self._worker(request)

        def find(port: int) -> ContainerInstance | None:
            running = [slot.instance for slot in worker.slots if slot.instance is not None]
            for instance in running:
                ports = [entry.get("containerPort") for entry in instance.spec.get("ports") or []]
                if port in ports:
                    return instance
            return running[0] if running else None

        upgrade = request.headers.get("Upgrade", "").lower()
        if upgrade == "websocket":
            return await portforward.serve_websocket(request, find, worker.uid)
        if upgrade == "spdy/3.1":
            return await portforward.serve_raw(request, find, worker.uid)
        raise web.HTTPBadRequest(text="Upgrade request required")

    # metrics.k8s.io -------------------------------------------------------------------------------------

    async def _metrics_discovery(self, _request: web.Request) -> web.Response:
        resources = [
            {"name": name, "singularName": "", "namespaced": spaced, "kind": kind, "verbs": ["get", "list"]}
            for name, spaced, kind in (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
        ]
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1"}
        return web.json_response({**body, "resources": resources})

    async def _node_list(self, request: web.Request) -> web.Response:
        nodes = [node for node in self.k.nodes if _selected(request, node) and not self._away(node)]
        return _list("NodeMetricsList", [self._node_metrics(node) for node in nodes])

    async def _node_one(self, request: web.Request) -> web.Response:
        node = self.k.nodes.get(request.match_info["name"])
        if node is None or self._away(node):
            return _not_found("nodemetrics", request.match_info["name"])
        return web.json_response(self._node_metrics(node))

    async def _pod_list(self, request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace")
        items = []
        for pod in self.k.pods.all(namespace):
            sample = self.k.samples.get(pod["metadata"]["uid"])
            if sample is not None and _selected(request, pod):
                items.append(self._pod_metrics(pod, sample))
        return _list("PodMetricsList", items)

    async def _pod_one(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        pod = self.k.pods.get(f"{request.match_info['namespace']}/{name}")
        sample = self.k.samples.get(pod["metadata"]["uid"]) if pod is not None else None
        if pod is None or sample is None:
            return _not_found("podmetrics", f"{request.match_info['namespace']}/{name}")
        return web.json_response(self._pod_metrics(pod, sample))

    def _away(self, node: Manifest) -> bool:
        return self.k.away(node["metadata"]["name"])

    def _pod_metrics(self, pod: Manifest, sample: Sample) -> Manifest:
        meta = pod["metadata"]
        return {
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "creationTimestamp": stamp(self.k.clock.now()),
                "labels": meta.get("labels") or {},
            },
            "timestamp": stamp(sample.at),
            "window": f"{SAMPLE_SECONDS:.0f}s",
            "containers": [
                {"name": name, "usage": _usage(usage.cpu_millicores, usage.memory_bytes)}
                for name, usage in sample.containers.items()
            ],
        }

    def _node_metrics(self, node: Manifest) -> Manifest:
        name = node["metadata"]["name"]
        # what the node's own daemons use, as a small real node does
        cpu, memory, at = 45, 600 * 1024**2, self.k.clock.now()
        for uid, worker in self.k.workers.items():
            sample = self.k.samples.get(uid) if worker.node == name else None
            if sample is not None:
                cpu += sum(usage.cpu_millicores for usage in sample.containers.values())
                memory += sum(usage.memory_bytes for usage in sample.containers.values())
                at = sample.at
        return {
            "kind": "NodeMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {
                "name": name,
                "creationTimestamp": stamp(self.k.clock.now()),
                "labels": node["metadata"].get("labels") or {},
            },
            "timestamp": stamp(at),
            "window": f"{SAMPLE_SECONDS:.0f}s",
            "usage": _usage(cpu, memory),
        }


def _usage(millicores: int, memory: int) -> dict[str, str]:
    return {"cpu": f"{millicores}m", "memory": f"{memory // 1024}Ki"}


def _selected(request: web.Request, obj: Manifest) -> bool:
    """Whether an object matches the request's labelSelector (equality and set terms)."""
    text = request.query.get("labelSelector", "")
    return not text or matches(parse_selector(text), obj["metadata"].get("labels"))


def parse_selector(text: str) -> Manifest:
    """A label selector string as a metav1.LabelSelector.

    Raises web.HTTPBadRequest when it cannot be read.
    """
    expressions: list[Manifest] = []
    depth, term, terms = 0, "", []
    for character in text + ",":
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            terms.append(term.strip())
            term = ""
        else:
            term += character
    for one in filter(None, terms):
        words = one.replace("(", " (").split(None, 2)
        if len(words) == 3 and words[1] in {"in", "notin"}:
            values = [value.strip() for value in words[2].strip("() ").split(",")]
            operator = "In" if words[1] == "in" else "NotIn"
            expressions.append({"key": words[0], "operator": operator, "values": values})
        elif "!=" in one:
            key, _, value = one.partition("!=")
            expressions.append({"key": key.strip(), "operator": "NotIn", "values": [value.strip()]})
        elif "=" in one:
            key, _, value = one.replace("==", "=").partition("=")
            expressions.append({"key": key.strip(), "operator": "In", "values": [value.strip()]})
        elif one.startswith("!"):
            expressions.append({"key": one[1:].strip(), "operator": "DoesNotExist"})
        elif len(words) == 1:
            expressions.append({"key": one, "operator": "Exists"})
        else:
            raise web.HTTPBadRequest(text=f"unable to parse requirement: {one!r}")
    return {"matchExpressions": expressions}


def _list(kind: str, items: list[Manifest]) -> web.Response:
    body = {"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}
    return web.json_response(body)


def _not_found(plural: str, name: str) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{plural}.metrics.k8s.io "{name}" not found',
        "reason": "NotFound",
        "details": {"name": name, "group": "metrics.k8s.io", "kind": plural},
        "code": 404,
    }
    return web.Response(status=404, text=json.dumps(status), content_type="application/json")


def _want_websocket(request: web.Request) -> None:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise web.HTTPBadRequest(
            text="this kubelet speaks WebSocket (v5.channel.k8s.io) only; use kubectl 1.31 or later"
        )


def _log_options(get: Callable[[str], str | None], now: dt.datetime) -> LogOptions:
    def number(name: str) -> int | None:
        text = get(name)
        if text in (None, ""):
            return None
        value = int(str(text))
        if value < 0:
            raise ValueError(f"{name} must be greater than or equal to 0")
        return value

    since: dt.datetime | None = None
    seconds = number("sinceSeconds")
    if seconds is not None:
        since = now - dt.timedelta(seconds=seconds)
    elif get("sinceTime"):
        since = parse_nano(str(get("sinceTime")))
    return LogOptions(
        follow=get("follow") in {"true", "1"},
        tail=number("tailLines"),
        since=since,
        timestamps=get("timestamps") in {"true", "1"},
        limit_bytes=number("limitBytes"),
    )
