"""The only way to the platform: permission, confirmation, lease, dry run, journal, write, settle, verify.

An observing run stops after the permission: it proposes. Whatever is about to be written is first in the
journal, fsynced; the object
itself carries the run's id and the change's digest. From these two, and from nothing else, a later run knows
what was applied.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from opslib.errors import NotPermitted, OpslibError, Refused, StaleConfirmation, WrongCluster
from opslib.records.change import Change, DryRun, Mark, Settled, Tried
from opslib.records.ids import new_id
from opslib.records.measurement import Measurement, Symptom
from opslib.records.model import Kind, Limits, Status, change_json, now
from opslib.runs import gates, opening
from opslib.runs.applied import Applied, receipt_of
from opslib.runs.confirmations import OBSERVE, Proposal, lost_by
from opslib.runs.verifying import verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opslib.runs.run import Run

SETTLE_DEADLINE = 600.0  # seconds; Kubernetes' own progress deadline for a rollout is as long


class Applying:
    """One change on its way. The record it shows is rewritten in place as it goes on."""

    def __init__(self, run: Run, change: Change) -> None:
        self.run, self.change = run, change
        self.confirmation = change.confirmation
        self.body = change_json(change)
        self._id = f"opslib-{new_id()}"
        self._record: dict[str, Any] | None = None
        self._progress: list[str] = []
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._sent = 0  # requests about to be written

    async def go(self, symptom: Symptom | None, settle_deadline: float) -> Applied:
        """The whole way. Raises Refused and its kind when nothing was touched, other OpslibErrors when it
        failed.
        """
        self._bound_to_this_cluster()
        permitted = await asyncio.to_thread(self.change.permitted)
        if self.run.interactive and not self.run.approved:
            proposal = await self._at_the_gate(permitted)
            if proposal is None:
                return Applied("refused", self.change, says="refused at the gate")
        elif self.confirmation not in self.run.approved:
            return self._propose(permitted)
        else:
            lost = self._lost()
            if lost is not None and self._marked_by(lost):
                return await self._already(lost, symptom, settle_deadline)
            proposal = self.run.confirmations.check(self.confirmation, self.run.cluster_uid)
        await asyncio.to_thread(self._known)
        self._may(permitted)
        async with self._leased():
            receipt, settled, since = await self._write(proposal, settle_deadline)
        return await self._prove(symptom, receipt, settled, since)

    # Before anything is written
    # ---------------------------------------------------------------------------------

    def _bound_to_this_cluster(self) -> None:
        meant, here = self.change.target.cluster_uid, self.run.cluster_uid
        if meant and here and meant != here:
            raise WrongCluster(
                f"the change is for the cluster {meant}, this run is on {here}",
                target=str(self.change.target),
                next="choose the context of the cluster you mean",
            )

    def _propose(self, permitted: Tried) -> Applied:
        expires = self.run.confirmations.propose(self.run.id, self.change)
        command = f"opslib apply {self.run.id}"
        self.run.journal.write(
            "proposal", change=self.body, expires=expires, command=command, permitted=permitted.status
        )
        self.run.emitter.emit(
            Kind.PROPOSAL,
            self.change.name,
            status=Status.WARNING,
            target=self.change.target,
            because="nothing was changed: this run observes",
            seconds=time.monotonic() - self._began,
            change=self.body,
            command=command,
            permitted=_said(permitted),
            tried=self._trial_to_come(),
            expires=expires,
        )
        others = [item for item in self.run.approved if item.split("@")[0] == self.change.name]
        if others and (lost := self.run.confirmations.lost(others[0])):
            raise StaleConfirmation(
                f"run {lost[0]} applied {others[0]} and died before it knew the result; it is not applied again, and as"
                f" things stand now the change is {self.confirmation}",
                target=str(self.change.target),
                next="wait until its rollout is over and observe again; if users are still not served, "
                f"look at the new proposal: {command}",
            )
        if others:
            raise StaleConfirmation(
                f"{others[0]} was confirmed, but as things stand now the change is {self.confirmation}",
                target=str(self.change.target),
                next=f"look at the new proposal, then: {command}",
            )
        return Applied("proposed", self.change, says=f"proposed; apply it with: {command}")

    def _trial_to_come(self) -> str:
        """Observing sends no write but access reviews, so a server's dry run waits for the confirmation."""
        if self.change.dry_run_kind is DryRun.SERVER:
            return "will be tried on the server before it is applied"
        if self.change.dry_run_kind is DryRun.ESTIMATE:
            return _said(self.change.dry_run())
        return "cannot be tried beforehand"

    async def _at_the_gate(self, permitted: Tried) -> Proposal | None:
        self._may(permitted)
        self.run.confirmations.propose(self.run.id, self.change)
        self.run.journal.write("proposal", change=self.body, command="", permitted=permitted.status)
        self.run.stands(f"waits at the gate: {self.change.title}?")
        answer = await gates.ask(self.change, self._trial_to_come())
        self.run.journal.write(
            "confirmation" if answer.confirmed else "refused",
            confirmation=self.confirmation,
            how=answer.how,
            identity=self.run.identity.to_json(),
        )
        self.run.emitter.emit(
            Kind.CONFIRMATION,
            self.change.name,
            status=Status.OK if answer.confirmed else Status.WARNING,
            target=self.change.target,
            because=f"{'confirmed' if answer.confirmed else 'refused'}: {answer.how}; {self.confirmation}",
            identity=self.run.identity.to_json(),
        )
        if not answer.confirmed:
            return None
        return self.run.confirmations.check(self.confirmation, self.run.cluster_uid)

    def _known(self) -> None:
        """Who and where must be known before anything is written; a slow answer at the start is asked for again."""
        run = self.run
        cluster = getattr(run, "cluster", None)
        if cluster is None or (run.cluster_uid and run.identity.cluster_user):
            return
        run.identity, run.cluster_uid, why = opening.identify(cluster.noun)
        opening.guard(run.cluster_uid, run.profile, run.parameters)
        self._bound_to_this_cluster()
        if why:
            raise Refused(
                f"it is unknown who and where this is: {why}",
                target=str(self.change.target),
                next="ask the API directly (`opslib doctor`), then confirm again; nothing was changed",
            )

    def _may(self, permitted: Tried) -> None:
        """Raise NotPermitted when the identity may not, or when neither permission nor a dry run can tell."""
        unknown = permitted.status == "unknown" and self.change.dry_run_kind is not DryRun.SERVER
        if permitted.status == "not permitted" or unknown:
            raise NotPermitted(
                f"{self.run.identity.cluster_user or 'this identity'} may not: {permitted.says or permitted.status}",
                target=str(self.change.target),
                next="use a responder's identity; the proposal stays good for 30 minutes",
            )

    def _lost(self) -> tuple[str, int] | None:
        return self.run.confirmations.lost(self.confirmation)

    def _marked_by(self, lost: tuple[str, int]) -> bool:
        mark = self.change.mark_now()
        return mark is not None and mark.digest == self.change.digest and mark.run == lost[0]

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[None]:
        """The lease, taken and given back in a thread: both talk to the platform."""
        lease: AbstractContextManager[None] = self.change.lease(self.run.holder)
        await asyncio.to_thread(lease.__enter__)
        try:
            yield
        finally:
            await asyncio.shield(asyncio.to_thread(lease.__exit__, None, None, None))

    def _try(self) -> Tried:
        tried = self.change.dry_run()
        if tried.status == "rejected" or (
            tried.status == "unknown" and self.change.dry_run_kind is DryRun.SERVER
        ):
            raise Refused(
                f"the dry run said {tried.status}: {tried.says}", target=str(self.change.target), next=OBSERVE
            )
        return tried

    # Writing
    # ----------------------------------------------------------------------------------------------------

    async def _write(
        self, proposal: Proposal, settle_deadline: float
    ) -> tuple[Mapping[str, Any], Settled, datetime]:
        tried = await asyncio.to_thread(self._try)
        mark = await asyncio.to_thread(self.change.mark_now)
        if (
            mark
            and mark.digest == self.change.digest
            and (lost := lost_by(self.run.root, mark.run, self.confirmation))
        ):
            raise StaleConfirmation(
                f"run {lost[0]} applied exactly this and died before it knew the result",
                target=str(self.change.target),
                next=f"confirm {self.confirmation} as that run's: its result is looked up and verified, not written again",
            )
        claim = self.run.confirmations.claim(proposal, self.run.id, self.run.identity.system_user)
        self.run.journal.write(
            "claimed",
            confirmation=self.confirmation,
            how="approve" if self.run.approved else "gate",
            proposed_by=claim.proposed_by,
            identity=self.run.identity.to_json(),
        )
        self.run.journal.write(
            "intent", confirmation=self.confirmation, change=self.body, holder=self.run.holder
        )
        self._show(
            "applying", Status.UNKNOWN, permitted="ok", tried=_said(tried), proposed_by=claim.proposed_by
        )
        self.run.stands(f"applies: {self.change.title}")
        started = now()
        receipt = await self._send()
        self._show(
            "applied",
            Status.UNKNOWN,
            receipt=receipt,
            because=f"written at {started:%H:%M:%S} UTC; not settled yet",
        )
        settled = await self.change.settle(receipt, self._say, settle_deadline)
        since = now()
        self.run.journal.write(
            "settled", confirmation=self.confirmation, ok=settled.ok, says=settled.says, data=settled.data
        )
        return receipt, settled, since

    async def _send(self) -> Mapping[str, Any]:
        """Make the change in a thread, to its end also when the cell is interrupted:

        half a write helps nobody.
        """
        mark = Mark(self.run.id, self.change.digest)
        task = asyncio.ensure_future(asyncio.to_thread(self.change.apply, mark, self._about_to))
        interrupted: asyncio.CancelledError | None = None
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            interrupted = error
            await asyncio.wait({task})
        except Exception as error:
            self._failed(error)
            raise
        if (failure := task.exception()) is not None:
            self._failed(failure)
            raise failure
        receipt = task.result()
        undo = self.change.undo_spec(receipt)
        self.run.journal.write("receipt", confirmation=self.confirmation, receipt=receipt, undo_spec=undo)
        if interrupted is not None:
            self._show("applied", Status.UNKNOWN, receipt=receipt, because="interrupted before it settled")
            raise interrupted
        return receipt

    def _about_to(self, entry: Mapping[str, Any]) -> None:
        self.run.journal.write("writing", confirmation=self.confirmation, request=entry)
        self._sent += 1

    def _failed(self, error: BaseException) -> None:
        """Say how far it came: nothing was sent, something was, or nobody knows."""
        receipt = receipt_of(error)
        reason = f"{type(error).__name__}: {error}"
        if receipt:
            undo = self.change.undo_spec(receipt)
            self.run.journal.write(
                "receipt", confirmation=self.confirmation, receipt=receipt, undo_spec=undo, partial=reason
            )
            self._show("applied in part", Status.CRITICAL, because=reason, receipt=receipt)
        elif not self._sent or isinstance(error, Refused | NotPermitted):
            self.run.journal.write("not_applied", confirmation=self.confirmation, because=reason)
            self._show("not applied", Status.CRITICAL, because=reason)
        else:
            arrived = self._arrived()
            self.run.journal.write("lost", confirmation=self.confirmation, because=reason, arrived=arrived)
            says = {
                True: "the object carries its mark",
                False: "the object does not carry its mark",
                None: "unknown",
            }
            self._show("result lost", Status.CRITICAL, because=f"{reason}. Did it arrive? {says[arrived]}.")

    def _arrived(self) -> bool | None:
        try:
            mark = self.change.mark_now()
        except OpslibError:
            return None
        return mark is not None and mark.run == self.run.id

    # After it was written
    # ----------------------------------------------------------------------------------------

    async def _already(self, lost: tuple[str, int], symptom: Symptom | None, deadline: float) -> Applied:
        """The object carries the mark of a run that died: look at what it did, and write nothing."""
        says = f"applied by run {lost[0]}, whose result was lost after {lost[1]} requests; not applied again"
        self.run.journal.write("already_applied", confirmation=self.confirmation, by=lost[0], writes=lost[1])
        self._show("already applied", Status.UNKNOWN, because=says)
        settled = await self.change.settle({}, self._say, deadline)
        result = await self._prove(symptom, {}, settled, now())
        return Applied("already applied", self.change, settled, result.verified, says)

    async def _prove(
        self, symptom: Symptom | None, receipt: Mapping[str, Any], settled: Settled, since: datetime
    ) -> Applied:
        for sentence in self.change.follow_ups:
            self.run.emitter.emit(Kind.FOLLOW_UP, sentence, status=Status.WARNING, target=self.change.target)
        verified: bool | None = None
        says = settled.says
        state = "applied" if receipt else "already applied"
        if symptom is not None:
            self.run.stands(f"verifies: {symptom.what}")
            proof = await verify(symptom, since, self._say)
            verified = {"good": True, "bad": False}.get(proof.state)
            self._verification(symptom, proof.measured, verified, proof.says, proof.seconds)
            says = f"{settled.says}; {proof.says}"
        status = Status.CRITICAL if not settled.ok or verified is False else Status.OK
        if symptom is not None and verified is None and settled.ok:
            status = Status.UNKNOWN
        self._show(state, status, because=says, settled=settled.ok, verified=verified)
        return Applied(state, self.change, settled, verified, says, receipt)

    def _verification(
        self, symptom: Symptom, measured: Measurement | None, good: bool | None, says: str, seconds: float
    ) -> None:
        status = {True: Status.OK, False: Status.CRITICAL, None: Status.UNKNOWN}[good]
        unit = (measured.unit if measured else "") or str(getattr(symptom, "unit", ""))
        self.run.emitter.emit(
            Kind.VERIFICATION,
            symptom.what,
            status=status,
            value=measured.value if measured else None,
            unit=unit,
            limits=Limits(critical_above=symptom.limit),
            target=self.change.target,
            because=says,
            seconds=seconds,
            samples=measured.samples if measured else None,
            confirmation=self.confirmation,
        )
        self.run.journal.write(
            "verified" if good else "not_verified",
            confirmation=self.confirmation,
            says=says,
            proven=good is not None,
        )

    # What people see meanwhile
    # -----------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        """A progress line; may come from any thread, is shown by the one that runs the loop."""
        with self._lock:
            if self._progress and self._progress[-1].split(" ", 1)[-1] == line:
                return
            self._progress.append(f"{now():%H:%M:%S} {line}")
        self._loop.call_soon_threadsafe(self._show_progress)

    def _show_progress(self) -> None:
        if self._record is not None:
            self.run.emitter.rewrite(self._record, self._id, progress=list(self._progress))

    def _show(self, state: str, status: Status, **fields: Any) -> None:
        seconds = round(time.monotonic() - self._began, 4)
        shown = {"state": state, "progress": list(self._progress), **fields}
        if self._record is None:
            because = str(shown.pop("because", ""))
            self._record = self.run.emitter.emit(
                Kind.CHANGE,
                self.change.name,
                status=status,
                target=self.change.target,
                because=because,
                seconds=seconds,
                display_id=self._id,
                change=self.body,
                **shown,
            )
        else:
            self.run.emitter.rewrite(self._record, self._id, status=str(status), seconds=seconds, **shown)
        self.run.journal.write(
            "state", confirmation=self.confirmation, state=state, because=shown.get("because", "")
        )


def _said(tried: Tried) -> str:
    return f"{tried.status}: {tried.says}" if tried.says else tried.status
