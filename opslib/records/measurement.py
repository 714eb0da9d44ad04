"""One measured number, or the reason why there is none; and the symptom that a change is verified by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from opslib.records.words import amount


@dataclass(frozen=True)
class Measurement:
    """A number with its unit, time, sample count and source; `unknown` says why there is no value."""

    value: float | None
    unit: str = ""
    at: datetime | None = None  # UTC, when it was measured
    samples: int | None = None  # how many observations it rests on; None: not counted
    unknown: str = ""  # why there is no value
    source: str = ""  # the query or request that gave it

    @property
    def known(self) -> bool:
        """Whether there is a finite value."""
        return self.value is not None and math.isfinite(self.value) and not self.unknown

    def __float__(self) -> float:
        return float(self.value) if self.value is not None else math.nan

    def __str__(self) -> str:
        if not self.known:
            return f"unknown ({self.unknown or 'no value'})"
        counted = f" over {self.samples} samples" if self.samples is not None else ""
        return amount(self.value, self.unit) + counted


@runtime_checkable
class Symptom(Protocol):
    """What users feel, measured from outside: a change is verified when it is within its limit again.

    `measure(since)` counts only what happened after `since` (UTC). Optional attributes: `unit` (str),
    `interval` and `deadline` (seconds between two measurements, seconds to prove it).
    """

    what: str  # for people: share of failed requests at the edge
    limit: float  # good is at or below this value
    minimum_samples: int  # fewer samples prove nothing

    def measure(self, since: datetime) -> Measurement:
        """The symptom over samples after `since`; a Measurement without value when it cannot be known."""
        ...
