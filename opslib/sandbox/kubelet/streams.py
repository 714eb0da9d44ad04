"""exec and attach over WebSocket: Kubernetes' channel protocols v4 and v5.

Sources: apimachinery pkg/util/remotecommand, client-go tools/remotecommand, kubelet pkg/cri/streaming.
Channels: 0 stdin, 1 stdout, 2 stderr, 3 error (a Status), 4 resize, 255 close (v5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json

from aiohttp import WSMsgType, web

from opslib.sandbox.client import Manifest
from opslib.sandbox.kubelet.container import ContainerInstance
from opslib.sandbox.workloads.protocol import ExecResult

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PIECE = 32 * 1024
STDIN_SECONDS = 3600.0  # how long a command waits for its input to end


def exit_status(code: int) -> Manifest:
    """The Status on the error channel: Success, or NonZeroExitCode with the code as its cause."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(text: str) -> Manifest:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {text}",
        "reason": "InternalError",
        "code": 500,
    }


async def serve_exec(request: web.Request, instance: ContainerInstance) -> web.StreamResponse:
    """Run a command in a container for a WebSocket client."""
    query = request.query
    argv = query.getall("command", [])
    wants_stdin, tty = _flag(query.get("input")), _flag(query.get("tty"))
    socket = web.WebSocketResponse(protocols=PROTOCOLS)
    await socket.prepare(request)
    if not argv:
        await _finish(socket, internal_error("you must specify at least 1 command for the container"))
        return socket
    if wants_stdin and tty:
        await _terminal(socket, instance, argv)
        return socket
    stdin = await _read_stdin(socket) if wants_stdin else None
    result = await _run_watched(socket, instance, argv, stdin)
    if result is None:
        return socket
    await _send(socket, STDOUT, result.stdout if not tty else result.stdout + result.stderr)
    if not tty:
        await _send(socket, STDERR, result.stderr)
    await _finish(socket, exit_status(result.exit_code))
    return socket


async def _run_watched(
    socket: web.WebSocketResponse, instance: ContainerInstance, argv: list[str], stdin: bytes | None
) -> ExecResult | None:
    """Run the command; None when the client went away first (the command is cancelled)."""
    command = asyncio.create_task(instance.exec(argv, stdin))
    listen = asyncio.create_task(_until_closed(socket))
    await asyncio.wait({command, listen}, return_when=asyncio.FIRST_COMPLETED)
    listen.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listen
    if not command.done():
        command.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await command
        return None
    error = command.exception()
    if error is not None:
        await _finish(socket, internal_error(f"error executing command in container: {error}"))
        return None
    return command.result()


async def _until_closed(socket: web.WebSocketResponse) -> None:
    while not socket.closed:
        message = await socket.receive()
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            return


async def _read_stdin(socket: web.WebSocketResponse) -> bytes:
    """All input until the client closes it (v5: close channel; older: the connection's end or silence)."""
    data = bytearray()
    can_close = socket.ws_protocol == PROTOCOLS[0]
    while True:
        try:
            # before v5 a client cannot say that its input has ended: a pause must do
            message = await asyncio.wait_for(socket.receive(), STDIN_SECONDS if can_close else 1.0)
        except TimeoutError:
            return bytes(data)
        if message.type != WSMsgType.BINARY:
            if message.type in {WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG}:
                continue
            return bytes(data)
        payload: bytes = message.data
        if not payload:
            continue
        if payload[0] == STDIN:
            data += payload[1:]
        elif payload[0] == CLOSE and payload[1:2] == b"\x00":
            return bytes(data)


async def _terminal(socket: web.WebSocketResponse, instance: ContainerInstance, argv: list[str]) -> None:
    """An interactive terminal: `sh` and the like read one command a line until `exit` or Ctrl-D."""
    shells = {"sh", "bash", "ash", "/bin/sh", "/bin/bash", "/bin/ash"}
    if argv[0] not in shells or len(argv) > 1:
        result = await _run_watched(socket, instance, argv, b"")
        if result is not None:
            await _send(socket, STDOUT, (result.stdout + result.stderr).replace(b"\n", b"\r\n"))
            await _finish(socket, exit_status(result.exit_code))
        return
    prompt, line, code = b"$ ", bytearray(), 0
    await _send(socket, STDOUT, prompt)
    async for message in socket:
        if message.type != WSMsgType.BINARY or not message.data or message.data[0] != STDIN:
            continue
        for byte in message.data[1:]:
            if byte == 4 and not line:
                await _finish(socket, exit_status(code))
                return
            if byte in b"\r\n":
                await _send(socket, STDOUT, b"\r\n")
                text = line.decode(errors="replace").strip()
                line.clear()
                word, _, rest = text.partition(" ")
                if word == "exit":
                    await _finish(socket, exit_status(int(rest) if rest.isdigit() else code))
                    return
                if text:
                    result = await instance.exec([argv[0], "-c", text], None)
                    code = result.exit_code
                    output = (result.stdout + result.stderr).replace(b"\n", b"\r\n")
                    await _send(socket, STDOUT, output)
                await _send(socket, STDOUT, prompt)
            elif byte == 3:
                line.clear()
                await _send(socket, STDOUT, b"^C\r\n" + prompt)
            elif byte in {8, 127}:
                if line:
                    line.pop()
                    await _send(socket, STDOUT, b"\b \b")
            else:
                line.append(byte)
                await _send(socket, STDOUT, bytes([byte]))


async def serve_attach(request: web.Request, instance: ContainerInstance) -> web.StreamResponse:
    """Show what a container prints from now on, until it ends or the client leaves."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS)
    await socket.prepare(request)
    listen = asyncio.create_task(_until_closed(socket))
    output = instance.output
    seen = output.written
    try:
        while not listen.done() and not output.closed:
            await output.grown(seen, 1.0)
            fresh, seen = output.written - seen, output.written
            if fresh:
                lines = list(output.lines)[-fresh:]
                await _send(socket, STDOUT, "".join(f"{line}\n" for _, line in lines).encode())
        if not listen.done():
            await _finish(socket, exit_status(0))
    finally:
        listen.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listen
    return socket


async def _send(socket: web.WebSocketResponse, channel: int, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(data), PIECE):
            await socket.send_bytes(bytes([channel]) + data[start : start + PIECE])
        # a pause, so that the next message travels in a TLS record of its own: a client that polls its socket
        # (Python's) does not see what its TLS library holds back already
        await asyncio.sleep(0.005 if data else 0)


async def _finish(socket: web.WebSocketResponse, status: Manifest) -> None:
    await _send(socket, ERROR, json.dumps(status).encode())
    with contextlib.suppress(ConnectionError):
        await socket.close()


def _flag(text: str | None) -> bool:
    return text in {"true", "1"}
