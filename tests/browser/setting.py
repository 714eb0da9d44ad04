"""A small platform of one JSON file, and a real Change of one value in it: what the gate's tests confirm or refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opslib.errors import LeaseHeld, TargetChanged
from opslib.records.change import AboutTo, Change, DryRun, Mark, Progress, Risk, Settled, Target, Tried, Undo


class Setting(Change):
    """Sets one value of the file; `undo_kind` decides whether the target's name must be typed."""

    operation = "set"
    dry_run_kind = DryRun.ESTIMATE

    def __init__(self, file: Path, key: str, value: Any, *, undo: Undo = Undo.EXACT) -> None:
        self.file, self.key, self.value = file, key, value
        self.name, self.title = f"set-{key}", f"Set {key} to {value}"
        self.target = Target(cluster="files", cluster_uid="files", object=f"setting/{key}", uid=key)
        self.before, self.after = {key: self.read().get(key)}, {key: value}
        self.guard = json.dumps(self.before)
        self.risk = Risk("low", "one value of one file", (str(file.name),))
        self.undo_kind = undo
        self.commands = (f"edit {file.name}",)

    def read(self) -> dict[str, Any]:
        """The file's content."""
        return dict(json.loads(self.file.read_text()))

    def permitted(self) -> Tried:
        return Tried("ok", "the file can be written")

    def dry_run(self) -> Tried:
        return Tried("ok", "the value is JSON")

    @contextmanager
    def lease(self, holder: str) -> Iterator[None]:
        lock = self.file.with_suffix(".lease")
        try:
            lock.touch(exist_ok=False)
        except FileExistsError as error:
            raise LeaseHeld("somebody else holds the lease", target=str(self.target), next="wait") from error
        try:
            yield
        finally:
            lock.unlink()

    def mark_now(self) -> Mark | None:
        mark = self.read().get(f"{self.key}.mark")
        return Mark(**mark) if mark else None

    def apply(self, mark: Mark, about_to: AboutTo) -> Mapping[str, Any]:
        content = self.read()
        if json.dumps({self.key: content.get(self.key)}) != self.guard:
            raise TargetChanged("the value is no longer what the diff showed", target=str(self.target))
        about_to({"write": self.file.name, "values": dict(self.after)})
        content |= {self.key: self.value, f"{self.key}.mark": {"run": mark.run, "digest": mark.digest}}
        self.file.write_text(json.dumps(content))
        return {"wrote": dict(self.after)}

    async def settle(self, receipt: Mapping[str, Any], progress: Progress, deadline: float) -> Settled:
        progress("written")
        return Settled(self.read().get(self.key) == self.value, "the file holds the value")

    def undo_spec(self, receipt: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return None if self.undo_kind is Undo.NONE else {"noun": "files", "values": dict(self.before)}
