"""Local caches of an API's objects, kept current by list and watch (as client-go's shared informers).

A controller's own writes are put into the cache at once (`observe`), so that its next look does not act on
an older state; an older watch event never overwrites a newer object.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator

from opslib.sandbox.client import ApiError, Client, Manifest, Resource, UnreachableError

log = logging.getLogger(__name__)

Handler = Callable[[Manifest | None, Manifest | None], None]


def key_of(obj: Manifest) -> str:
    """NAMESPACE/NAME, or NAME for an object without a namespace."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str | None, str]:
    namespace, _, name = key.rpartition("/")
    return namespace or None, name


def _version(obj: Manifest) -> int:
    text = str(obj["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


class Informer:
    """The cache of one resource.

    Handlers get (old, new): (None, obj) for an addition, (old, obj) for a change, (old, None) for a removal.
    After the whole state was replaced (410 Gone), the cache is listed anew and handlers see the difference.
    """

    def __init__(self, client: Client, resource: Resource, retry: float = 0.5) -> None:
        self.client = client
        self.resource = resource
        self.synced = asyncio.Event()
        self.lists = 0  # how often the whole resource was listed; tests and /healthz look at it
        self._retry = retry
        self._objects: dict[str, Manifest] = {}
        self._by_namespace: dict[str, dict[str, Manifest]] = {}
        self._gone: dict[str, str] = {}  # uid of an object seen deleted -> key, against late echoes
        self._handlers: list[Handler] = []

    def on_change(self, handler: Handler) -> None:
        """Call `handler` for every change; at once for what is already known."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    def get(self, key: str) -> Manifest | None:
        """The object as last seen. Callers must not change it."""
        return self._objects.get(key)

    def all(self, namespace: str | None = None) -> Iterable[Manifest]:
        """All objects, or those of one namespace. Callers must not change them."""
        if namespace is None:
            return list(self._objects.values())
        return list(self._by_namespace.get(namespace, {}).values())

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Manifest]:
        return iter(list(self._objects.values()))

    def observe(self, obj: Manifest) -> None:
        """Put an object that the API just answered with into the cache, unless a newer one is there."""
        if not obj.get("metadata") or obj["metadata"].get("uid") in self._gone:
            return
        obj.setdefault("apiVersion", self.resource.api_version)
        obj.setdefault("kind", self.resource.kind)
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None:
            same = old["metadata"].get("uid") == obj["metadata"].get("uid")
            if same and _version(obj) <= _version(old):
                return
        self._put(key, obj)
        self._tell(old, obj)

    def forget(self, obj: Manifest) -> None:
        """Take an object out of the cache that the API just confirmed as deleted."""
        key, uid = key_of(obj), obj["metadata"].get("uid")
        if uid:
            self._gone[uid] = key
            while len(self._gone) > 4000:
                self._gone.pop(next(iter(self._gone)))
        old = self._objects.get(key)
        if old is not None and old["metadata"].get("uid") == uid:
            self._drop(key)
            self._tell(old, None)

    async def run(self) -> None:
        """Keep the cache current until cancelled; survives restarts of the API."""
        version = ""
        while True:
            try:
                if not version:
                    version = await self._relist()
                begun = time.monotonic()
                async for kind, obj in self.client.watch(self.resource, version):
                    version = str(obj["metadata"].get("resourceVersion", version))
                    if kind == "BOOKMARK":
                        continue
                    if kind == "DELETED":
                        self.forget(obj)
                    else:
                        self.observe(obj)
                if time.monotonic() - begun < self._retry:
                    await asyncio.sleep(self._retry)  # a server that ends watches at once is not hammered
            except ApiError as error:
                # gone history, or a resource that does not exist (yet): start from a list again
                version = ""
                if error.code != 410:
                    log.debug("%s: %s", self.resource.plural, error.message)
                    await asyncio.sleep(self._retry)
            except UnreachableError as error:
                log.debug("%s", error)
                version = ""  # a restarted server may have lost its last second: never trust an old version
                await asyncio.sleep(self._retry)

    async def _relist(self) -> str:
        items, version = await self.client.list(self.resource)
        before, self._objects, self._by_namespace, self._gone = self._objects, {}, {}, {}
        for item in items:
            self._put(key_of(item), item)
        self.lists += 1
        self.synced.set()
        for key, old in before.items():
            new = self._objects.get(key)
            if new is None or new["metadata"].get("uid") != old["metadata"].get("uid"):
                self._tell(old, None)
        for key, new in list(self._objects.items()):
            known = before.get(key)
            if known is not None and known["metadata"].get("uid") != new["metadata"].get("uid"):
                known = None
            if known is None or known["metadata"].get("resourceVersion") != new["metadata"].get(
                "resourceVersion"
            ):
                self._tell(known, new)
        return version

    def _put(self, key: str, obj: Manifest) -> None:
        self._objects[key] = obj
        self._by_namespace.setdefault(obj["metadata"].get("namespace", ""), {})[key] = obj

    def _drop(self, key: str) -> None:
        obj = self._objects.pop(key)
        self._by_namespace.get(obj["metadata"].get("namespace", ""), {}).pop(key, None)

    def _tell(self, old: Manifest | None, new: Manifest | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                # one consumer's bug must not stop the cache that all the others live on
                log.exception("a handler of %s failed", self.resource.plural)


class Informers:
    """The informers of one process: one a resource, shared by all who ask."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[Resource, Informer] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False

    def of(self, resource: Resource) -> Informer:
        if resource not in self._informers:
            informer = Informer(self.client, resource)
            self._informers[resource] = informer
            if self._running:
                self._start(informer)
        return self._informers[resource]

    def all(self) -> list[Informer]:
        """Every informer that was asked for so far."""
        return list(self._informers.values())

    def _start(self, informer: Informer) -> None:
        self._tasks.append(asyncio.create_task(informer.run(), name=f"informer {informer.resource.plural}"))

    async def start(self) -> None:
        """Start to watch. Returns at once; see `wait_synced`."""
        if not self._running:
            self._running = True
            for informer in self._informers.values():
                self._start(informer)

    async def wait_synced(self, *resources: Resource) -> None:
        """Wait until these resources (default: all asked for so far) were listed once."""
        wanted = [self.of(r) for r in resources] or list(self._informers.values())
        for informer in wanted:
            await informer.synced.wait()

    async def stop(self) -> None:
        self._running = False
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
