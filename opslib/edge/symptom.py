"""The symptom that verifies a change: failed requests at the edge, counted only after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opslib.errors import SourceError
from opslib.records.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class EdgeSymptom:
    """A Symptom (records/measurement.py): share of failed requests since a moment, from own probes and the ingress' counter.

    The worse of the two shares is the answer: a probe's few paths may work while users' do not. The counter is left out
    while it has seen too few requests since then.
    """

    what: str
    limit: float
    minimum_samples: int
    probe: Callable[[], pd.DataFrame]
    counter: Callable[[datetime], Measurement] | None = None
    unit: str = "ratio"
    interval: float = 1.0
    deadline: float = 60.0
    _rounds: list[tuple[datetime, bool]] = field(default_factory=list)

    def measure(self, since: datetime) -> Measurement:
        """Probe once more; the share of failed ones among all probes that began after `since`."""
        data = self.probe()
        self._rounds += [
            (at.to_pydatetime(), bool(bad)) for at, bad in zip(data["at"], data["failed"], strict=True)
        ]
        mine = [bad for at, bad in self._rounds if at > since]
        now = datetime.now(UTC)
        if not mine:
            return Measurement(None, self.unit, now, 0, "no probe has begun since then", self.what)
        share, samples = sum(mine) / len(mine), len(mine)
        source = f"{samples} probes, {sum(mine)} failed"
        counted = self._counted(since)
        if counted is not None and counted.value is not None:
            source += f"; ingress counter {counted.value:.4f} of {counted.samples} requests"
            share, samples = max(share, counted.value), samples + (counted.samples or 0)
        return Measurement(share, self.unit, now, samples, "", source)

    def _counted(self, since: datetime) -> Measurement | None:
        if self.counter is None:
            return None
        try:
            found = self.counter(since)
        except SourceError:
            return None  # the probes stand on their own when the metrics are away
        return found if found.known else None
