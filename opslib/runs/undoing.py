"""Takes back what a run changed: the undoing Changes, built from its journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError, UsageError
from opslib.records import journal
from opslib.records.change import Change


def undoing(root: Path, run: str, nouns: Mapping[str, Callable[[], Any]]) -> list[Change]:
    """The Changes that take back what `run` applied, the last one first. The noun of each reads what is there now.

    Raises UsageError when the archive has no such run, or the run changed nothing or nothing that can be
    undone; EvidenceError when its
    journal was altered: from such a one nothing is undone.
    """
    path = journal.find(root, run)
    if path is None:
        raise UsageError(
            "there is no such run in this archive", target=run, next="`opslib archive list` shows them"
        )
    read_back = journal.read(path)
    if read_back.broken:
        raise EvidenceError(
            f"the journal was altered: {read_back.broken[0]}", target=run, next="undo by hand"
        )
    applied = read_back.applied()
    if not applied and (lost := read_back.unfinished()):
        raise UsageError(
            f"the run ended while it applied {lost[0]['change']['title']!r}: what it wrote is not known",
            target=run,
            next=f"look at {lost[0]['change']['target'].get('object', 'the object')} and undo it by hand",
        )
    if not applied:
        raise UsageError("this run changed nothing", target=run)
    specs = [item["undo_spec"] for item in reversed(applied) if item["undo_spec"]]
    if not specs:
        names = ", ".join(item["confirmation"] for item in applied)
        raise UsageError(
            "what this run changed cannot be undone", target=names, next="follow its proposal's commands"
        )
    changes: list[Change] = [nouns[spec.get("noun", "cluster")]().revive(spec) for spec in specs]
    return changes
