"""Time commands in turns, so that a busy machine slows all of them alike; compare them by ratios of medians."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class BenchmarkError(Exception):
    """A measured command did not do its work; a time of something else is worth nothing."""


@dataclass(frozen=True)
class Case:
    """Commands that are timed together, as one thing; each must end with one of the statuses in `good`."""

    name: str
    commands: Sequence[Sequence[str]]
    good: frozenset[int] = frozenset({0})
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path | None = None  # a new folder inside, one a round, is put where a command says {round}


@dataclass(frozen=True)
class Times:
    """Seconds of every round: by the clock, and of processor time, which a busy machine disturbs less."""

    name: str
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]

    @property
    def median(self) -> float:
        """Seconds by the clock, the median of all rounds."""
        return statistics.median(self.seconds)

    @property
    def cpu(self) -> float:
        """Seconds of processor time, the median of all rounds."""
        return statistics.median(self.cpu_seconds)


class Watch:
    """Measures what happens inside `with`: seconds by the clock, and of processor time of all that was started."""

    seconds: float
    cpu_seconds: float

    def __enter__(self) -> Watch:
        self._began, self._used = time.perf_counter(), self._children()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu_seconds = self._children() - self._used

    @staticmethod
    def _children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


def run(case: Case, number: int = 0) -> Watch:
    """Run the case once; what it took. Raises BenchmarkError with what the failing command said."""
    here = str(case.folder / f"round-{number}") if case.folder else ""
    if here:
        Path(here).mkdir(parents=True)
    with Watch() as watch:
        for command in case.commands:
            words = [word.replace("{round}", here) for word in command]
            done = subprocess.run(
                words,
                env=dict(case.environ),
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode not in case.good:
                said = (done.stderr or done.stdout).strip()[-2000:]
                raise BenchmarkError(f"{case.name}: {' '.join(words)} ended with {done.returncode}: {said}")
    return watch


def in_turns(cases: Sequence[Case], rounds: int) -> list[Times]:
    """Every case `rounds` times: A B C, A B C, ...; one more round before them is not counted."""
    for case in cases:
        run(case)
    taken: dict[str, list[Watch]] = {case.name: [] for case in cases}
    for number in range(1, rounds + 1):
        for case in cases:
            taken[case.name].append(run(case, number))
    return [times(name, watches) for name, watches in taken.items()]


def times(name: str, watches: Sequence[Watch]) -> Times:
    """What was measured under this name."""
    return Times(name, [watch.seconds for watch in watches], [watch.cpu_seconds for watch in watches])


def memory(pids: Sequence[int]) -> dict[str, float]:
    """Resident and proportional megabytes of these processes together; a process that ended counts nothing.

    Source: /proc/PID/smaps_rollup (Rss, Pss); proportional shares a page among those who map it.
    """
    total = {"rss_mb": 0.0, "pss_mb": 0.0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
        total["rss_mb"] += int(sizes["Rss"]) / 1024
        total["pss_mb"] += int(sizes["Pss"]) / 1024
    return {name: round(value, 1) for name, value in total.items()}


def descendants(roots: Sequence[int]) -> list[int]:
    """These processes and all that they started, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.append(pid)
            queue += children.get(pid, [])
    return found
