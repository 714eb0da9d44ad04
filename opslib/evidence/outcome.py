"""How a run ended, read from what it left behind; a run without an outcome record failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opslib.evidence.stop import Stop
from opslib.records.model import EXIT_STATUS, MIME, Kind, Outcome

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Ending:
    """The outcome of a run and what `opslib run` exits with."""

    outcome: str  # an Outcome, or 'interrupted'
    exit_status: int
    cause: str = ""  # what ended it, when it did not come to its own end
    kind: str = ""  # exception, timeout, signal, kernel, engine; '' when it came to its own end


def records(notebook: Json) -> Iterator[Json]:
    """Every record in the notebook's outputs, in order."""
    for cell in notebook.get("cells", []):
        for output in cell.get("outputs", []):
            body = (output.get("data") or {}).get(MIME)
            if isinstance(body, Mapping):
                yield body


def outcome_record(notebook: Json) -> Json | None:
    """The last outcome record of the run; None when it gave none."""
    return next(
        (body for body in reversed(list(records(notebook))) if body.get("kind") == Kind.OUTCOME), None
    )


def judge(notebook: Json, stop: Stop | None) -> Ending:
    """The ending of a run: what stopped it wins over what it said, an error in a cell over a good outcome.

    A refusal or a change that did not help raises after its outcome record, so a bad outcome stands.
    """
    if stop is not None and stop.kind == "signal":
        return Ending("interrupted", 128 + stop.signal, stop.says, stop.kind)
    if stop is not None:
        return Ending(Outcome.FAILED, EXIT_STATUS[Outcome.FAILED], stop.says, stop.kind)
    record = outcome_record(notebook)
    said = str(record.get("outcome") or record.get("status") or "") if record else ""
    failure = _failure(notebook)
    if failure and (said not in EXIT_STATUS or EXIT_STATUS[said] in (0, EXIT_STATUS[Outcome.PROPOSED])):
        return Ending(Outcome.FAILED, EXIT_STATUS[Outcome.FAILED], failure, "exception")
    if said not in EXIT_STATUS:
        return Ending(Outcome.FAILED, EXIT_STATUS[Outcome.FAILED], "the run gave no outcome", "exception")
    return Ending(said, EXIT_STATUS[said], failure, "exception" if failure else "")


def _failure(notebook: Json) -> str:
    for index, cell in enumerate(notebook.get("cells", [])):
        if cell.get("metadata", {}).get("opslib", {}).get("status") == "failed":
            errors = [output for output in cell.get("outputs", []) if output.get("output_type") == "error"]
            what = f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else "it failed"
            return f"cell {index + 1} failed: {what}"
    return ""
