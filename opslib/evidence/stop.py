"""Why a run stopped before its last cell."""

from __future__ import annotations


class Stop(Exception):
    """The run stopped: `kind` is timeout, signal, kernel or engine; `says` is one sentence for people."""

    def __init__(self, kind: str, says: str, *, signal: int = 0, details: str = "") -> None:
        super().__init__(says)
        self.kind = kind
        self.says = says
        self.signal = signal
        self.details = details
