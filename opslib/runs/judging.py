"""The status of one check, from its value and limits."""

from __future__ import annotations

import math
from typing import Any

from opslib.errors import UsageError
from opslib.records.model import Limits, Status, plain
from opslib.runs.reading import NOT_INSTALLED


def judge(value: Any, limits: Limits, status: str | None, unknown: str, name: str) -> Status:
    """ok, warning, critical, unknown or not installed.

    Raises UsageError when nothing says what would be ok.
    """
    if status is not None:
        return Status(status)
    value = plain(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Status.NOT_INSTALLED if unknown.startswith(NOT_INSTALLED) else Status.UNKNOWN
    if isinstance(value, bool):
        return Status.OK if value else Status.CRITICAL
    if isinstance(value, int | float) and limits.to_json():
        return limits.judge(float(value))
    raise UsageError(
        f"the check {name!r} says {value!r}, but not what would be ok", next="give it a limit, or status=..."
    )
