"""What an investigation has seen, read by read: the only input of a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from opslib.records.measurement import Measurement


def _nothing() -> pd.DataFrame:
    frame = pd.DataFrame()
    frame.attrs["unknown"] = "not read"
    return frame


@dataclass(frozen=True)
class Seen:
    """Frames as the nouns return them. A frame with `attrs['unknown']` was not seen: nothing is concluded from it."""

    service: str  # the Deployment that users reach first, e.g. api-gateway
    probe: pd.DataFrame = field(default_factory=_nothing)  # edge.probe
    ratio: Measurement | None = None  # metrics.error_ratio: share of 5xx at the edge, last minute
    failing_since: datetime | None = None  # metrics.failing_since
    routes: pd.DataFrame = field(default_factory=_nothing)  # metrics.error_ratio_by_path, last minute
    deployments: pd.DataFrame = field(default_factory=_nothing)
    pods: pd.DataFrame = field(default_factory=_nothing)
    endpoints: pd.DataFrame = field(default_factory=_nothing)
    changes: pd.DataFrame = field(default_factory=_nothing)  # cluster.recent_changes
    events: pd.DataFrame = field(default_factory=_nothing)
    hpas: pd.DataFrame = field(default_factory=_nothing)
    quotas: pd.DataFrame = field(default_factory=_nothing)
    nodes: pd.DataFrame = field(default_factory=_nothing)
    messages: pd.DataFrame = field(default_factory=_nothing)  # cluster.log_messages of the pods in trouble
    connections: pd.DataFrame = field(default_factory=_nothing)  # database.headroom
    cache: pd.DataFrame = field(default_factory=_nothing)  # cache.reachable

    def known(self, name: str) -> bool:
        """Whether the read `name` gave an answer (an empty table can be one)."""
        return "unknown" not in getattr(self, name).attrs

    def unknown(self) -> dict[str, str]:
        """The reads without an answer, with the reason."""
        frames = {name: getattr(self, name) for name in self.__dataclass_fields__}
        missing = {
            name: str(f.attrs["unknown"])
            for name, f in frames.items()
            if isinstance(f, pd.DataFrame) and "unknown" in f.attrs
        }
        if self.ratio is not None and self.ratio.value is None:
            missing["ratio"] = self.ratio.unknown
        return {name: why for name, why in missing.items() if why != "not read"}


def by_deployment(names: Sequence[str], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One frame of several, a column `deployment` in front; unknown only when every one of them is."""
    known = [
        frame.assign(deployment=name)
        for name, frame in zip(names, frames, strict=True)
        if "unknown" not in frame.attrs
    ]
    if not known:
        return frames[0].assign(deployment="") if frames else _nothing()
    merged = pd.concat([frame for frame in known if len(frame)] or known[:1], ignore_index=True)
    return merged[["deployment", *(column for column in merged.columns if column != "deployment")]]
