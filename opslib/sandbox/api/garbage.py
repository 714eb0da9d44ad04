"""Deletion: grace periods, finalizers, and the garbage collector's background, foreground and orphan policies.

Source: k8s.io/apiserver/pkg/registry/rest/delete.go and k8s.io/kubernetes/pkg/controller/garbagecollector. The namespace
controller's work (deleting what a terminating namespace holds) is done here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from opslib.sandbox.api.errors import FieldError, Json, invalid
from opslib.sandbox.api.registry import Registry, Resource, StorageKey
from opslib.sandbox.api.store import Entry, Store

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
POLICIES = ("Background", "Foreground", "Orphan")
NAMESPACES: StorageKey = ("", "namespaces")
Remove = Callable[[Resource, str, str], Entry]


def stamp(moment: datetime) -> str:
    """metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Collector:
    """Deletes objects the way Kubernetes does; dependents follow in the next turns of the event loop."""

    def __init__(self, store: Store, registry: Registry, remove: Remove) -> None:
        self.store, self.registry, self._remove = store, registry, remove

    # one delete request

    def delete(self, resource: Resource, namespace: str, name: str, body: Json) -> tuple[Entry, bool]:
        """Delete now, or mark as being deleted. Returns the object's last known state and whether it is gone."""
        entry = self.store.get(resource.key, namespace, name)
        assert entry is not None
        policy = self._policy(resource, name, body)
        meta = entry.obj["metadata"]
        finalizers = list(meta.get("finalizers") or ())
        if policy == "Foreground" and FOREGROUND not in finalizers and self.store.dependents(meta["uid"]):
            finalizers.append(FOREGROUND)
        if policy == "Orphan" and ORPHAN not in finalizers and self.store.dependents(meta["uid"]):
            finalizers.append(ORPHAN)
        grace = self._grace(resource, entry.obj, body)
        if resource.key == NAMESPACES:
            return self._terminate_namespace(resource, name, entry), False
        if not finalizers and grace == 0:
            return self._remove(resource, namespace, name), True
        obj = entry.copy()
        changed = obj["metadata"]
        shorter = grace < changed.get("deletionGracePeriodSeconds", grace + 1)
        if not changed.get("deletionTimestamp") or (resource.kind == "Pod" and shorter):
            changed["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=grace))
            changed["deletionGracePeriodSeconds"] = grace
            if "generation" in changed:
                changed["generation"] += 1
        changed["finalizers"] = finalizers
        if not finalizers:
            del changed["finalizers"]
        result = entry if obj == entry.obj else self.store.put(resource.key, namespace, name, obj)
        self._later(self._advance, resource.key, namespace, name)
        return result, False

    @staticmethod
    def _policy(resource: Resource, name: str, body: Json) -> str:
        policy = body.get("propagationPolicy")
        if policy is not None and policy not in POLICIES:
            shown = ", ".join(f'"{p}"' for p in ("Foreground", "Background", "Orphan"))
            problem = FieldError(
                "FieldValueNotSupported", "propagationPolicy", f"supported values: {shown}", policy
            )
            raise invalid("DeleteOptions", "meta.k8s.io", "", [problem])
        if body.get("orphanDependents") is True:
            return "Orphan"
        del resource, name
        return str(policy or "Background")

    @staticmethod
    def _grace(resource: Resource, obj: Json, body: Json) -> int:
        """Seconds that a pod gets; 0 for all other kinds, unscheduled and finished pods (podStrategy)."""
        if resource.key != ("", "pods"):
            return 0
        spec = obj.get("spec") or {}
        given = body.get("gracePeriodSeconds")
        grace = int(given if given is not None else spec.get("terminationGracePeriodSeconds", 30))
        if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        held = obj["metadata"].get("deletionGracePeriodSeconds")
        return min(grace, held) if held is not None else max(grace, 0)

    # finalizers of the collector itself

    def may_go(self, resource: Resource, obj: Json) -> bool:
        """Whether an object without finalizers that is being deleted may be removed now."""
        if resource.key == NAMESPACES:
            return not (obj.get("spec") or {}).get("finalizers")
        return resource.key != ("", "pods") or obj["metadata"].get("deletionGracePeriodSeconds", 0) == 0

    def _later(self, step: Callable[..., None], *args: object) -> None:
        try:
            asyncio.get_running_loop().call_soon(step, *args)
        except RuntimeError:  # no loop: at load time
            step(*args)

    def _row(self, key: StorageKey) -> Resource | None:
        return self.registry.for_storage(key)

    def _advance(self, key: StorageKey, namespace: str, name: str) -> None:
        """Work on the collector's own finalizers of an object that is being deleted."""
        entry, resource = self.store.get(key, namespace, name), self._row(key)
        if entry is None or resource is None or not entry.obj["metadata"].get("deletionTimestamp"):
            return
        finalizers = entry.obj["metadata"].get("finalizers") or []
        uid = entry.obj["metadata"]["uid"]
        if ORPHAN in finalizers:
            for where, (ns, dependent) in self.store.dependents(uid):
                self._disown(where, ns, dependent, uid)
            self._drop(resource, namespace, name, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = False
            for where, (ns, dependent) in self.store.dependents(uid):
                blocking |= self._delete_dependent(where, ns, dependent, uid, "Foreground")
            if not blocking:
                self._drop(resource, namespace, name, FOREGROUND)

    def _drop(self, resource: Resource, namespace: str, name: str, finalizer: str) -> None:
        entry = self.store.get(resource.key, namespace, name)
        if entry is None:
            return
        obj = entry.copy()
        left = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
        obj["metadata"]["finalizers"] = left
        if not left:
            del obj["metadata"]["finalizers"]
        self.store.put(resource.key, namespace, name, obj)
        if not left and self.may_go(resource, obj):
            self._remove(resource, namespace, name)

    def _disown(self, key: StorageKey, namespace: str, name: str, uid: str) -> None:
        entry = self.store.get(key, namespace, name)
        if entry is None:
            return
        obj = entry.copy()
        owners = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] != uid]
        obj["metadata"]["ownerReferences"] = owners
        if not owners:
            del obj["metadata"]["ownerReferences"]
        self.store.put(key, namespace, name, obj)

    def _delete_dependent(self, key: StorageKey, namespace: str, name: str, uid: str, policy: str) -> bool:
        """Delete one dependent; True while it blocks its owner's foreground deletion."""
        entry, resource = self.store.get(key, namespace, name), self._row(key)
        if entry is None or resource is None:
            return False
        owners = entry.obj["metadata"].get("ownerReferences") or []
        alive = [r for r in owners if r["uid"] != uid and self._is_alive(r["uid"])]
        if alive:
            self._disown(key, namespace, name, uid)
            return False
        blocks = any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in owners)
        if not entry.obj["metadata"].get("deletionTimestamp"):
            _, gone = self.delete(resource, namespace, name, {"propagationPolicy": policy})
            return blocks and not gone
        return blocks

    def _is_alive(self, uid: str) -> bool:
        place = self.store.by_uid(uid)
        if place is None:
            return False
        entry = self.store.get(place[0], *place[1])
        return entry is not None and FOREGROUND not in (entry.obj["metadata"].get("finalizers") or ())

    # consequences of a removal

    def gone(self, entry: Entry) -> None:
        """An object was removed: dependents go in the background, waiting owners and namespaces may go on."""
        meta = entry.obj["metadata"]
        self._later(self._collect, meta.get("uid", ""))
        for ref in meta.get("ownerReferences") or ():
            place = self.store.by_uid(ref["uid"])
            if place:
                self._later(self._advance, place[0], *place[1])
        if meta.get("namespace"):
            self._later(self._empty_namespace, meta["namespace"])

    def _collect(self, uid: str) -> None:
        if not uid or self.store.by_uid(uid) is not None:
            return
        for key, (namespace, name) in self.store.dependents(uid):
            self._delete_dependent(key, namespace, name, uid, "Background")

    def sweep(self) -> None:
        """Go through everything once (after a start or a restore): absent owners, pending deletions."""
        uids = {
            ref["uid"]
            for key in self.registry.storages()
            for _, entry in self.store.items(key)
            for ref in entry.obj["metadata"].get("ownerReferences") or ()
        }
        for uid in uids:
            self._collect(uid)
        for (_, name), entry in self.store.items(NAMESPACES):
            if entry.obj["metadata"].get("deletionTimestamp"):
                self._empty_namespace(name)

    # namespaces

    def _terminate_namespace(self, resource: Resource, name: str, entry: Entry) -> Entry:
        result = entry
        if not entry.obj["metadata"].get("deletionTimestamp"):
            obj = entry.copy()
            obj["metadata"]["deletionTimestamp"] = stamp(datetime.now(UTC))
            obj.setdefault("status", {})["phase"] = "Terminating"
            result = self.store.put(resource.key, "", name, obj)
        self._later(self._empty_namespace, name)
        return result

    def _empty_namespace(self, name: str) -> None:
        entry = self.store.get(NAMESPACES, "", name)
        if entry is None or not entry.obj["metadata"].get("deletionTimestamp"):
            return
        for key, (namespace, item) in list(self.store.namespaces_in_use(name)):
            held, resource = self.store.get(key, namespace, item), self._row(key)
            if held and resource and not held.obj["metadata"].get("deletionTimestamp"):
                self.delete(resource, namespace, item, {})
        if next(self.store.namespaces_in_use(name), None) is not None:
            return
        obj = entry.copy()
        if "kubernetes" in ((obj.get("spec") or {}).get("finalizers") or ()):
            obj["spec"]["finalizers"] = [f for f in obj["spec"]["finalizers"] if f != "kubernetes"]
            self.store.put(NAMESPACES, "", name, obj)
        row = self._row(NAMESPACES)
        if row and not obj["spec"].get("finalizers") and not obj["metadata"].get("finalizers"):
            self._remove(row, "", name)
