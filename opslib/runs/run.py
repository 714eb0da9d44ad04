"""A run: what a notebook talks to. `open_run` (runs/start.py) is its first call, `finish` its last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opslib.errors import NotPermitted, OpslibError, Refused
from opslib.records import display
from opslib.records.change import Change, Target
from opslib.records.finding import Finding
from opslib.records.journal import FILE, Journal
from opslib.records.measurement import Measurement, Symptom
from opslib.records.model import EXIT_STATUS, Kind, Limits, Outcome, Status, now, stamp, table_json, worst
from opslib.records.option import Decision, Option, decide
from opslib.records.redact import Redactor
from opslib.runs import opening
from opslib.runs.applied import Applied, receipt_of
from opslib.runs.applying import SETTLE_DEADLINE, Applying
from opslib.runs.confirmations import Confirmations, parse
from opslib.runs.emitter import Emitter
from opslib.runs.facts import Facts
from opslib.runs.judging import judge
from opslib.runs.outcome import Conclusion, conclude, ended, summary, worse
from opslib.runs.reading import NOT_INSTALLED, Read, Reading, make_all
from opslib.runs.undoing import undoing

if TYPE_CHECKING:
    import pandas as pd

NOUNS = ("cluster", "metrics", "database", "cache", "edge")


class Run:
    """One execution of a runbook. Everything it says is a record: displayed, journaled, redacted."""

    cluster: Any  # each noun as this run reads it (runs.reading.Reading)
    metrics: Any
    database: Any
    cache: Any
    edge: Any

    def __init__(
        self,
        place: opening.Place,
        runbook: Any,
        parameters: Mapping[str, Any],
        profile: Any,
        journal: Journal,
        redactor: Redactor,
        nouns: Mapping[str, Callable[[], Any]],
    ) -> None:
        self.id, self.folder, self.root = place.run, place.folder, place.root
        self.runbook, self.parameters, self.profile = runbook, dict(parameters), profile
        self.journal, self.redactor = journal, redactor
        self.emitter = Emitter(self.id, journal, redactor)
        self.confirmations = Confirmations(self.root)
        self.approved = parse(str(self.parameters.get("approve") or ""))
        self.incident = str(self.parameters.get("incident") or os.environ.get("OPSLIB_INCIDENT", ""))
        self.mode = opening.mode_of(os.environ)
        self.identity = opening.Identity("", "", "")
        self.cluster_uid = ""
        self.facts = Facts()
        self.conclusion: Conclusion | None = None
        self._nouns = dict(nouns)
        self.lost: list[str] = []  # confirmed changes that a run applied which died before it knew the result
        self._applied: list[Applied] = []
        self._refused = ""
        self._steps: list[dict[str, Any]] = []
        self._began, self._started = time.monotonic(), now()
        self._verdict: dict[str, Any] | None = None
        self._verdict_id = f"opslib-verdict-{self.id}"
        for name, make in self._nouns.items():
            setattr(self, name, Reading(name, make, self._perform))

    # How a run is seen
    # -------------------------------------------------------------------------------------------

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to click a gate's button."""
        return self.mode != "headless"

    @property
    def holder(self) -> str:
        """How this run signs a lease."""
        return f"{self.identity.cluster_user or self.identity.system_user}@{self.identity.host} run {self.id}"

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.runbook.name}>"

    # Telling
    # -----------------------------------------------------------------------------------------------------

    @contextmanager
    def step(
        self,
        title: str,
        *,
        why: str = "",
        by_hand: str | Sequence[str] = (),
        departs: str | Sequence[str] = (),
    ) -> Iterator[None]:
        """A step: its heading, why it is made, the command a person can type instead, where it departs from the runbook.

        Its status is the worst of the checks and findings made inside.
        """
        first, began = len(self.emitter.records), time.monotonic()
        display_id = f"opslib-step-{self.id}-{len(self._steps)}"
        step: dict[str, Any] = {"name": title, "status": None}
        self._steps.append(step)
        self.stands(title)
        body = self.emitter.emit(
            Kind.STEP,
            title,
            because=why,
            display_id=display_id,
            by_hand=_listed(by_hand),
            departs=_listed(departs),
        )
        self.journal.write("step", name=title)
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            inside = [r["status"] for r in self.emitter.records[first:] if r["kind"] in ("check", "finding")]
            status: str | None = str(worst(inside)) if inside else None
            if error is not None:
                status = Status.UNKNOWN
            step["status"] = str(status) if status else "done"  # nothing was judged in it
            says = f"{type(error).__name__}: {error}" if error is not None else None
            took = round(time.monotonic() - began, 4)
            self.emitter.rewrite(
                body, display_id, status=str(status) if status else None, seconds=took, error=says
            )

    def check(
        self,
        name: str,
        value: Any,
        *,
        unit: str = "",
        warning_above: float | None = None,
        critical_above: float | None = None,
        warning_below: float | None = None,
        critical_below: float | None = None,
        data: Any = None,
        required: bool = True,
        because: str = "",
        target: Target | None = None,
        status: str | None = None,
    ) -> Status:
        """Judge a value: a number, a Measurement or a bool (True is ok, False critical); returns the status.

        None, NaN and a Measurement without value are unknown. A required check that is not ok blocks
        'healthy'. Text needs `status`, a
        number needs a limit or `status`; UsageError without.
        """
        limits = Limits(warning_above, critical_above, warning_below, critical_below)
        unknown = str(getattr(data, "attrs", {}).get("unknown", "")) if data is not None else ""
        number, samples, source = value, None, ""
        if isinstance(value, Measurement):
            number, samples, source = value.value if value.known else None, value.samples, value.source
            unit, unknown = unit or value.unit, value.unknown or unknown
        judged = judge(number, limits, status, unknown, name)
        if judged is not Status.UNKNOWN and judged is not Status.NOT_INSTALLED:
            unknown = ""
        body = self.emitter.emit(
            Kind.CHECK,
            name,
            status=judged,
            value=number,
            unit=unit,
            limits=limits,
            target=target or self._target(),
            because="; ".join(part for part in (because, unknown.removeprefix(NOT_INSTALLED)) if part),
            required=required,
            **_given(data=table_json(data), samples=samples, source=source),
        )
        self.journal.write(
            "check", name=name, status=judged, value=body.get("value"), unit=unit, required=required
        )
        return judged

    def finding(self, finding: Finding) -> None:
        """Record what a diagnosis concluded."""
        self.emitter.emit(
            Kind.FINDING, finding.name, status=finding.status, target=finding.target, **finding.to_json()
        )
        self.journal.write(
            "finding", name=finding.name, status=finding.status, says=finding.says, cause=finding.cause
        )
        self.stands(finding.says if finding.cause else "")

    def decide(self, question: str, options: Sequence[Option]) -> Decision:
        """Choose the viable option with the highest score; `.choice` is its Change, or None."""
        decision = decide(question, options)
        label = decision.option.label if decision.option else None
        extra: dict[str, Any] = {"options": [option.to_json() for option in options], "choice": label}
        self.emitter.emit(Kind.DECISION, question, target=self._target(), **extra)
        self.journal.write("decision", question=question, choice=label)
        self.stands(f"decided: {label}" if label else "none of the options is viable")
        return decision

    def note(self, says: str, because: str = "", *, data: Any = None) -> None:
        """Record a remark."""
        self.emitter.emit(Kind.NOTE, says, because=because, **_given(data=table_json(data)))
        self.journal.write("note", says=says, because=because)

    def timeline(self, title: str, series: pd.DataFrame, changes: pd.DataFrame) -> None:
        """Plot the share of failed requests over time with the rollouts marked, and say the same in words.

        `series` as metrics.error_series, `changes` as cluster.recent_changes.
        """
        from opslib.runs import plots

        picture, words = plots.timeline(series, changes, title)
        self.note(title, words.removeprefix(f"{title}: "))
        display.picture(picture, words)

    def secrets(self, *values: str) -> None:
        """Register values that must not be shown or written from now on."""
        self.redactor.add(*values)

    def stands(self, says: str) -> None:
        """Rewrite the verdict: where the run stands now."""
        if self._verdict is not None and says:
            self.emitter.rewrite(
                self._verdict, self._verdict_id, stands=says, steps=list(self._steps), seconds=self._seconds()
            )

    # Reading
    # -----------------------------------------------------------------------------------------------------

    def read(self, *reads: Read) -> list[Any]:
        """Make several reads (`cluster.lazy.pods(...)`) at the same time; their answers in order."""
        return self._perform(reads)

    def _perform(self, reads: Sequence[Read]) -> list[Any]:
        make_all(reads)
        answers = []
        for read in reads:
            answer = read.result()
            if read.error is not None:
                self._unread(read)
            self.facts.add(read.name, read.label, answer)
            answers.append(answer)
        return answers

    def _unread(self, read: Read) -> None:
        missing = read.why().startswith(NOT_INSTALLED)
        self.check(
            f"read {read.label}",
            None,
            status=Status.NOT_INSTALLED if missing else Status.UNKNOWN,
            because=read.why().removeprefix(NOT_INSTALLED),
            # A Measurement without value is judged by the check that is made of it.
            required=read.required and read.returns == "frame",
        )

    # Changing
    # ----------------------------------------------------------------------------------------------------

    async def apply(
        self,
        change: Change | None,
        verify: Symptom | None = None,
        *,
        settle_deadline: float = SETTLE_DEADLINE,
    ) -> Applied:
        """Observing: propose the change. Confirmed: apply it under a lease, wait until it settled, verify it by the symptom.

        Raises StaleConfirmation, LeaseHeld, WrongCluster, TargetChanged, NotPermitted when nothing was
        touched: the run is then refused.
        """
        if change is None:
            self.note("nothing to apply")
            result = Applied("nothing to apply", says="no option is viable or needed")
        else:
            try:
                result = await Applying(self, change).go(verify, settle_deadline)
            except (Refused, NotPermitted) as error:
                if not receipt_of(error):  # else it was touched, and that is no refusal
                    self._refused = str(error)
                    self.journal.write("refused", confirmation=change.confirmation, because=str(error))
                raise
        self._applied.append(result)
        return result

    def undoing(self, run: str) -> list[Change]:
        """The Changes that take back what another run applied, the last one first (see runs.undoing)."""
        return undoing(self.root, run, self._nouns)

    # The end
    # -----------------------------------------------------------------------------------------------------

    def finish(self, outcome: str = "", says: str = "") -> Conclusion:
        """Conclude: the outcome record and the verdict.

        `outcome` can only make it worse, `says` tells why.
        """
        used = {
            item.change.confirmation for item in self._applied if item.change and item.state != "proposed"
        }
        unused = [item for item in self.approved if item not in used]
        conclusion = conclude(self.id, self.emitter.records, self._applied, self._refused, unused)
        if self.lost and not used:
            conclusion = replace(conclusion, changed=[*self.lost, *conclusion.changed])
        conclusion = worse(conclusion, outcome, says)
        if unused and not self.lost and conclusion.outcome is not Outcome.REFUSED:
            self.note(
                "not used",
                f"{', '.join(unused)}: no change of this run asked for it; the confirmation is not used up",
            )
        self._conclude(conclusion)
        return conclusion

    def fail(self, error: BaseException) -> None:
        """Conclude because of an error: refused when nothing was touched, else failed."""
        refused = isinstance(error, Refused) or (isinstance(error, NotPermitted) and bool(self._refused))
        refused = refused and not receipt_of(error)
        because = str(error) if isinstance(error, OpslibError) else f"{type(error).__name__}: {error}"
        so_far = conclude(self.id, self.emitter.records, self._applied, because if refused else "", [])
        outcome = Outcome.REFUSED if refused else Outcome.FAILED
        self._conclude(ended(so_far, outcome, because))

    def _conclude(self, conclusion: Conclusion) -> None:
        self.conclusion = conclusion
        who = f"{self.identity.cluster_user or 'unknown'} ({self.identity.system_user})"
        seconds = self._seconds()
        text = summary(self.runbook.title, self.incident, conclusion, who=who, run=self.id, seconds=seconds)
        ended = stamp(now())
        fields = {
            **conclusion.to_json(),
            "summary": text,
            "ended": ended,
            "steps": list(self._steps),
            "seconds": seconds,
        }
        status = {0: Status.OK, 5: Status.WARNING}.get(EXIT_STATUS[conclusion.outcome], Status.CRITICAL)
        head = {**self._head(), **fields}
        because = str(head.pop("because"))
        head.pop("seconds")
        self.emitter.emit(
            Kind.OUTCOME,
            str(conclusion.outcome),
            status=status,
            target=self._target(),
            because=because,
            seconds=seconds,
            **head,
        )
        if self._verdict is not None:
            self.emitter.rewrite(self._verdict, self._verdict_id, status=str(status), stands=None, **fields)
        self.journal.write("finished", **conclusion.to_json(), summary=text, seconds=seconds)

    def open_verdict(self) -> None:
        """Show the verdict for the first time: the notebook's first output."""
        self._verdict = self.emitter.emit(
            Kind.RUN,
            self.runbook.name,
            target=self._target(),
            display_id=self._verdict_id,
            stands="opened",
            **self._head(),
        )

    def _head(self) -> dict[str, Any]:
        return {
            "runbook": self.runbook.name,
            "title": self.runbook.title,
            "severity": self.runbook.severity,
            "incident": self.incident,
            "parameters": self.parameters,
            "mode": self.mode,
            "identity": self.identity.to_json(),
            "profile": self.profile.name,
            "production": self.profile.production,
            "started": stamp(self._started),
            "journal": FILE,
        }

    def _target(self) -> Target:
        namespace = str(self.parameters.get("namespace") or self.profile.namespace)
        return Target(self.profile.context or self.profile.name, self.cluster_uid, namespace)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value)


def _given(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None and value != ""}
