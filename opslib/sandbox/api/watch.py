"""Watches: initial events, history, bookmarks, 410 (k8s.io/apiserver/pkg/storage/cacher and endpoints/handlers/watch)."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from opslib.sandbox.api.errors import ApiError, Json, expired
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.selectors import Match
from opslib.sandbox.api.store import Change, Entry, Store, encode

BOOKMARK_EVERY = 60.0  # a genuine server: about once a minute
MAX_BACKLOG = 50_000  # a client this far behind is cut off, as Kubernetes does with a slow watcher
INITIAL_END = "k8s.io/initial-events-end"

Render = Callable[[Entry], bytes]


@dataclass
class WatchRequest:
    """What a client asked to watch."""

    resource: Resource
    namespace: str
    match: Match
    render: Render  # the object of one event, in the client's version and form (Table, metadata only)
    bookmark: Callable[[int, bool], bytes]
    resource_version: str
    bookmarks: bool
    send_initial: bool
    timeout: float


class Watch:
    """One open watch: takes changes as they happen, and streams them in order."""

    def __init__(self, store: Store, request: WatchRequest) -> None:
        self.store, self.request = store, request
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._last = store.rv
        self._prepare()

    def _prepare(self) -> None:
        """Queue what the client has missed, and attach to the store in the same step, so that nothing falls between."""
        request, store = self.request, self.store
        rv = request.resource_version
        initial = request.send_initial or rv in ("", "0")
        if initial:
            for _, entry in store.items(request.resource.key, request.namespace):
                if request.match(entry.obj):
                    self._emit("ADDED", entry)
            if request.send_initial and request.bookmarks:
                self._queue.append(_line("BOOKMARK", request.bookmark(store.rv, True)))
        else:
            try:
                start = int(rv)
            except ValueError:
                raise ApiError(
                    400,
                    "BadRequest",
                    f'Invalid value: "{rv}": strconv.ParseUint: parsing "{rv}": invalid syntax',
                ) from None
            if start < store.forgotten(request.resource.key):
                raise expired(
                    f"too old resource version: {start} ({store.forgotten(request.resource.key) + 1})"
                )
            if start > store.rv:
                text = f"Too large resource version: {start}, current: {store.rv}"
                raise ApiError(
                    504, "Timeout", text, {"causes": [{"reason": "ResourceVersionTooLarge", "message": text}]}
                )
            for logged in store.since(request.resource.key, start):
                new = Entry(json.loads(logged.new), logged.new, logged.rv) if logged.new else None
                old = Entry(json.loads(logged.old), logged.old, logged.rv) if logged.old else None
                self._offer(Change(logged.rv, logged.key, logged.where, new, old))
        store.listen(self._offer)

    def _emit(self, kind: str, entry: Entry) -> None:
        self._queue.append(_line(kind, self.request.render(entry)))

    def _offer(self, change: Change) -> None:
        request = self.request
        if change.key != request.resource.key or (request.namespace and change.where[0] != request.namespace):
            return
        self._last = change.rv
        now = change.new is not None and request.match(change.new.obj)
        before = change.old is not None and request.match(change.old.obj)
        if now and change.new is not None:
            self._emit("MODIFIED" if before else "ADDED", change.new)
        elif before and change.old is not None:
            self._emit("DELETED", self._last_state(change))
        else:
            return
        if len(self._queue) > MAX_BACKLOG:
            self.end(expired("the watch fell too far behind"))
        self._wake.set()

    @staticmethod
    def _last_state(change: Change) -> Entry:
        # an object that left the selector is told as DELETED with its old content and the new resourceVersion
        assert change.old is not None
        if change.new is None:
            return change.old
        obj = change.old.copy()
        obj["metadata"]["resourceVersion"] = str(change.rv)
        return Entry(obj, encode(obj), change.rv)

    def end(self, error: ApiError | None = None) -> None:
        """Finish the stream, with an ERROR event if there is an error."""
        if error is not None:
            self._queue.append(_line("ERROR", encode(error.status())))
        self._ended = True
        self.store.unlisten(self._offer)
        self._wake.set()

    async def stream(self, response: web.StreamResponse) -> None:
        """Write events until the time is over, the client leaves or the watch is ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.request.timeout
        next_bookmark = loop.time() + BOOKMARK_EVERY
        try:
            while True:
                if self._queue:
                    lines = b"".join(self._queue)
                    self._queue.clear()
                    await response.write(lines)
                    continue
                if self._ended:
                    return
                self._wake.clear()
                now = loop.time()
                if now >= deadline:
                    return
                if self.request.bookmarks and now >= next_bookmark:
                    next_bookmark = now + BOOKMARK_EVERY
                    self._queue.append(_line("BOOKMARK", self.request.bookmark(self.store.rv, False)))
                    continue
                wait = min(deadline, next_bookmark if self.request.bookmarks else deadline) - now
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            self.store.unlisten(self._offer)


def _line(kind: str, payload: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), payload)


def bookmark_object(resource: Resource, rv: int, initial_end: bool) -> Json:
    """The nearly empty object of a BOOKMARK event."""
    meta: Json = {"resourceVersion": str(rv)}
    if initial_end:
        meta["annotations"] = {INITIAL_END: "true"}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
