"""`opslib apply RUN` and `opslib undo RUN`: the next run, made from what an earlier one left."""

from __future__ import annotations

from pathlib import Path

from opslib.errors import UsageError
from opslib.evidence import archive
from opslib.evidence.archive import Entry
from opslib.evidence.runner import Request
from opslib.records.journal import Json

UNDO = "incident-response/undo"
TAKEN = ("incident", "profile", "namespace")  # parameters of the run to undo that its undoing needs


def proposed(entry: Entry) -> list[Json]:
    """The changes the run proposed, as its journal has them. Raises UsageError when it proposed none."""
    found = archive.read_journal(entry).proposals()
    if not found:
        raise UsageError(
            f"run {entry.about.run} proposed nothing; its outcome: {entry.outcome}",
            target=entry.about.runbook,
            next=f"observe first: opslib run {entry.about.runbook}",
        )
    return found


def applying(entry: Entry, changes: list[Json], *, evidence: Path) -> Request:
    """The same runbook with the same parameters, and exactly that run's proposals confirmed."""
    kept = [
        (name, str(value))
        for name, value in entry.about.parameters.items()
        if name != "approve" and value != ""
    ]
    return Request(
        entry.about.runbook,
        kept,
        approve=[str(change["confirmation"]) for change in changes],
        evidence=str(evidence),
        of=entry.about.run,
        profile=_profile(entry, kept),
    )


def undoable(entry: Entry) -> list[Json]:
    """The changes the run applied. Raises UsageError when it applied none."""
    found = archive.read_journal(entry).applied()
    if not found:
        raise UsageError(
            f"run {entry.about.run} applied nothing; its outcome: {entry.outcome}", target=entry.about.runbook
        )
    return found


def undoing(entry: Entry, *, evidence: Path, approve: list[str] | None = None) -> Request:
    """A run of the undo runbook for what the run applied."""
    taken = [(name, str(entry.about.parameters[name])) for name in TAKEN if entry.about.parameters.get(name)]
    return Request(
        UNDO,
        [("of", entry.about.run), *taken],
        approve=approve or (),
        evidence=str(evidence),
        of=entry.about.run,
        profile=_profile(entry, taken),
    )


def _profile(entry: Entry, given: list[tuple[str, str]]) -> str:
    """The profile the run used, unless its parameter names it."""
    named = any(name == "profile" for name, _ in given)
    return "" if named or entry.about.profile == "default" else entry.about.profile
