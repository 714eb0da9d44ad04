"""Port-forward: SPDY streams, over a WebSocket or the raw connection, bridged to a container's HTTP port.

A workload speaks HTTP only, so what arrives on a forwarded port is read as HTTP/1.1 requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import WSMsgType, web

from opslib.sandbox.kubelet.container import ContainerInstance
from opslib.sandbox.kubelet.spdy import Session, Stream

WEBSOCKET_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
MAX_HEAD = 64 * 1024

Finder = Callable[[int], ContainerInstance | None]


class Forwarder:
    """The streams of one port-forward connection."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], find: Finder, pod: str) -> None:
        self.session = Session(send, self._opened)
        self._find = find
        self._pod = pod
        self._errors: dict[str, Stream] = {}  # request id -> error stream
        self._tasks: set[asyncio.Task[None]] = set()

    async def _opened(self, stream: Stream) -> None:
        request = stream.headers.get("requestid", "")
        if stream.headers.get("streamtype") == "error":
            self._errors[request] = stream
            return
        port = int(stream.headers.get("port") or 0)
        task = asyncio.create_task(self._serve(stream, request, port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream, request: str, port: int) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            problem = await self._bridge(stream, port)
            await self.session.send(stream, b"", end=True)
            errors = self._errors.pop(request, None)
            if errors is not None:
                await self.session.send(errors, problem.encode(), end=True)

    async def _bridge(self, stream: Stream, port: int) -> str:
        """Answer HTTP requests until the client closes; returns an error text or ''."""
        refused = (
            f"an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod {self._pod}: "
            f"dial tcp4 127.0.0.1:{port}: connect: connection refused"
        )
        reader = _Reader(stream)
        while True:
            head = await reader.until(b"\r\n\r\n")
            if head is None:
                return ""
            lines = head.decode("latin-1").split("\r\n")
            method, _, rest = lines[0].partition(" ")
            path = rest.rsplit(" ", 1)[0]
            headers = {
                name.strip().title(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:] if ":" in line)
            }
            length = headers.get("Content-Length", "0")
            await reader.exactly(int(length) if length.isdigit() else 0)
            instance = self._find(port)
            answer = instance.http(method, path, port, headers) if instance is not None else None
            if instance is None or answer is None:
                return refused
            await asyncio.sleep(min(instance.clock.scaled(answer.seconds), 5.0))
            body = answer.body.encode()
            close = headers.get("Connection", "").lower() == "close" or rest.endswith("HTTP/1.0")
            phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else ""
            head_out = (
                f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: {'close' if close else 'keep-alive'}\r\n\r\n"
            )
            await self.session.send(stream, head_out.encode() + (b"" if method == "HEAD" else body))
            if close:
                return ""

    def close(self) -> None:
        self.session.close()
        for task in self._tasks:
            task.cancel()


class _Reader:
    """Bytes of a stream, by delimiter or by count."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def until(self, mark: bytes) -> bytes | None:
        """Up to a delimiter (left out); None when the stream ends first."""
        while mark not in self._data:
            piece = await self._stream.incoming.get()
            if not piece or len(self._data) > MAX_HEAD:
                return None
            self._data += piece
        end = self._data.index(mark)
        found = bytes(self._data[:end])
        del self._data[: end + len(mark)]
        return found

    async def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            piece = await self._stream.incoming.get()
            if not piece:
                break
            self._data += piece
        found = bytes(self._data[:count])
        del self._data[:count]
        return found


async def serve_websocket(request: web.Request, find: Finder, pod: str) -> web.StreamResponse:
    """kubectl 1.31 and later: SPDY tunnelled in a WebSocket."""
    socket = web.WebSocketResponse(protocols=(WEBSOCKET_PROTOCOL,))
    await socket.prepare(request)

    async def send(data: bytes) -> None:
        await socket.send_bytes(data)

    forwarder = Forwarder(send, find, pod)
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                await forwarder.session.feed(message.data)
    except ConnectionError:
        await socket.close()
    finally:
        forwarder.close()
    return socket


class _RawSpdy(asyncio.Protocol):
    """The server's end of an upgraded connection: bytes to and from the forwarder, in order."""

    def __init__(self, find: Finder, pod: str) -> None:
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self.forwarder = Forwarder(self._send, find, pod)
        self.done = asyncio.Event()

    def attach(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._incoming.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._incoming.put_nowait(b"")

    async def _send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the port-forward connection is closed")
        self._transport.write(data)

    async def run(self) -> None:
        try:
            while data := await self._incoming.get():
                await self.forwarder.session.feed(data)
        except ConnectionError:
            pass
        finally:
            self.forwarder.close()
            if self._transport is not None:
                self._transport.close()


async def serve_raw(request: web.Request, find: Finder, pod: str) -> web.StreamResponse:
    """Older clients: the HTTP connection itself becomes a SPDY/3.1 session."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise web.HTTPBadRequest(text="the connection is gone")
    protocol = _RawSpdy(find, pod)
    transport.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        b"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
    )
    protocol.attach(transport)
    transport.set_protocol(protocol)
    await protocol.run()
    # the socket was taken over and is closed; there is nothing left to answer
    return web.Response(status=101)
