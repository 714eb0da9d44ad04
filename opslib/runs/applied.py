"""What became of a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opslib.records.change import Change, Settled


@dataclass(frozen=True, repr=False)
class Applied:
    """What became of a change.

    state: nothing to apply, proposed, refused (at the gate), applied, already applied.
    """

    state: str
    change: Change | None = None
    settled: Settled | None = None
    verified: bool | None = None  # None: no symptom was given, or nothing was proven
    says: str = ""
    receipt: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.state}: {self.says}"

    @property
    def good(self) -> bool:
        """Applied, carried out by the platform, and (when a symptom was given) proven by it."""
        return (
            self.state in ("applied", "already applied") and self.verified is not False and _ok(self.settled)
        )


def _ok(settled: Settled | None) -> bool:
    return settled is None or settled.ok


def receipt_of(error: BaseException) -> Mapping[str, Any]:
    """What was written before the error; empty when nothing is known to have been."""
    receipt: Mapping[str, Any] = getattr(error, "receipt", None) or {}
    # A change of several edits names those that were made, and may name none.
    return receipt if receipt.get("edits", True) else {}
