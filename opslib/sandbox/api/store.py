"""Objects in memory, their resource versions, the log that watches read, and the file they persist in.

Semantics are etcd's as the API server shows them: one rising revision for all objects, optimistic concurrency on it,
a bounded history (a watch older than the history gets 410). Objects are kept without apiVersion and kind, as parsed
and as encoded JSON; both are shared with readers, so nobody may change an object that came from here.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import StorageKey

HISTORY = 5000  # events kept for watches that reconnect
ObjectKey = tuple[str, str]  # namespace ("" when cluster-scoped), name


def encode(value: object) -> bytes:
    """Compact JSON, as sent and stored."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class Entry:
    """One stored object at one revision."""

    obj: Json
    data: bytes
    rv: int

    def copy(self) -> Json:
        """An own copy that may be changed."""
        copied: Json = json.loads(self.data)
        return copied


@dataclass(slots=True)
class Change:
    """What one write did: told to listeners, and kept in the history as bytes."""

    rv: int
    key: StorageKey
    where: ObjectKey
    new: Entry | None
    old: Entry | None


@dataclass(slots=True)
class Logged:
    """A change in the history."""

    rv: int
    key: StorageKey
    where: ObjectKey
    new: bytes | None
    old: bytes | None


Listener = Callable[[Change], None]


