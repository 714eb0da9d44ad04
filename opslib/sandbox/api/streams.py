"""What the kubelet answers: logs, metrics, and the upgraded connections of exec, attach and port-forward.

An upgrade is passed through byte for byte, as k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go does: the client's
connection and one to the kubelet become each other's ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from opslib.sandbox.api.errors import ApiError, Json, bad_request, not_found
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.requests import RequestInfo

if TYPE_CHECKING:
    from opslib.sandbox.api.server import ApiServer

_STREAM_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_LOG_OPTIONS = ("follow", "previous", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "timestamps")
DIAL_SECONDS = 5.0
CHUNK = 64 * 1024


def _trust(server: ApiServer) -> ssl.SSLContext:
    return _context(server.state / "pki" / "ca.crt")


@functools.lru_cache(maxsize=4)
def _context(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    if not authority.exists():
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def kubelet_of(server: ApiServer, node: str) -> tuple[str, int] | None:
    """Host and port of a node's kubelet, from the Node object."""
    entry = server.store.get(("", "nodes"), "", node)
    if entry is None:
        return None
    status = entry.obj.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    for address in status.get("addresses") or ():
        if address.get("type") == "InternalIP" and port:
            return str(address["address"]), int(port)
    return None


def _pod(server: ApiServer, info: RequestInfo) -> Json:
    entry = server.store.get(("", "pods"), info.namespace, info.name)
    if entry is None:
        raise not_found("pods", "", info.name)
    return entry.obj


def _container(pod: Json, name: str) -> str:
    spec, pod_name = pod["spec"], pod["metadata"]["name"]
    regular = [c["name"] for c in spec.get("containers") or ()]
    initial = [c["name"] for c in spec.get("initContainers") or ()]
    if name:
        if name not in regular + initial:
            raise bad_request(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(regular) == 1:
        return str(regular[0])
    text = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(regular)}]"
    if initial:
        text += f" or one of the init containers: [{' '.join(initial)}]"
    raise bad_request(text)


