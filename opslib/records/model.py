"""What a run leaves behind, one record a display output: kinds, statuses, limits, outcomes, exit statuses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from opslib.records.change import Change, Target

SCHEMA = "opslib.record/1"
MIME = "application/vnd.opslib.record+json"
MAX_ROWS = 200  # rows of a table kept in a record; the total is always said


class Kind(StrEnum):
    """What a record tells."""

    RUN = "run"
    STEP = "step"
    CHECK = "check"
    FINDING = "finding"
    DECISION = "decision"
    PROPOSAL = "proposal"
    CONFIRMATION = "confirmation"
    CHANGE = "change"
    VERIFICATION = "verification"
    FOLLOW_UP = "follow_up"
    NOTE = "note"
    OUTCOME = "outcome"


class Status(StrEnum):
    """How something is. Unknown is not ok; not installed is something else than unknown."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    NOT_INSTALLED = "not installed"


class Outcome(StrEnum):
    """How a run ended."""

    HEALTHY = "healthy"
    PROPOSED = "proposed"
    MITIGATED = "mitigated"
    NOT_MITIGATED = "not mitigated"
    NEEDS_A_PERSON = "needs a person"
    FAILED = "failed"
    REFUSED = "refused"


# DESIGN.md, 'A notebook': what `opslib run` exits with.
EXIT_STATUS: dict[str, int] = {
    Outcome.HEALTHY: 0,
    Outcome.MITIGATED: 0,
    Outcome.FAILED: 3,
    Outcome.NOT_MITIGATED: 4,
    Outcome.NEEDS_A_PERSON: 4,
    Outcome.PROPOSED: 5,
    Outcome.REFUSED: 6,
}

_BADNESS = [Status.NOT_INSTALLED, Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL]


def worst(statuses: Iterable[str]) -> Status:
    """The worst of several statuses; unknown when there is none to judge by."""
    known = [Status(status) for status in statuses]
    return max(known, key=_BADNESS.index) if known else Status.UNKNOWN


@dataclass(frozen=True)
class Limits:
    """Where a value stops being ok. Reaching a limit is still ok; passing it is not."""

    warning_above: float | None = None
    critical_above: float | None = None
    warning_below: float | None = None
    critical_below: float | None = None

    def judge(self, value: float | None) -> Status:
        """ok, warning or critical; unknown for None and NaN."""
        if value is None or math.isnan(value):
            return Status.UNKNOWN
        if _above(value, self.critical_above) or _below(value, self.critical_below):
            return Status.CRITICAL
        if _above(value, self.warning_above) or _below(value, self.warning_below):
            return Status.WARNING
        return Status.OK

    def to_json(self) -> dict[str, float]:
        """Only the limits that are set."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in self.to_json().items())


def _above(value: float, limit: float | None) -> bool:
    return limit is not None and value > limit


def _below(value: float, limit: float | None) -> bool:
    return limit is not None and value < limit


@dataclass(frozen=True)
class Record:
    """One thing a run tells; `extra` holds the fields of its kind (record.schema.json names them)."""

    run: str
    seq: int
    kind: Kind
    name: str
    at: datetime
    status: str | None = None
    value: Any = None
    unit: str = ""
    limits: Limits = field(default_factory=Limits)
    target: Target = field(default_factory=Target)
    because: str = ""
    seconds: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as record.schema.json has it; empty fields are left out."""
        body: dict[str, Any] = {
            "schema": SCHEMA,
            "run": self.run,
            "seq": self.seq,
            "kind": str(self.kind),
            "name": self.name,
            "at": stamp(self.at),
        }
        optional = {
            "status": str(self.status) if self.status else None,
            "value": plain(self.value),
            "unit": self.unit or None,
            "limits": self.limits.to_json() or None,
            "target": target_json(self.target) or None,
            "because": self.because or None,
            "seconds": round(self.seconds, 4) if self.seconds is not None else None,
        }
        body.update({key: value for key, value in optional.items() if value is not None})
        body.update({key: plain(value) for key, value in self.extra.items()})
        return body


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z. A time without zone is taken as UTC."""
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def target_json(target: Target) -> dict[str, str]:
    """The target's fields that are set."""
    return {key: value for key, value in asdict(target).items() if value}


def change_json(change: Change) -> dict[str, Any]:
    """Everything a change declares, with its digest and diff:

    what a proposal shows and a program compares.
    """
    return {
        "name": change.name,
        "title": change.title,
        "operation": change.operation,
        "digest": change.digest,
        "confirmation": change.confirmation,
        "target": target_json(change.target),
        "before": plain(change.before),
        "after": plain(change.after),
        "guard": change.guard,
        "risk": {"level": change.risk.level, "says": change.risk.says, "touches": list(change.risk.touches)},
        "dry_run": str(change.dry_run_kind),
        "undo": str(change.undo_kind),
        "commands": list(change.commands),
        "follow_ups": list(change.follow_ups),
        "departs": list(change.departs),
        "diff": change.diff(),
    }


def table_json(data: Any) -> dict[str, Any] | None:
    """A DataFrame or a list of mappings as columns, rows (at most MAX_ROWS) and total;

    None for anything else.
    """
    if data is None:
        return None
    if hasattr(data, "columns") and hasattr(data, "itertuples"):
        columns = [str(column) for column in data.columns]
        rows = [
            [plain(cell) for cell in row] for row in data.head(MAX_ROWS).itertuples(index=False, name=None)
        ]
        table: dict[str, Any] = {"columns": columns, "rows": rows, "total": len(data)}
        if unknown := data.attrs.get("unknown"):
            table["unknown"] = str(unknown)
        return table
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        columns = list(dict.fromkeys(str(key) for row in data for key in row))
        rows = [[plain(row.get(column)) for column in columns] for row in data[:MAX_ROWS]]
        return {"columns": columns, "rows": rows, "total": len(data)}
    return None


def plain(value: Any) -> Any:
    """`value` as strict JSON has it: numpy scalars, times, frames and unknown objects become plain values."""
    if value is None or isinstance(value, bool | int | str):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return None if value != value else stamp(value)  # noqa: PLR0124 - NaT is not equal to itself
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if (table := table_json(value)) is not None:
        return table
    if callable(item := getattr(value, "item", None)) and getattr(value, "size", 1) == 1:
        return plain(item())
    text = str(value)
    return None if text in {"<NA>", "NaT", "nan"} else text
