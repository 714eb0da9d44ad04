"""Redis' wire protocol (RESP 2), as much as starting, filling and watching a Redis needs."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from types import TracebackType

Reply = str | int | None | list["Reply"]
Command = tuple[str | int, ...]


class RespError(Exception):
    """Redis answered a command with an error; the text is Redis' own."""


class Resp:
    """One connection to a Redis on loopback. Raises OSError if there is none, RespError for an error."""

    def __init__(self, port: int, password: str, *, seconds: float = 5.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._reader = self._socket.makefile("rb")
        self.call("AUTH", password)

    def __enter__(self) -> Resp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
        self._socket.close()

    def call(self, *words: str | int) -> Reply:
        """Send one command; its answer."""
        return self.pipeline([words])[0]

    def pipeline(self, commands: Iterable[Command]) -> list[Reply]:
        """Send many commands at once; their answers in order. The first error among them is raised."""
        sent = list(commands)
        self._socket.sendall(b"".join(_encode(command) for command in sent))
        replies: list[Reply] = []
        errors: list[RespError] = []
        for _ in sent:
            try:
                replies.append(self._read())
            except RespError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return replies

    def _read(self) -> Reply:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RespError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._reader.read(size + 2)[:-2].decode(errors="replace")
        return [self._read() for _ in range(int(rest))]


def _encode(command: Command) -> bytes:
    words = [str(word).encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)])