async def connect(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.StreamResponse:
    """pods/log, pods/exec, pods/attach, pods/portforward."""
    del resource
    pod, query = _pod(server, info), request.query
    node = pod["spec"].get("nodeName", "")
    name = info.name
    if info.subresource == "log":
        container = _container(pod, query.get("container", ""))
        _check_log_query(query)
        if not node:
            return web.Response(body=b"", content_type="text/plain")  # an unscheduled pod has an empty log
        values = [(k, query[k]) for k in _LOG_OPTIONS if k in query]
        path = f"/containerLogs/{info.namespace}/{name}/{container}"
        return await _log(server, request, node, path, values)
    if not node:
        raise bad_request(f"pod {name} does not have a host assigned")
    phase = (pod.get("status") or {}).get("phase")
    if info.subresource != "portforward" and phase in ("Succeeded", "Failed"):
        raise ApiError(
            500, "InternalError", f"cannot exec into a container in a completed pod; current phase is {phase}"
        )
    if info.subresource == "portforward":
        path = f"/portForward/{info.namespace}/{name}"
        values = [("port", p) for p in query.getall("ports", [])]
    else:
        container = _container(pod, query.get("container", ""))
        path = f"/{info.subresource}/{info.namespace}/{name}/{container}"
        values = [(out, "1") for given, out in _STREAM_NAMES.items() if query.get(given) in ("true", "1")]
        values += [("command", c) for c in query.getall("command", [])]
    return await _tunnel(server, request, node, path + ("?" + urlencode(values) if values else ""))


def _check_log_query(query: Any) -> None:
    for key in ("tailLines", "sinceSeconds", "limitBytes"):
        text = query.get(key)
        if text is None:
            continue
        try:
            number = int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if number < (0 if key == "tailLines" else 1):
            need = "must be greater than or equal to 0" if key == "tailLines" else "must be greater than 0"
            message = f'PodLogOptions "" is invalid: {key}: Invalid value: {number}: {need}'
            raise ApiError(422, "Invalid", message, {"kind": "PodLogOptions"})


def _dial_failed(url: str, host: str, port: int) -> ApiError:
    text = f'Get "{url}": dial tcp {host}:{port}: connect: connection refused'
    return ApiError(500, "InternalError", text)


def _address(server: ApiServer, node: str) -> tuple[str, int]:
    found = kubelet_of(server, node)
    if found is None:
        raise ApiError(
            500, "InternalError", f'error dialing backend: no preferred addresses found; node "{node}"'
        )
    return found


async def _log(
    server: ApiServer, request: web.Request, node: str, path: str, values: list[tuple[str, str]]
) -> web.StreamResponse:
    host, port = _address(server, node)
    url = f"https://{host}:{port}{path}" + ("?" + urlencode(values) if values else "")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=DIAL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            answer = await session.get(url, ssl=_trust(server))
        except aiohttp.ClientError:
            raise _dial_failed(url, host, port) from None
        async with answer:
            if answer.status >= 400:
                text = (await answer.text()).strip()
                raise ApiError(answer.status, "BadRequest" if answer.status == 400 else "", text)
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            # the kubelet ended the stream or the client left
            with contextlib.suppress(aiohttp.ClientError, ConnectionResetError):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response


async def metrics(
    server: ApiServer, request: web.Request, info: RequestInfo, resource: Resource
) -> web.StreamResponse:
    """metrics.k8s.io, served by the metrics server; 503 as from an unavailable APIService when it is away."""
    del info, resource
    away = web.Response(text="service unavailable\n", status=503, content_type="text/plain")
    try:
        base = json.loads((server.state / "platform" / "address.json").read_text())["kubelet"]
    except (OSError, ValueError, KeyError):
        return away
    timeout = aiohttp.ClientTimeout(total=10, sock_connect=DIAL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.request(request.method, base + request.path_qs, ssl=_trust(server)) as answer:
                body = await answer.read()
                return web.Response(body=body, status=answer.status, content_type=answer.content_type)
        except (aiohttp.ClientError, TimeoutError):
            return away


class _Client(asyncio.Protocol):
    """The client's end of an upgraded connection, taken over from the HTTP server."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.closed = asyncio.get_running_loop().create_future()
        self.resume = asyncio.Event()
        self.resume.set()

    def data_received(self, data: bytes) -> None:
        self.writer.write(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.resume.clear()

    def resume_writing(self) -> None:
        self.resume.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.resume.set()
        if not self.closed.done():
            self.closed.set_result(None)


async def _tunnel(server: ApiServer, request: web.Request, node: str, target: str) -> web.StreamResponse:
    if "upgrade" not in request.headers.get("Connection", "").lower():
        raise bad_request("you must upgrade to use this: Upgrade request required")
    host, port = _address(server, node)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=_trust(server), server_hostname=host
            )
    except (OSError, TimeoutError):
        text = f"error dialing backend: dial tcp {host}:{port}: connect: connection refused"
        raise ApiError(500, "InternalError", text) from None
    head = [f"{request.method} {target} HTTP/1.1", f"Host: {host}:{port}"]
    head += [f"{k}: {v}" for k, v in request.headers.items() if k.lower() not in ("host", "authorization")]
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
    transport = request.transport
    if transport is None:
        writer.close()
        raise ConnectionResetError
    client = _Client(writer)
    protocol = request.protocol
    tail = getattr(protocol, "_message_tail", b"")
    transport.set_protocol(client)
    if isinstance(transport, asyncio.ReadTransport):
        transport.resume_reading()
    if tail:
        writer.write(tail)
    copy = asyncio.ensure_future(_copy(reader, transport, client))
    try:
        await asyncio.wait({copy, client.closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        copy.cancel()
        writer.close()
        transport.close()
    await asyncio.wait({client.closed}, timeout=1)
    protocol.connection_lost(None)  # the HTTP server lets go of a connection that it no longer has
    return web.Response(status=101)


async def _copy(reader: asyncio.StreamReader, transport: Any, client: _Client) -> None:
    while data := await reader.read(CHUNK):
        await client.resume.wait()
        if transport.is_closing():
            return
        transport.write(data)
