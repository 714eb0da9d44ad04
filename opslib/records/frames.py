"""Rows to DataFrames with the documented columns and types; pandas is imported at the first one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TIMES = {
    "at", "created", "started", "last_finished", "first", "last", "last_sync", "last_scrape", "since", "not_before",
    "not_after",
}  # fmt: skip
BOOLS = {
    "ready", "current", "candidate", "preferred", "same_images_as_current", "paused", "terminating", "previous",
    "auto_sync", "self_heal", "prune", "failed", "schedulable", "allowed",
}  # fmt: skip
# The same words as numbers.
COUNTS = {
    ("deployments", "ready"), ("revisions", "ready"), ("endpoints", "ready"), ("pdbs", "allowed"), ("hpas", "current"),
}  # fmt: skip


def frame(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame with exactly these columns in this order; times are UTC time stamps, flags are booleans."""
    import pandas as pd

    data = pd.DataFrame(list(rows), columns=list(columns))
    for column in columns:
        if column in TIMES:
            data[column] = pd.to_datetime(data[column], utc=True, format="ISO8601")
        elif column in BOOLS and (name, column) not in COUNTS:
            data[column] = data[column].astype(bool)
    return data


def parse_time(text: str | None) -> datetime | None:
    """A Kubernetes time stamp as an aware datetime; None for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def age(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds since a time stamp; None for none."""
    moment = parse_time(text)
    return ((now or datetime.now(UTC)) - moment).total_seconds() if moment else None
