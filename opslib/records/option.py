"""An option of a decision, and the decision itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opslib.records.change import Change

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Option:
    """One way out: a Change or something a person does (change None), with reasons for and against."""

    label: str  # rollback, scale up, restart, maintenance mode
    change: Change | None = None
    reasons_for: list[str] = field(default_factory=list)
    reasons_against: list[str] = field(default_factory=list)
    viable: bool = True
    score: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The option as it stands in a decision record."""
        return {
            "label": self.label,
            "confirmation": self.change.confirmation if self.change else None,
            "title": self.change.title if self.change else None,
            "reasons_for": list(self.reasons_for),
            "reasons_against": list(self.reasons_against),
            "viable": self.viable,
            "score": self.score,
        }


@dataclass(frozen=True)
class Decision:
    """The answer to a question: the chosen option, or None when none is viable."""

    question: str
    options: Sequence[Option]
    option: Option | None

    @property
    def choice(self) -> Change | None:
        """The change to apply; None when nothing is viable or the best option is a person's."""
        return self.option.change if self.option else None

    @property
    def table(self) -> pd.DataFrame:
        """One row an option: option, choice, viable, score, for, against, confirmation."""
        import pandas as pd

        rows = [
            {
                "option": option.label,
                "choice": option is self.option,
                "viable": option.viable,
                "score": option.score,
                "for": "; ".join(option.reasons_for),
                "against": "; ".join(option.reasons_against),
                "confirmation": option.change.confirmation if option.change else "",
            }
            for option in self.options
        ]
        columns = ["option", "choice", "viable", "score", "for", "against", "confirmation"]
        return pd.DataFrame(rows, columns=columns)


def decide(question: str, options: Sequence[Option]) -> Decision:
    """The viable option with the highest score (the first of equals); none when none is viable."""
    viable = [option for option in options if option.viable]
    return Decision(question, tuple(options), max(viable, key=lambda option: option.score, default=None))
