"""Events as client-go's tools/record writes them: repeats are counted, bursts are dropped.

Source of the thresholds: client-go tools/record/events_cache.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from opslib.sandbox.client import EVENTS, ApiError, Client, Manifest, UnreachableError
from opslib.sandbox.clock import Clock, stamp

log = logging.getLogger(__name__)

SPAM_BURST = 25  # events of one source about one object, then one every 300 s
SPAM_REFILL = 300.0
SIMILAR_MAX = 10  # different messages of one reason within 600 s, then they are combined
SIMILAR_WINDOW = 600.0
CACHE = 4096


@dataclass
class _Seen:
    name: str
    count: int


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass
class _Similar:
    messages: set[str]
    since: float


class Recorder:
    """Records events of one source; they are written in the background, in order."""

    def __init__(self, sink: EventSink, component: str, host: str = "") -> None:
        self.sink = sink
        self.component = component
        self.host = host

    def named(self, component: str, host: str = "") -> Recorder:
        """A recorder for another source that writes through the same sink."""
        return Recorder(self.sink, component, host)

    def event(
        self, obj: Manifest, kind: str, reason: str, message: str, field_path: str | None = None
    ) -> None:
        """Record an event (kind Normal or Warning) about an object. Returns at once."""
        meta = obj["metadata"]
        involved: Manifest = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj["kind"],
            "name": meta["name"],
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        if meta.get("namespace"):
            involved["namespace"] = meta["namespace"]
        if field_path:
            involved["fieldPath"] = field_path
        source: Manifest = {"component": self.component}
        if self.host:
            source["host"] = self.host
        now = stamp(self.sink.clock.now())
        self.sink.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"namespace": meta.get("namespace") or "default"},
                "involvedObject": involved,
                "reason": reason,
                "message": message[:1024],
                "type": kind,
                "source": source,
                "reportingComponent": self.component,
                "reportingInstance": self.host,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
        )


class EventSink:
    """Drops bursts, combines similar events, counts repeats, and writes the rest to the API."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self.queue: asyncio.Queue[Manifest] = asyncio.Queue(maxsize=2000)
        self._seen: OrderedDict[tuple[str, ...], _Seen] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()

    def put(self, event: Manifest) -> None:
        involved = event["involvedObject"]
        about = (event["source"]["component"], involved["kind"], involved["uid"], involved["name"])
        if not self._allowed(about):
            return
        self._combine(event, about)
        with contextlib.suppress(asyncio.QueueFull):  # as upstream: events are best effort
            self.queue.put_nowait(event)

    def _platform_time(self) -> float:
        return asyncio.get_running_loop().time() * self.clock.speed

    def _allowed(self, about: tuple[str, ...]) -> bool:
        now = self._platform_time()
        bucket = self._buckets.setdefault(about, _Bucket(SPAM_BURST, now))
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.at) / SPAM_REFILL)
        bucket.at = now
        _trim(self._buckets)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _combine(self, event: Manifest, about: tuple[str, ...]) -> None:
        now = self._platform_time()
        key = (*about, event["type"], event["reason"])
        similar = self._similar.setdefault(key, _Similar(set(), now))
        if now - similar.since > SIMILAR_WINDOW:
            similar.messages, similar.since = set(), now
        similar.messages.add(event["message"])
        _trim(self._similar)
        if len(similar.messages) >= SIMILAR_MAX:
            event["message"] = f"(combined from similar events): {event['message']}"
            event["combined"] = True

    async def flush(self) -> None:
        """Wait until all events so far were written."""
        await self.queue.join()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            event = await self.queue.get()
            try:
                await self._write(event)
            except (ApiError, UnreachableError) as error:
                log.debug("event %s dropped: %s", event["reason"], error)
            finally:
                self.queue.task_done()

    async def _write(self, event: Manifest) -> None:
        combined = event.pop("combined", False)
        involved = event["involvedObject"]
        key: tuple[str, ...] = (
            event["source"]["component"],
            event["source"].get("host", ""),
            *(str(involved.get(part, "")) for part in ("kind", "namespace", "name", "uid", "fieldPath")),
            event["type"],
            event["reason"],
            "" if combined else event["message"],
        )
        seen = self._seen.get(key)
        namespace = event["metadata"]["namespace"]
        if seen is not None:
            patch = {
                "count": seen.count + 1,
                "lastTimestamp": event["lastTimestamp"],
                "message": event["message"],
            }
            try:
                await self.client.patch(EVENTS, namespace, seen.name, patch, "strategic")
            except ApiError as error:
                if error.code != 404:  # 404: it has expired, a new one is written
                    raise
            else:
                seen.count += 1
                self._seen.move_to_end(key)
                return
        event["metadata"]["name"] = f"{involved['name']}.{secrets.token_hex(8)}"
        await self.client.create(EVENTS, event)
        self._seen[key] = _Seen(event["metadata"]["name"], 1)
        _trim(self._seen)


def _trim(cache: OrderedDict[tuple[str, ...], Any]) -> None:
    while len(cache) > CACHE:
        cache.popitem(last=False)
