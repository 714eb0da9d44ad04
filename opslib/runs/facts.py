"""What the reads of a run returned: the input of a diagnosis."""

from __future__ import annotations

from typing import Any


class Facts(dict[str, Any]):
    """The last answer of each read, by name (`cluster.pods`) and by call (`cluster.pods('api-gateway')`)."""

    def __init__(self) -> None:
        super().__init__()
        self._all: dict[str, list[Any]] = {}

    def add(self, name: str, label: str, answer: Any) -> None:
        """Keep an answer."""
        self[name] = answer
        if label:
            self[label] = answer
        self._all.setdefault(name, []).append(answer)

    def every(self, name: str) -> list[Any]:
        """All answers of a read, in order."""
        return list(self._all.get(name, []))
