"""Port-forwarding: the part of SPDY/3.1 that Kubernetes uses, over a raw upgraded connection or a WebSocket.

Sources: the SPDY/3.1 draft; client-go transport/spdy; kubelet pkg/cri/streaming/portforward. A client opens two
streams a connection, an error stream and a data stream, told apart by their headers.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
VERSION = 0x8003

# the name/value dictionary that both ends prime zlib with: SPDY/3 draft, section 2.6.10.1
_WORDS = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
]
_TAIL = (
    b"200 OK\x00\x00\x00\x07version\x00\x00\x00\x08HTTP/1.1\x00\x00\x00\x03url\x00\x00\x00\x06public"
    b"\x00\x00\x00\nset-cookie\x00\x00\x00\nkeep-alive\x00\x00\x00\x06origin100101201202205206300302303304305306"
    b"307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content301"
    b" Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501"
    b" Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue,"
    b" Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/"
    b"xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-"
    b"1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    parts = [struct.pack(">I", len(word)) + word.encode() for word in _WORDS]
    return b"".join(parts) + b"\x00\x00\x00\x06" + _TAIL


DICTIONARY = _dictionary()


@dataclass
class Stream:
    """One SPDY stream from the client."""

    number: int
    headers: dict[str, str]
    incoming: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)  # b"" is its end


class Session:
    """One SPDY/3.1 session, server side. `send` writes bytes; feed it what arrives."""

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], on_stream: Callable[[Stream], Awaitable[None]]
    ) -> None:
        self._send = send
        self._on_stream = on_stream
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self.streams: dict[int, Stream] = {}
        self.closed = False

    async def feed(self, data: bytes) -> None:
        """Take in bytes from the client.

        Raises ConnectionError when they are not SPDY/3.1.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack(">II", self._buffer[:8])
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first & 0x80000000:
                if first >> 16 != VERSION:
                    raise ConnectionError(f"not SPDY/3.1: version field {first >> 16:#x}")
                await self._control(first & 0xFFFF, flags, body)
            else:
                await self._data(first, flags, body)

    async def _control(self, kind: int, flags: int, body: bytes) -> None:
        if kind == SYN_STREAM:
            number = struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF
            stream = Stream(number, self._headers(body[10:]))
            self.streams[number] = stream
            if flags & FIN:
                stream.incoming.put_nowait(b"")
            reply = struct.pack(">I", number) + self._packed({})
            await self._frame(SYN_REPLY, 0, reply)
            await self._on_stream(stream)
        elif kind == PING:
            await self._frame(PING, 0, body)
        elif kind == RST_STREAM:
            number = struct.unpack(">I", body[:4])[0]
            stopped = self.streams.pop(number, None)
            if stopped is not None:
                stopped.incoming.put_nowait(b"")
        elif kind == HEADERS:
            self._headers(body[4:])  # keeps the compression state in step
        elif kind == GOAWAY:
            self.close()

    async def _data(self, number: int, flags: int, body: bytes) -> None:
        stream = self.streams.get(number)
        if stream is None:
            return
        if body:
            stream.incoming.put_nowait(body)
            # give the window back at once: the workload takes everything
            await self._frame(WINDOW_UPDATE, 0, struct.pack(">II", number, len(body)))
        if flags & FIN:
            stream.incoming.put_nowait(b"")

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block)
        except zlib.error as error:
            raise ConnectionError(f"SPDY headers cannot be read: {error}") from error
        count = struct.unpack(">I", plain[:4])[0]
        position, found = 4, {}
        for _ in range(count):
            parts = []
            for _ in range(2):
                size = struct.unpack(">I", plain[position : position + 4])[0]
                parts.append(plain[position + 4 : position + 4 + size].decode(errors="replace"))
                position += 4 + size
            found[parts[0].lower()] = parts[1]
        return found

    def _packed(self, headers: dict[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            plain += struct.pack(">I", len(name)) + name.encode()
            plain += struct.pack(">I", len(value)) + value.encode()
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    async def _frame(self, kind: int, flags: int, body: bytes) -> None:
        head = struct.pack(">II", 0x80000000 | (VERSION & 0x7FFF) << 16 | kind, flags << 24 | len(body))
        await self._send(head + body)

    async def send(self, stream: Stream, data: bytes, end: bool = False) -> None:
        """Write to a stream; `end` closes this half of it."""
        pieces = [data[i : i + 32768] for i in range(0, len(data), 32768)] or [b""]
        for index, piece in enumerate(pieces):
            last = end and index == len(pieces) - 1
            head = struct.pack(">II", stream.number, (FIN if last else 0) << 24 | len(piece))
            await self._send(head + piece)

    def close(self) -> None:
        self.closed = True
        for stream in self.streams.values():
            stream.incoming.put_nowait(b"")
