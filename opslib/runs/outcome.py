"""What a run comes to in the end, from its own records:

the outcome, the cause, what changed, what remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opslib.errors import UsageError
from opslib.records.model import EXIT_STATUS, Outcome
from opslib.records.words import amount, span
from opslib.runs.applied import Applied

Json = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Conclusion:
    """The end of a run in words, each list one sentence an entry."""

    outcome: Outcome
    because: str
    cause: str = ""
    changed: list[str] = field(default_factory=list)
    proposed: list[dict[str, str]] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.outcome}: {self.because}"

    def to_json(self) -> dict[str, Any]:
        """The conclusion's fields of the outcome record."""
        return {
            "outcome": str(self.outcome),
            "exit_status": EXIT_STATUS[self.outcome],
            "because": self.because,
            "cause": self.cause,
            "changed": self.changed,
            "proposed": self.proposed,
            "remains": self.remains,
            "unknowns": self.unknowns,
        }


def conclude(
    run: str, records: Sequence[Json], applied: Sequence[Applied], refused: str, unused: Sequence[str]
) -> Conclusion:
    """The outcome by the rules of DESIGN.md: only what is known to be ok is healthy, only what is proven is mitigated.

    `refused` says why a change was refused, `unused` are confirmations that no change of this run asked for.
    """
    done = [item for item in applied if item.state in ("applied", "already applied")]
    waiting = [item for item in applied if item.state in ("proposed", "refused")]
    last_change = max((r["seq"] for r in records if r["kind"] == "change"), default=0)
    blocking = _blocking(records, last_change if done else 0)
    outcome, because = _outcome(done, waiting, refused, unused, blocking)
    return Conclusion(
        outcome,
        because,
        _cause(records),
        [f"{item.change.title}: {item.says}" for item in done if item.change],
        [
            {
                "title": item.change.title,
                "confirmation": item.change.confirmation,
                "command": f"opslib apply {run}",
            }
            for item in waiting
            if item.change
        ],
        _remains(records, outcome),
        [
            f"{r['name']} ({r.get('because') or 'no value'})"
            for r in _latest(records)
            if r.get("status") == "unknown"
        ],
    )


_BADNESS = [
    Outcome.HEALTHY,
    Outcome.MITIGATED,
    Outcome.PROPOSED,
    Outcome.NEEDS_A_PERSON,
    Outcome.NOT_MITIGATED,
    Outcome.REFUSED,
    Outcome.FAILED,
]


def worse(conclusion: Conclusion, outcome: str, says: str) -> Conclusion:
    """The conclusion with what the notebook itself says;

    it cannot make it better. Raises UsageError for other words.
    """
    if not outcome:
        return replace(conclusion, because=f"{says}; {conclusion.because}" if says else conclusion.because)
    if outcome not in list(Outcome):
        raise UsageError(f"there is no outcome {outcome!r}", next=f"one of {', '.join(Outcome)}")
    if _BADNESS.index(Outcome(outcome)) <= _BADNESS.index(conclusion.outcome):
        return conclusion
    return replace(conclusion, outcome=Outcome(outcome), because=says or conclusion.because)


def ended(conclusion: Conclusion, outcome: Outcome, because: str) -> Conclusion:
    """The conclusion of a run that an error ended."""
    return replace(conclusion, outcome=outcome, because=because)


def summary(title: str, incident: str, conclusion: Conclusion, *, who: str, run: str, seconds: float) -> str:
    """At most six lines of plain text to paste into a chat."""
    head = f"{title}: {conclusion.outcome.upper()}" + (f" ({incident})" if incident else "")
    command = conclusion.proposed[0]["command"] if conclusion.proposed else ""
    proposed = "; ".join(item["title"] for item in conclusion.proposed)
    lines = [
        head,
        f"Cause: {conclusion.cause}" if conclusion.cause else f"Why: {conclusion.because}",
        f"Changed: {'; '.join(conclusion.changed)}" if conclusion.changed else "Changed: nothing",
        f"Proposed: {proposed} - apply it with: {command}" if proposed else "",
        f"Remains: {'; '.join(conclusion.remains)}" if conclusion.remains else "",
        f"By {who} in {span(seconds)}, run {run}",
    ]
    return "\n".join(_one_line(line) for line in lines if line)


def _outcome(
    done: Sequence[Applied],
    waiting: Sequence[Applied],
    refused: str,
    unused: Sequence[str],
    blocking: Sequence[Json],
) -> tuple[Outcome, str]:
    if refused:
        return Outcome.REFUSED, refused
    if waiting and unused:
        return Outcome.REFUSED, f"{', '.join(unused)} was confirmed, but this run proposes something else now"
    if bad := [item for item in done if item.verified is False or (item.settled and not item.settled.ok)]:
        return Outcome.NOT_MITIGATED, bad[0].says
    if done and (critical := [r for r in blocking if r["status"] == "critical"]):
        return Outcome.NOT_MITIGATED, f"after the change: {_says(critical[0])}"
    if waiting:
        return Outcome.PROPOSED, "waits for confirmation" if waiting[0].state == "proposed" else waiting[
            0
        ].says
    if unproven := [item for item in done if item.verified is None and "not proven" in item.says]:
        return Outcome.NEEDS_A_PERSON, unproven[0].says
    if blocking:
        more = f", and {len(blocking) - 1} more" if len(blocking) > 1 else ""
        return Outcome.NEEDS_A_PERSON, _says(blocking[0]) + more
    if done:
        return Outcome.MITIGATED, done[-1].says
    return Outcome.HEALTHY, "every required check is ok"


def _blocking(records: Sequence[Json], after: int) -> list[Json]:
    """Required checks and causes that are not ok, worst first; after a change, only those made since."""
    order = {"critical": 0, "unknown": 1, "warning": 2}
    found = [
        record
        for record in _latest(records)
        if record["seq"] > after
        and record["kind"] in ("check", "finding")
        and record.get("required", True)
        and record.get("cause", True)
        and record.get("status") in order
    ]
    return sorted(found, key=lambda record: order[record["status"]])


def _latest(records: Sequence[Json]) -> list[Json]:
    """The last record of each check: a check made again replaces the one before."""
    last = {
        (record["kind"], record["name"]): record
        for record in records
        if record["kind"] in ("check", "finding")
    }
    return sorted(last.values(), key=lambda record: int(record["seq"]))


def _cause(records: Sequence[Json]) -> str:
    found = [r for r in records if r["kind"] == "finding" and r.get("cause") and r.get("status") != "ok"]
    return "; ".join(str(record.get("says", "")) for record in found)


def _remains(records: Sequence[Json], outcome: Outcome) -> list[str]:
    follow_ups = [str(record["name"]) for record in records if record["kind"] == "follow_up"]
    steps = [
        str(step)
        for r in records
        if r["kind"] == "finding" and r.get("status") != "ok"
        for step in r.get("next", [])
    ]
    return list(dict.fromkeys(follow_ups + (steps if outcome is not Outcome.HEALTHY else [])))


def _says(record: Json) -> str:
    if record["kind"] == "finding":
        return str(record.get("says", record["name"]))
    value = (
        amount(record["value"], record.get("unit", ""))
        if record.get("value") is not None
        else record["status"]
    )
    return f"{record['name']}: {value}" + (f" ({record['because']})" if record.get("because") else "")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 400 else line[:399] + "…"