class Store:
    """All objects of the sandbox's cluster. Not thread-safe: used from the event loop only."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rv = 1
        self._tables: dict[StorageKey, dict[ObjectKey, Entry]] = defaultdict(dict)
        self._history: deque[Logged] = deque()
        self._forgotten: dict[StorageKey, int] = {}
        self.oldest = 1
        self._listeners: list[Listener] = []
        self._owners: dict[str, set[tuple[StorageKey, ObjectKey]]] = defaultdict(set)
        self._uids: dict[str, tuple[StorageKey, ObjectKey]] = {}
        self._dirty = asyncio.Event()
        self._writing = threading.Lock()

    # reading

    def get(self, key: StorageKey, namespace: str, name: str) -> Entry | None:
        """The current entry, or None."""
        table = self._tables.get(key)
        return table.get((namespace, name)) if table else None

    def items(self, key: StorageKey, namespace: str = "") -> list[tuple[ObjectKey, Entry]]:
        """Entries of one storage (of one namespace if given) in etcd's order: by namespace, then name."""
        table = self._tables.get(key)
        if not table:
            return []
        found = [(k, e) for k, e in table.items() if not namespace or k[0] == namespace]
        found.sort(key=lambda pair: pair[0])
        return found

    def count(self, key: StorageKey) -> int:
        """How many objects a storage holds."""
        return len(self._tables.get(key, ()))

    def by_uid(self, uid: str) -> tuple[StorageKey, ObjectKey] | None:
        """Where the object of this uid lives."""
        return self._uids.get(uid)

    def dependents(self, uid: str) -> list[tuple[StorageKey, ObjectKey]]:
        """Objects whose ownerReferences name this uid."""
        return sorted(self._owners.get(uid, ()))

    def namespaces_in_use(self, namespace: str) -> Iterator[tuple[StorageKey, ObjectKey]]:
        """Everything that lives in a namespace."""
        for key, table in list(self._tables.items()):
            for where in list(table):
                if where[0] == namespace:
                    yield key, where

    # writing

    def put(self, key: StorageKey, namespace: str, name: str, obj: Json) -> Entry:
        """Write one object; gives it the next resourceVersion and tells listeners."""
        old = self._tables[key].get((namespace, name))
        self.rv += 1
        obj["metadata"]["resourceVersion"] = str(self.rv)
        entry = Entry(obj, encode(obj), self.rv)
        self._index((key, (namespace, name)), old, entry)
        self._tables[key][namespace, name] = entry
        self._record(Change(self.rv, key, (namespace, name), entry, old))
        return entry

    def remove(self, key: StorageKey, namespace: str, name: str) -> Entry:
        """Delete one object for good; the DELETED event carries the deletion's own resourceVersion."""
        old = self._tables[key].pop((namespace, name))
        self.rv += 1
        last = old.copy()
        last["metadata"]["resourceVersion"] = str(self.rv)
        final = Entry(last, encode(last), self.rv)
        self._index((key, (namespace, name)), old, None)
        self._record(Change(self.rv, key, (namespace, name), None, final))
        return final

    def _index(self, place: tuple[StorageKey, ObjectKey], old: Entry | None, new: Entry | None) -> None:
        if old:
            for ref in old.obj["metadata"].get("ownerReferences") or ():
                self._owners[ref["uid"]].discard(place)
                if not self._owners[ref["uid"]]:
                    del self._owners[ref["uid"]]
            self._uids.pop(old.obj["metadata"].get("uid", ""), None)
        if new:
            for ref in new.obj["metadata"].get("ownerReferences") or ():
                self._owners[ref["uid"]].add(place)
            self._uids[new.obj["metadata"].get("uid", "")] = place

    def _record(self, change: Change) -> None:
        new = change.new.data if change.new else None
        old = change.old.data if change.old else None
        self._history.append(Logged(change.rv, change.key, change.where, new, old))
        if len(self._history) > HISTORY:
            gone = self._history.popleft()
            self._forgotten[gone.key] = gone.rv
        self._dirty.set()
        for listener in tuple(self._listeners):
            listener(change)

    # watching

    def listen(self, listener: Listener) -> None:
        """Call this at every change, in the order of the revisions."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop calling it."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def forgotten(self, key: StorageKey) -> int:
        """The last revision of this storage that the history no longer holds."""
        return max(self._forgotten.get(key, 0), self.oldest - 1)

    def since(self, key: StorageKey, rv: int) -> list[Logged]:
        """The changes of one storage after a revision."""
        found = []
        for logged in reversed(self._history):
            if logged.rv <= rv:
                break
            if logged.key == key:
                found.append(logged)
        found.reverse()
        return found

    # the whole state

    def dump(self) -> Json:
        """The whole state: ``{"rv": …, "objects": [{"group", "plural", "object"}, …]}``."""
        objects = [
            {"group": key[0], "plural": key[1], "object": entry.obj}
            for key, table in sorted(self._tables.items())
            for _, entry in sorted(table.items())
        ]
        return {"version": 1, "rv": self.rv, "objects": objects}

    def load(self, state: Json) -> None:
        """Replace everything. The revision only ever rises, so that an old watch cannot be taken for a new one."""
        self._tables.clear()
        self._owners.clear()
        self._uids.clear()
        self._history.clear()
        self._forgotten.clear()
        for item in state["objects"]:
            obj, key = item["object"], (item["group"], item["plural"])
            meta = obj["metadata"]
            where = (meta.get("namespace", ""), meta["name"])
            entry = Entry(obj, encode(obj), int(meta["resourceVersion"]))
            self._tables[key][where] = entry
            self._index((key, where), None, entry)
        self.rv = max(self.rv, int(state["rv"])) + 1
        self.oldest = self.rv
        self._dirty.set()

    # persistence

    def read(self) -> bool:
        """Load the file, if there is one; True if there was."""
        if self.path is None or not self.path.exists():
            return False
        self.load(json.loads(self.path.read_bytes()))
        self._dirty.clear()
        return True

    def _pieces(self) -> list[bytes]:
        parts = [b'{"version":1,"rv":%d,"objects":[' % self.rv]
        comma = b""
        for key, table in self._tables.items():
            head = encode({"group": key[0], "plural": key[1]})[:-1]
            for entry in table.values():
                parts += (comma, head, b',"object":', entry.data, b"}\n")
                comma = b","
        parts.append(b"]}")
        return parts

    def _write(self, parts: list[bytes], path: Path) -> None:
        with self._writing:
            temporary = path.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
            with temporary.open("wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)

    def save(self) -> None:
        """Write the file now, atomically."""
        if self.path is not None:
            self._dirty.clear()
            self._write(self._pieces(), self.path)

    async def keep_saving(self, every: float = 1.0) -> None:
        """Write the file at most once a second while there are changes; runs until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self.path is not None:
                await asyncio.to_thread(self._write, self._pieces(), self.path)
            await asyncio.sleep(every)


def labels_of(obj: Json) -> dict[str, Any]:
    """The labels of an object, never None."""
    return obj["metadata"].get("labels") or {}
