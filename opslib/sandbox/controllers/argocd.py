"""Argo CD: Applications are compared with git, synced, and kept so.

Source: argoproj/argo-cd controller (v2.9): auto-sync, self-heal, prune, history, events. Git is a folder here,
<state>/git/APPLICATION, one JSON manifest a file; its content's digest stands for the commit. It is read every 180
platform seconds, and at once when the Application is annotated argocd.argoproj.io/refresh (as by a webhook).

Nothing happens while a StatefulSet or Deployment argocd-application-controller exists without a ready pod.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from opslib.sandbox.client import APPLICATIONS, STATEFULSETS, ApiError, Manifest, Resource
from opslib.sandbox.clock import parse_stamp, stamp
from opslib.sandbox.controllers import threeway
from opslib.sandbox.controllers.apphealth import health_of, worst
from opslib.sandbox.controllers.rollout import current
from opslib.sandbox.controllers.runtime import Context, Controller
from opslib.sandbox.informer import Informer, key_of

TRACKING = "argocd.argoproj.io/tracking-id"
REFRESH = "argocd.argoproj.io/refresh"
RECONCILE = 180.0  # platform seconds; timeout.reconciliation
SELF_HEAL = 5.0  # platform seconds; --self-heal-timeout-seconds
SELF_HEAL_LEAST = 1.0  # real seconds, so that people and tests can see the drift
HISTORY = 10
CONTROLLER = "argocd-application-controller"


@dataclass
class _Item:
    """One object of an Application: what git wants and what is there."""

    resource: Resource
    wanted: Manifest | None
    live: Manifest | None
    synced: bool

    @property
    def identity(self) -> Manifest:
        obj = self.wanted or self.live or {}
        return {
            "group": self.resource.group,
            "version": self.resource.version,
            "kind": self.resource.kind,
            "namespace": obj["metadata"].get("namespace", ""),
            "name": obj["metadata"]["name"],
        }


@dataclass
class _Comparison:
    revision: str
    items: list[_Item] = field(default_factory=list)
    error: str = ""

    @property
    def sync(self) -> str:
        if self.error:
            return "Unknown"
        return "Synced" if all(item.synced for item in self.items) else "OutOfSync"


class ArgoController(Controller):
    name = CONTROLLER
    workers = 1

    def __init__(self, context: Context, state: Path) -> None:
        super().__init__(context)
        self.git = state / "git"
        self.recorder = context.recorder.named(self.name)
        self.applications = self.watch(APPLICATIONS, required=False)
        self.engines = self.watch(STATEFULSETS, lambda _old, _new: [])
        self._resources: dict[tuple[str, str], Resource] = {}
        self._watched: dict[Resource, Informer] = {}
        self._target: dict[str, tuple[str, list[Manifest]]] = {}  # what git said when it was last read
        self._read: dict[str, float] = {}  # platform time of that
        self._drifted: dict[str, dt.datetime] = {}  # application -> since when it is out of sync
        self._revisions: dict[tuple[str, str], str] = {}  # (application, digest) -> commit

    def forget(self) -> None:
        super().forget()
        for memory in (self._target, self._read, self._drifted):
            memory.clear()
        for app in self.applications:
            self.queue.add(key_of(app))

    async def reconcile(self, key: str) -> float | None:
        app = self.applications.get(key)
        if app is None or app["metadata"].get("deletionTimestamp"):
            return None
        if self._engine_is_down(app["metadata"]["namespace"]):
            return self.clock.speed  # look again in a real second
        app = copy.deepcopy(app)
        now = asyncio.get_running_loop().time() * self.clock.speed
        read_at = self._read.get(key, -RECONCILE)
        if REFRESH in (app["metadata"].get("annotations") or {}) or app.get("operation"):
            read_at = -RECONCILE
            if not app.get("operation"):
                await self._write(app, {"metadata": {"annotations": {REFRESH: None}}})
        if now - read_at >= RECONCILE:
            self._target.pop(key, None)
            self._read[key] = now
        comparison = await self._compare(app)
        await self._report(app, comparison)
        wait = await self._act(app, comparison)
        if wait is None:
            await self._report(app, await self._compare(app))
        return RECONCILE if wait is None else wait

    def _engine_is_down(self, namespace: str) -> bool:
        engine = self.engines.get(f"{namespace}/{CONTROLLER}")
        return engine is not None and current(engine, "readyReplicas") == 0

    # comparing ------------------------------------------------------------------------------------------

    async def _compare(self, app: Manifest) -> _Comparison:
        name, key = app["metadata"]["name"], key_of(app)
        if key not in self._target:
            try:
                self._target[key] = self._read_git(app)
            except (OSError, ValueError) as error:
                text = "Failed to load target state: failed to generate manifest for source 1 of 1"
                return _Comparison("", error=f"{text}: {error}")
        digest, wanted = self._target[key]
        items = []
        seen: set[tuple[str, str]] = set()
        for manifest in wanted:
            resource = await self._resource(manifest["apiVersion"], manifest["kind"])
            live = (await self._informer(resource)).get(key_of(manifest))
            pointers = _ignored(app, resource, manifest)
            synced = live is not None and not threeway.out_of_sync(manifest, live, pointers)
            items.append(_Item(resource, manifest, live, synced))
            seen.add((resource.kind, key_of(manifest)))
        for resource, informer in self._watched.items():
            for live in informer:
                if self._belongs(live, name) and (resource.kind, key_of(live)) not in seen:
                    items.append(_Item(resource, None, live, synced=False))  # pruning is required
        comparison = _Comparison("", items)
        comparison.revision = self._revision(app, digest, comparison.sync)
        return comparison

    def _read_git(self, app: Manifest) -> tuple[str, list[Manifest]]:
        """What git says now: its digest and its manifests.

        Raises OSError or ValueError when there is nothing, or nothing that can be read.
        """
        name = app["metadata"]["name"]
        texts = {path.name: path.read_text() for path in sorted((self.git / name).glob("*.json"))}
        if not texts:
            path = (app["spec"].get("source") or {}).get("path", name)
            raise ValueError(f"rpc error: code = Unknown desc = {path}: app path does not exist")
        digest = hashlib.sha1(json.dumps(texts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        return digest, [json.loads(text) for text in texts.values()]

    def _revision(self, app: Manifest, digest: str, sync: str) -> str:
        known = (app["metadata"]["name"], digest)
        if known not in self._revisions:
            said = ((app.get("status") or {}).get("sync") or {}).get("revision")
            first = not any(name == known[0] for name, _ in self._revisions)
            # what is synced at the start is the commit that the Application already names
            self._revisions[known] = said if said and first and sync == "Synced" else digest
        return self._revisions[known]

    @staticmethod
    def _belongs(obj: Manifest, application: str) -> bool:
        note = (obj["metadata"].get("annotations") or {}).get(TRACKING, "")
        # the annotation names the object itself: a copied one (a pod's, a ReplicaSet's) does not count
        parts = note.split(":")
        return (
            len(parts) == 3
            and parts[0] == application
            and parts[2].split("/")[-1] == obj["metadata"]["name"]
            and parts[1].split("/")[-1] == obj["kind"]
        )

    async def _resource(self, api_version: str, kind: str) -> Resource:
        key = (api_version, kind)
        if key not in self._resources:
            group, _, version = api_version.rpartition("/")
            path = f"/apis/{api_version}" if group else f"/api/{version}"
            for entry in (await self.client.request("GET", path)).get("resources") or []:
                if entry["kind"] == kind and "/" not in entry["name"]:
                    self._resources[key] = Resource(group, version, entry["name"], kind, entry["namespaced"])
        if key not in self._resources:
            raise ApiError(404, "NotFound", f"the server could not find the resource {kind} in {api_version}")
        return self._resources[key]

    async def _informer(self, resource: Resource) -> Informer:
        if resource not in self._watched:

            def owners(old: Manifest | None, new: Manifest | None) -> Iterable[str]:
                obj = new or old
                if obj is None:
                    return
                for app in self.applications:
                    if self._belongs(obj, app["metadata"]["name"]):
                        yield key_of(app)

            informer = self.watch(resource, owners)
            await informer.synced.wait()
            self._watched[resource] = informer
        return self._watched[resource]

    # syncing --------------------------------------------------------------------------------------------

    async def _act(self, app: Manifest, comparison: _Comparison) -> float | None:
        """Sync when it is asked for or due. Returns platform seconds to wait first, None: nothing is pending."""
        asked = app.get("operation")
        if asked:
            await self._sync(app, comparison, automated=False, partial=False)
            return None
        automated = (app["spec"].get("syncPolicy") or {}).get("automated")
        if automated is None or comparison.sync != "OutOfSync" or automated.get("enabled") is False:
            return None
        due = [item for item in comparison.items if not item.synced]
        if not automated.get("prune") and all(item.wanted is None for item in due):
            return None
        state = (app.get("status") or {}).get("operationState") or {}
        done = (state.get("syncResult") or {}).get("revision")
        if done == comparison.revision:
            if state.get("phase") in {"Failed", "Error"} or not automated.get("selfHeal"):
                return None
            wait = self._heal_wait(app)
            if wait > 0:
                return wait
            await self._sync(app, comparison, automated=True, partial=True)
        else:
            await self._sync(app, comparison, automated=True, partial=False)
        return None

    def _heal_wait(self, app: Manifest) -> float:
        """Platform seconds until a drift may be healed: 5 s after the last sync, and seen for a real second."""
        key = key_of(app)
        first = self._drifted.setdefault(key, self.clock.now())
        finished = ((app.get("status") or {}).get("operationState") or {}).get("finishedAt")
        wait = SELF_HEAL_LEAST * self.clock.speed - self.clock.since(first)
        if finished:
            wait = max(wait, SELF_HEAL - self.clock.since(parse_stamp(finished)))
        return max(0.0, wait)

    async def _sync(self, app: Manifest, comparison: _Comparison, automated: bool, partial: bool) -> None:
        policy = app["spec"].get("syncPolicy") or {}
        prune = bool((policy.get("automated") or {}).get("prune"))
        asked = (app.get("operation") or {}).get("sync") or {}
        prune = bool(asked.get("prune")) if not automated else prune
        started, revision = self.clock.now(), comparison.revision
        due = [item for item in comparison.items if not item.synced]
        if automated:
            text = f"Initiated automated sync to '{revision}'"
            self.recorder.event(app, "Normal", "OperationStarted", text)
        results, failed = [], False
        for item in due if partial else comparison.items:
            status, message = await self._sync_item(item, prune)
            failed |= status == "SyncFailed"
            results.append({**item.identity, "status": status, "message": message, "syncPhase": "Sync"})
        finished = self.clock.now()
        phase = "Failed" if failed else "Succeeded"
        text = "one or more objects failed to apply" if failed else "successfully synced (all tasks run)"
        sync: Manifest = {"revision": revision, "prune": prune}
        if partial:
            sync["resources"] = [
                {k: v for k, v in item.identity.items() if k in {"group", "kind", "name"}} for item in due
            ]
        source = app["spec"].get("source") or {}
        operation: Manifest = {"sync": sync, "initiatedBy": {"automated": True} if automated else {}}
        if policy.get("retry"):
            operation["retry"] = policy["retry"]
        state = {
            "operation": operation,
            "phase": phase,
            "message": text,
            "startedAt": stamp(started),
            "finishedAt": stamp(finished),
            "syncResult": {"resources": results, "revision": revision, "source": source},
        }
        change: Manifest = {"status": {"operationState": state}}
        if app.get("operation"):
            change["operation"] = None
        if not failed and not partial:
            history = list((app.get("status") or {}).get("history") or [])
            history.append(
                {
                    "id": int(history[-1]["id"]) + 1 if history else 0,
                    "revision": revision,
                    "deployStartedAt": stamp(started),
                    "deployedAt": stamp(finished),
                    "source": source,
                    "initiatedBy": operation["initiatedBy"],
                }
            )
            change["status"]["history"] = history[-HISTORY:]
        await self._write(app, change)
        self._drifted.pop(key_of(app), None)
        what = f"{'Partial s' if partial else 'S'}ync operation to {revision} {'failed' if failed else 'succeeded'}"
        kind = "Warning" if failed else "Normal"
        self.recorder.event(app, kind, "OperationCompleted", what + (f": {text}" if failed else ""))

    async def _sync_item(self, item: _Item, prune: bool) -> tuple[str, str]:
        """(Synced | SyncFailed | Pruned | PruneSkipped, message)."""
        resource = item.resource
        what = f"{resource.kind.lower()}{'.' + resource.group if resource.group else ''}"
        informer = self._watched[resource]
        try:
            if item.wanted is None:
                live = item.live or {}
                if not prune:
                    return "PruneSkipped", "ignored (requires pruning)"
                meta = live["metadata"]
                await self.client.delete(
                    resource, meta.get("namespace"), meta["name"], propagation="Foreground"
                )
                return "Pruned", "pruned"
            meta = item.wanted["metadata"]
            if item.live is None:
                body = copy.deepcopy(item.wanted)
                notes = body["metadata"].setdefault("annotations", {})
                notes[threeway.LAST_APPLIED] = json.dumps(item.wanted, sort_keys=True) + "\n"
                informer.observe(await self.client.create(resource, body))
                return "Synced", f"{what}/{meta['name']} created"
            if item.synced:
                return "Synced", f"{what}/{meta['name']} unchanged"
            body = threeway.apply_patch(item.wanted, item.live)
            custom = "." in resource.group and not resource.group.endswith("k8s.io")
            changed = await self.client.patch(
                resource, meta.get("namespace"), meta["name"], body, "merge" if custom else "strategic"
            )
            informer.observe(changed)
            return "Synced", f"{what}/{meta['name']} configured"
        except ApiError as error:
            return "SyncFailed", error.message

    # reporting ------------------------------------------------------------------------------------------

    async def _report(self, app: Manifest, comparison: _Comparison) -> None:
        if comparison.sync == "Synced":
            self._drifted.pop(key_of(app), None)
        before = app.get("status") or {}
        source, destination = app["spec"].get("source") or {}, app["spec"].get("destination") or {}
        healths = []
        resources = []
        for item in comparison.items:
            entry: Manifest = {**item.identity, "status": "Synced" if item.synced else "OutOfSync"}
            entry = {k: v for k, v in entry.items() if v}
            health = {"status": "Missing"} if item.live is None else health_of(item.live)
            if health is not None:
                entry["health"] = health
                healths.append(health["status"])
            if item.wanted is None:
                entry["requiresPruning"] = True
            resources.append(entry)
        health_status = "Unknown" if comparison.error else worst(healths)
        status: Manifest = {
            "sync": {
                "status": comparison.sync,
                "comparedTo": {"source": source, "destination": destination},
                **({"revision": comparison.revision} if comparison.revision else {}),
            },
            "health": {"status": health_status},
        }
        if not comparison.error:
            status["resources"] = resources
            status["summary"] = {"images": _images(comparison.items)}
        conditions = self._conditions(before, comparison)
        if conditions != (before.get("conditions") or []):
            status["conditions"] = conditions or None
        change = {k: v for k, v in status.items() if v != before.get(k)}
        if not change:
            return
        for name in ("sync", "health"):
            old, new = (before.get(name) or {}).get("status", ""), status[name]["status"]
            if old != new:
                text = f"Updated {name} status: {old} -> {new}"
                self.recorder.event(app, "Normal", "ResourceUpdated", text)
        change["reconciledAt"] = stamp(self.clock.now())
        await self._write(app, {"status": change})

    def _conditions(self, before: Manifest, comparison: _Comparison) -> list[Manifest]:
        wanted: dict[str, str] = {}
        if comparison.error:
            wanted["ComparisonError"] = comparison.error
        state = before.get("operationState") or {}
        failed = state.get("phase") in {"Failed", "Error"}
        if failed and (state.get("syncResult") or {}).get("revision") == comparison.revision:
            wanted["SyncError"] = f"Failed sync attempt to {comparison.revision}: {state.get('message', '')}"
        result = []
        for kind, message in wanted.items():
            old = next((c for c in before.get("conditions") or [] if c["type"] == kind), None)
            at = old["lastTransitionTime"] if old and old["message"] == message else None
            result.append(
                {"type": kind, "message": message, "lastTransitionTime": at or stamp(self.clock.now())}
            )
        return result

    async def _write(self, app: Manifest, change: Manifest) -> None:
        """Patch an Application and go on with what the API made of it."""
        meta = app["metadata"]
        written = await self.client.patch(APPLICATIONS, meta["namespace"], meta["name"], change)
        self.applications.observe(written)
        app.clear()
        app.update(copy.deepcopy(written))


def _ignored(app: Manifest, resource: Resource, manifest: Manifest) -> list[str]:
    pointers: list[str] = []
    for rule in app["spec"].get("ignoreDifferences") or []:
        fits = rule.get("kind") == resource.kind and rule.get("group", "") == resource.group
        names = {"name": manifest["metadata"]["name"], "namespace": manifest["metadata"].get("namespace")}
        if fits and all(rule.get(k) in (None, "", v) for k, v in names.items()):
            pointers += rule.get("jsonPointers") or []
    return pointers


def _images(items: list[_Item]) -> list[str]:
    found: set[str] = set()
    for item in items:
        template = ((item.live or {}).get("spec") or {}).get("template") or {}
        for container in (template.get("spec") or {}).get("containers") or []:
            found.add(container["image"])
    return sorted(found)
