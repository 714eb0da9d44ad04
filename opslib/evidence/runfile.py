"""run.json: what a run is, beside its notebook, from its first moment to its end.

It says who runs it (process and boot), so that a run whose process is gone is found and called interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError

FILE = "run.json"
SCHEMA = "opslib.run/1"
RUNNING = "running"
MARKS = ".running"  # folder under the evidence root: one file for each run that has not ended
INTERRUPTED = "interrupted (no end)"


@dataclass
class RunFile:
    """One run of the archive. `outcome` is `running` until it ends."""

    run: str
    runbook: str
    title: str = ""
    severity: str = ""
    incident: str = ""
    profile: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)  # redacted
    started: str = ""
    ended: str = ""
    outcome: str = RUNNING
    exit_status: int | None = None
    cause: str = ""
    summary: str = ""
    of: str = ""  # the run this one applies or undoes
    spooled: str = ""
    notebook: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    pid: int = 0
    birth: str = ""  # start time of that process, so that a later process with its number is not taken for it
    kernel: int = 0
    schema: str = SCHEMA

    def encoded(self) -> bytes:
        """The file's bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @property
    def alive(self) -> bool:
        """Whether the process that runs it is still there."""
        return self.outcome == RUNNING and self.pid > 0 and birth(self.pid) == self.birth


def read(folder: Path) -> RunFile:
    """The run in a folder of the archive. Raises EvidenceError when its run.json cannot be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        known = {each.name for each in fields(RunFile)}
        return RunFile(**{key: value for key, value in data.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"the run's description cannot be read: {error}", target=str(folder / FILE)
        ) from error


def folders(root: Path) -> Iterator[Path]:
    """The folders of all runs under an evidence root, newest first."""
    yield from sorted(
        (path.parent for path in root.glob(f"*/*/{FILE}")), key=lambda path: path.name[-26:], reverse=True
    )


def birth(pid: int) -> str:
    """When the process began, in ticks since the machine started; '' when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _exists(pid)
    after = stat.rpartition(")")[2].split()
    return "" if after[0] in ("Z", "X") else after[19]


def _exists(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "?"
    return "?"
