"""Proves a change by the symptom: only samples after it count, too few prove nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from opslib.errors import SourceError
from opslib.records.measurement import Measurement, Symptom
from opslib.records.model import now

DEADLINE = 60.0  # seconds to prove the symptom gone; a symptom may name its own
INTERVAL = 1.0
BAD_ROUNDS = 3  # this many windows in a row beyond the limit, over at least
BAD_SECONDS = 20.0  # so long, prove that it is not gone: routes and counters need a while to follow a change


@dataclass(frozen=True)
class Verdict:
    """Whether the symptom is gone: good, bad, or unknown when the deadline passed without proof."""

    state: str
    says: str
    measured: Measurement | None
    seconds: float


async def verify(symptom: Symptom, since: datetime, progress: Callable[[str], None]) -> Verdict:
    """Measure until the symptom is proven gone, proven there, or its deadline has passed.

    Good: enough samples since `since`, at or below the limit. A window beyond the limit is thrown away and a
    new one begun, because what
    failed while the change took effect says nothing about afterwards; three such windows in a row are bad.
    """
    deadline = float(getattr(symptom, "deadline", DEADLINE))
    interval = float(getattr(symptom, "interval", INTERVAL))
    began, window, bad = time.monotonic(), since, 0
    measured: Measurement | None = None
    while True:
        measured = await asyncio.to_thread(_measure, symptom, window)
        enough = measured.known and (measured.samples is None or measured.samples >= symptom.minimum_samples)
        progress(f"{symptom.what}: {measured}{'' if enough or not measured.known else ', too few samples'}")
        took = time.monotonic() - began
        if enough and measured.value is not None:
            if measured.value <= symptom.limit:
                return Verdict("good", f"{symptom.what} is {measured}", measured, took)
            bad, window = bad + 1, now()
            if bad >= BAD_ROUNDS and took >= BAD_SECONDS:
                return Verdict(
                    "bad", f"{symptom.what} is still {measured}, in {bad} windows in a row", measured, took
                )
        if took + interval > deadline:
            why = (
                f"{symptom.what}: {measured}"
                if measured.known
                else f"{symptom.what}: {measured.unknown or 'no value'}"
            )
            if bad:
                return Verdict("bad", f"{why}; not gone within {deadline:g} s", measured, took)
            needed = f"{symptom.minimum_samples} samples after the change"
            return Verdict("unknown", f"not proven within {deadline:g} s ({needed}): {why}", measured, took)
        await asyncio.sleep(interval)


def _measure(symptom: Symptom, since: datetime) -> Measurement:
    try:
        return symptom.measure(since)
    except SourceError as error:
        return Measurement(None, at=now(), unknown=str(error))
