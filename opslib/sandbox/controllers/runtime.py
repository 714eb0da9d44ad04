"""What all controllers share: a queue of keys, workers, retries (client-go util/workqueue, controller-runtime).

A controller names the objects it watches and reconciles one key at a time; a failed key comes back later,
twice as late each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opslib.sandbox.client import ApiError, Client, Manifest, Resource, UnreachableError
from opslib.sandbox.clock import Clock
from opslib.sandbox.controllers.events import Recorder
from opslib.sandbox.informer import Informer, Informers, key_of

log = logging.getLogger(__name__)

MAX_RETRY = 1000.0  # platform seconds; workqueue.DefaultControllerRateLimiter
MIN_RETRY = 0.02  # real seconds: a scaled 5 ms would only burn processor time


class Queue:
    """Keys waiting for work. A key is in it once, and is never worked on by two workers at a time."""

    def __init__(self) -> None:
        self._ready: deque[str] = deque()
        self._dirty: set[str] = set()
        self._working: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, key: str) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Add a key later (real seconds). The earlier of two timers wins."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def get(self) -> str:
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake.set()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


@dataclass
class Context:
    """What controllers work with."""

    client: Client
    informers: Informers
    clock: Clock
    recorder: Recorder


class Controller:
    """One control loop. Subclasses set `name`, call `watch` in __init__ and write `reconcile`."""

    name = "controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.clock = context.clock
        self.recorder = context.recorder
        self.queue = Queue()
        self._failures: dict[str, int] = {}
        self._informers: list[Informer] = []

    def watch(
        self,
        resource: Resource,
        keys: Callable[[Manifest | None, Manifest | None], Iterable[str]] | None = None,
        required: bool = True,
    ) -> Informer:
        """Watch a resource; a change adds the keys that `keys` names (default: the object's own)."""
        informer = self.context.informers.of(resource)
        if required:
            self._informers.append(informer)

        def changed(old: Manifest | None, new: Manifest | None) -> None:
            if keys is None:
                obj = new or old
                if obj is not None:
                    self.queue.add(key_of(obj))
            else:
                for key in keys(old, new):
                    self.queue.add(key)

        informer.on_change(changed)
        return informer

    async def reconcile(self, key: str) -> float | None:
        """Bring one object nearer to what is wanted.

        Returns platform seconds after which to look again, or None.
        """
        raise NotImplementedError

    def forget(self) -> None:
        """The whole state was replaced: what was remembered beside the caches is about another past."""
        self._failures.clear()

    async def run(self) -> None:
        """Work until cancelled. Waits for the caches first: an empty one would look like 'all deleted'."""
        for informer in self._informers:
            await informer.synced.wait()
        tasks = [
            asyncio.create_task(self._work(), name=f"{self.name} worker {n}") for n in range(self.workers)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.queue.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self.reconcile(key)
                self._failures.pop(key, None)
                if again is not None:
                    self.queue.add_after(key, max(0.005, self.clock.scaled(again)))
            except ApiError as error:
                self._retry(key)
                level = logging.DEBUG if error.code in {404, 409} else logging.WARNING
                log.log(level, "%s %s: %s; it is tried again", self.name, key, error.message)
            except UnreachableError as error:
                self.queue.add_after(key, 0.5)
                log.debug("%s %s: %s", self.name, key, error)
            except Exception:
                self._retry(key)
                log.exception("%s failed on %s; it is tried again", self.name, key)
            finally:
                self.queue.done(key)

    def _retry(self, key: str) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(0.005 * 2.0 ** min(failures, 30), MAX_RETRY)
        self.queue.add_after(key, max(MIN_RETRY, self.clock.scaled(delay)))


def owner_of(obj: Manifest) -> Manifest | None:
    """The ownerReference that is the controller, or None."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            found: Manifest = reference
            return found
    return None


def owner_keys(kind: str) -> Callable[[Manifest | None, Manifest | None], Iterable[str]]:
    """For `Controller.watch`: the keys of the owners of one kind, before and after a change."""

    def keys(old: Manifest | None, new: Manifest | None) -> set[str]:
        found: set[str] = set()
        for obj in (old, new):
            reference = owner_of(obj) if obj is not None else None
            if obj is not None and reference is not None and reference.get("kind") == kind:
                found.add(f"{obj['metadata'].get('namespace', '')}/{reference['name']}")
        return found

    return keys


def owner_reference(owner: Manifest) -> Manifest:
    """A controller reference to an object, as metav1.NewControllerRef."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
