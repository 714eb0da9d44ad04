"""Where everything a run says goes: numbered, redacted, journaled and displayed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opslib.records import display
from opslib.records.change import Target
from opslib.records.journal import Journal
from opslib.records.model import Kind, Limits, Record, now
from opslib.records.redact import Redactor

Json = dict[str, Any]


class Emitter:
    """Emits the records of one run, in order; keeps them for the outcome."""

    def __init__(self, run: str, journal: Journal, redactor: Redactor) -> None:
        self.run = run
        self.journal = journal
        self.redactor = redactor
        self.records: list[Json] = []
        self._lock = threading.Lock()
        self._seq = 0

    def emit(
        self,
        kind: Kind,
        name: str,
        *,
        status: str | None = None,
        value: Any = None,
        unit: str = "",
        limits: Limits | None = None,
        target: Target | None = None,
        because: str = "",
        seconds: float | None = None,
        at: datetime | None = None,
        display_id: str = "",
        **extra: Any,
    ) -> Json:
        """Show a record and keep it; returns its JSON, redacted."""
        with self._lock:
            self._seq += 1
            record = Record(
                self.run, self._seq, kind, name, at or now(), status, value, unit, limits or Limits(),
                target or Target(), because, seconds, extra,
            )  # fmt: skip
            body: Json = self.redactor.value(record.to_json())
            self.records.append(body)
        display.show(body, display_id)
        return body

    def rewrite(self, body: Json, display_id: str, **fields: Any) -> Json:
        """Show a record again, in the place where it stands, with these fields changed; None removes one."""
        fresh: Mapping[str, Any] = self.redactor.value(fields)
        body.update({key: value for key, value in fresh.items() if value is not None})
        for key in [key for key, value in fresh.items() if value is None]:
            body.pop(key, None)
        display.show(body, display_id, update=True)
        return body

    def of(self, *kinds: Kind) -> list[Json]:
        """The records of these kinds, in order."""
        return [record for record in self.records if record["kind"] in kinds]
