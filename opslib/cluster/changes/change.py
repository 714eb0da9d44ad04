"""A change of Kubernetes objects: ordered edits under one lease, each guarded and marked in its own request."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from opslib.cluster import access
from opslib.cluster.changes import leases as leasing
from opslib.cluster.changes import settling
from opslib.cluster.changes.edits import Edit, holds, mark_of, marked, patch_of, value_at, values
from opslib.cluster.client import Conflict, Invalid
from opslib.cluster.kinds import KINDS
from opslib.errors import (
    LeaseHeld,
    NotFound,
    NotPermitted,
    OpslibError,
    Refused,
    SourceError,
    TargetChanged,
    Unreachable,
)
from opslib.records.change import (
    AboutTo,
    Change,
    DryRun,
    Mark,
    Progress,
    Risk,
    Settled,
    Target,
    Tried,
    Undo,
)

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
TRIAL = Mark("dry-run", "0" * 12)
NEEDS_SECONDS = 60.0


class KubernetesChange(Change):
    """Patches, creations and deletions, in order. What it writes, it can take back exactly, in the reverse order."""

    dry_run_kind = DryRun.SERVER

    def __init__(
        self,
        api: Api,
        *,
        name: str,
        title: str,
        operation: str,
        target: Target,
        edits: Sequence[Edit],
        risk: Risk,
        guard: str = "",
        waits: Sequence[Mapping[str, Json]] = (),
        leased: Sequence[tuple[str, str]] = (),
        commands: Sequence[str] = (),
        follow_ups: Sequence[str] = (),
        departs: Sequence[str] = (),
        undo_kind: Undo = Undo.EXACT,
    ) -> None:
        self.api = api
        self.name = name
        self.title = title
        self.operation = operation
        self.target = target
        self.edits = tuple(edits)
        self.risk = risk
        self.waits = tuple(waits)
        self.leased = tuple(leased) or ((target.namespace, leasing.lease_name(target.object)),)
        self.commands = tuple(commands)
        self.follow_ups = tuple(follow_ups)
        self.departs = tuple(departs)
        self.undo_kind = undo_kind
        self.before = values(self.edits, "before")
        self.after = values(self.edits, "after")
        self.guard = guard or _hash(self.before)
        self._held: list[leasing.Held] = []

    def permitted(self) -> Tried:
        """Asks by access reviews for every edit and for the lease; says what is missing."""
        try:
            missing = access.refused(self.api, self._wishes())
        except SourceError as error:
            return Tried("unknown", f"the access reviews failed: {error}")
        if missing:
            return Tried("not permitted", f"this identity may not {', '.join(missing)}")
        return Tried("ok", f"{len(self.edits)} writes and the lease are permitted")

    def dry_run(self) -> Tried:
        """Sends every edit with dryRun=All: admission, validation and the guards run, nothing is stored."""
        try:
            for edit in self.edits:
                self._send(edit, self._live(edit), TRIAL, dry_run=True)
        except NotPermitted as error:
            return Tried("not permitted", error.what)
        except Refused as error:
            return Tried("rejected", str(error))
        except SourceError as error:
            return Tried("unknown", str(error))
        return Tried("ok", f"the API accepts all {len(self.edits)} writes")

    @contextmanager
    def _lease(self, holder: str) -> Iterator[None]:
        with leasing.leases(self.api, list(self.leased), holder) as held:
            self._held = held
            try:
                yield
            finally:
                self._held = []

    def lease(self, holder: str) -> AbstractContextManager[None]:
        return self._lease(holder)

    def mark_now(self) -> Mark | None:
        """The mark on the last object that this change writes, but only while what it wrote is still so.

        A change that was reverted (by Argo CD, by a new release) leaves its mark behind; it is not applied any more.
        """
        edit = next((e for e in reversed(self.edits) if e.action != "delete"), None)
        if edit is None:
            return None
        try:
            live = self.api.get(edit.path)
        except NotFound:
            return None
        if edit.action == "patch" and any(
            f.shown is None and f.dotted in holds(live, edit, "after") for f in edit.fields
        ):
            return None
        return mark_of(live)

    def apply(self, mark: Mark, about_to: AboutTo) -> Mapping[str, Json]:
        """Make the edits in order. All guards are looked at before the first write, so that it is all or, almost
        always, nothing; the guards in each request catch what changes in between.

        The receipt: {"edits": [{edit, uid, now, resource_version, generation}], "complete": bool}; `now` holds the written
        fields as the API answered them.
        """
        lives = [self._checked(edit) for edit in self.edits]
        written: list[Json] = []
        try:
            for edit, live in zip(self.edits, lives, strict=True):
                for held in self._held:
                    if held.lost:
                        raise LeaseHeld(
                            f"the lease {held.name} was lost: {held.lost}", target=str(self.target)
                        )
                about_to(
                    {
                        "action": edit.action,
                        "object": edit.object,
                        "namespace": edit.namespace,
                        "uid": edit.uid,
                    }
                )
                if edit.needs:
                    self._await(edit)
                done = self._write(edit, live, mark)
                meta = done.get("metadata") or {}
                written.append(
                    {
                        "edit": edit.to_json(),
                        "uid": edit.uid or meta.get("uid", ""),
                        "now": {f.pointer: value_at(done, f.pointer) for f in edit.fields},
                        "resource_version": meta.get("resourceVersion", ""),
                        "generation": meta.get("generation"),
                    }
                )
        except OpslibError as error:
            if written or isinstance(error, Unreachable):
                error.receipt = {"edits": written, "complete": False}  # type: ignore[attr-defined]
            raise
        return {"edits": written, "complete": True, "waits": [dict(wait) for wait in self.waits]}

    async def settle(self, receipt: Mapping[str, Json], progress: Progress, deadline: float) -> Settled:
        del receipt  # the waits are the change's own
        return await settling.settle(self.api, list(self.waits), list(self.edits), progress, deadline)

    def undo_spec(self, receipt: Mapping[str, Json]) -> Mapping[str, Json] | None:
        """The inverted edits of what was written, last first; None when nothing was."""
        written = receipt.get("edits") or []
        if not written or self.undo_kind is Undo.NONE:
            return None
        back = [
            Edit.from_json(entry["edit"]).inverted(entry["uid"], entry["now"]).to_json()
            for entry in reversed(written)
        ]
        return {
            "noun": "cluster",
            "version": 1,
            "name": self.name if self.name.startswith("undo-") else f"undo-{self.name}",
            "title": f"Undo: {self.title}",
            "undoes": self.digest,
            "target": dataclasses.asdict(self.target),
            "edits": back,
            "waits": [{**wait, "restored": True} for wait in self.waits if wait["for"] == "rollout"],
            "leased": [list(pair) for pair in self.leased],
            "risk": dataclasses.asdict(self.risk),
            "follow_ups": [],
        }

    def _wishes(self) -> list[access.Wish]:
        wishes = [
            access.Wish(
                e.action,
                e.type.group,
                e.type.plural,
                e.namespace,
                "" if e.action == "create" else e.name,  # a create has no name that RBAC could look at
            )
            for e in self.edits
        ]
        for namespace, name in self.leased:
            wishes += [
                access.Wish("create", "coordination.k8s.io", "leases", namespace),
                access.Wish("update", "coordination.k8s.io", "leases", namespace, name),
            ]
        return wishes

    def _live(self, edit: Edit) -> Json:
        return None if edit.action == "create" else self.api.get(edit.path)

    def _checked(self, edit: Edit) -> Json:
        try:
            live = self._live(edit)
        except NotFound as error:
            raise self._changed(edit, "it is gone") from error
        if live is not None:
            self._compare(edit, live)
        return live

    def _compare(self, edit: Edit, live: Json) -> None:
        if edit.uid and live["metadata"]["uid"] != edit.uid:
            raise self._changed(edit, "it was deleted and made again")
        if other := holds(live, edit, "before"):
            raise self._changed(edit, f"{', '.join(other)} is no longer what the diff showed")

    def _changed(self, edit: Edit, why: str) -> TargetChanged:
        where = "/".join(part for part in (self.api.cluster, edit.namespace, edit.object) if part)
        return TargetChanged(why, target=where, next="observe again and confirm what it shows then")

    def _await(self, edit: Edit) -> None:
        where = KINDS["deployment"].path(edit.namespace, edit.needs)
        end = time.monotonic() + NEEDS_SECONDS
        while not (self.api.get(where).get("status") or {}).get("availableReplicas"):
            if time.monotonic() > end:
                raise OpslibError(
                    f"no pod of {edit.needs} became available within {NEEDS_SECONDS:g} s; {edit.object} was left as it is",
                    target=f"{self.api.cluster}/{edit.namespace}/deployment/{edit.needs}",
                    next="see why its pods do not start, then undo this change or apply it again",
                )
            time.sleep(0.2)

    def _write(self, edit: Edit, live: Json, mark: Mark) -> Json:
        for last in (False, False, True):  # a patch guarded by the version is tried again on a fresh read
            try:
                return self._send(edit, live, mark)
            except (Conflict, Invalid) as error:
                if edit.action == "create":
                    raise
                live = self._checked(edit)  # raises TargetChanged when a guarded value is another now
                if last or (isinstance(error, Invalid) and not _by_version(edit, live, mark)):
                    raise
            except NotFound as error:
                raise self._changed(edit, "it is gone") from error
            except Unreachable:
                # The request may have arrived: the mark on the object tells.
                if done := self._arrived(edit, mark):
                    return done
                raise
        raise AssertionError("unreachable")

    def _arrived(self, edit: Edit, mark: Mark) -> Json | None:
        if edit.action == "delete":
            return None
        try:
            live = self.api.get(edit.path)
        except OpslibError:
            return None
        return live if mark_of(live) == mark and not holds(live, edit, "after") else None

    def _send(self, edit: Edit, live: Json, mark: Mark, *, dry_run: bool = False) -> Json:
        params = {"dryRun": "All"} if dry_run else {}
        if edit.action == "create":
            return self.api.post(edit.type.path(edit.namespace), marked(edit.manifest, mark), **params)
        if edit.action == "delete":
            return self.api.delete(edit.path, uid=edit.uid, **params)
        if dry_run:
            self._compare(edit, live)
        return self.api.patch(edit.path, patch_of(edit, live, mark), fieldManager="opslib", **params)


def _by_version(edit: Edit, live: Json, mark: Mark) -> bool:
    return any(o["path"] == "/metadata/resourceVersion" for o in patch_of(edit, live, mark))


def _hash(before: Mapping[str, Json]) -> str:
    """The values before, as a guard: a confirmation is stale as soon as one of them is another."""
    return "before:" + hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:12]


def revive(api: Api, spec: Mapping[str, Json]) -> KubernetesChange:
    """The undoing change from its JSON, in any process. Raises Refused for a spec of something else."""
    if spec.get("noun") != "cluster" or spec.get("version") != 1:
        raise Refused(
            f"this undo is for {spec.get('noun')!r}, version {spec.get('version')}",
            next="use the opslib that wrote it",
        )
    edits = [Edit.from_json(raw) for raw in spec["edits"]]
    raw = spec["risk"]
    return KubernetesChange(
        api,
        name=spec["name"],
        title=spec["title"],
        operation="undo",
        target=Target(**spec["target"]),
        edits=edits,
        risk=Risk(raw["level"], f"Puts back what was before. {raw['says']}", tuple(raw["touches"])),
        waits=[*spec["waits"]],
        leased=[(pair[0], pair[1]) for pair in spec["leased"]],
        follow_ups=tuple(spec.get("follow_ups") or ()),
        commands=[f"# {edit.action} {edit.object} in {edit.namespace}: see the diff" for edit in edits],
    )
