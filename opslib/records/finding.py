"""A finding: what a diagnosis concluded, and from what."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opslib.records.change import Target
from opslib.records.model import stamp


@dataclass(frozen=True)
class Finding:
    """One conclusion: a root cause (`cause`) or a consequence, with the evidence for it and what to do
    next.
    """

    name: str  # stable over runs: bad-release
    status: str  # ok, warning, critical, unknown
    says: str  # one sentence
    because: list[str] = field(default_factory=list)  # the evidence, one sentence each
    target: Target = field(default_factory=Target)
    cause: bool = True  # root cause; False: a consequence of another finding
    since: datetime | None = None  # UTC
    next: list[str] = field(default_factory=list)  # runbooks or actions

    def to_json(self) -> dict[str, Any]:
        """The finding's own fields of its record."""
        return {
            "says": self.says,
            "evidence": list(self.because),
            "cause": self.cause,
            "since": stamp(self.since) if self.since else None,
            "next": list(self.next),
        }
