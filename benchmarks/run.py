"""`make bench`: an own sandbox, every measurement, a table, and a JSON file under benchmarks/results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cases import OPSLIB, ROOT, observing_runs, starts
from benchmarks.measure import BenchmarkError, Times, Watch, descendants, in_turns, memory, times

NAME = "bench"
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Ratio:
    """One thing against another, and what is to be reached; `at_most` 0 means that nothing is."""

    name: str
    value: float
    at_most: float = 0.0

    @property
    def verdict(self) -> str:
        """'reached', 'missed', or '' without a number to reach."""
        if not self.at_most:
            return ""
        return "reached" if self.value <= self.at_most else "missed"


class Sandbox:
    """A sandbox of the benchmark's own, in its own folder, through the command line as a user has it."""

    def __init__(self, folder: Path) -> None:
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("OPSLIB_")}
        self.environ["OPSLIB_SANDBOX_DIR"] = str(folder)
        self.folder = folder / NAME

    def say(self, *words: str) -> str:
        """`opslib sandbox WORDS --name bench`; what it printed. Raises BenchmarkError when it fails."""
        command = [OPSLIB, "sandbox", *words, "--name", NAME]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def timed(self, name: str, *words: str) -> Times:
        """What `opslib sandbox WORDS` takes, under this name."""
        with Watch() as watch:
            self.say(*words)
        return times(name, [watch])

    def pids(self) -> list[int]:
        """The processes that sandbox.json names, and theirs."""
        found: list[int] = []
        queue: list[object] = [json.loads((self.folder / "sandbox.json").read_text())]
        while queue:
            value = queue.pop()
            if isinstance(value, dict):
                found += [int(number) for key, number in value.items() if key == "pid" and number]
                queue += value.values()
            elif isinstance(value, list):
                queue += value
        return descendants(found)

    def platform(self) -> dict[str, str]:
        """The environment in which a command talks to this sandbox."""
        return {**self.environ, **json.loads(self.say("env", "--json"))}


def measure(console: Console, rounds: int) -> tuple[list[Times], list[Ratio], dict[str, float]]:
    """Every measurement, in order; the sandbox is down afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="opslib-bench-") as scratch:
        sandbox = Sandbox(Path(scratch) / "sandboxes")
        try:
            console.print("sandbox: up, down, up")
            steps = [("sandbox up, first", "up"), ("sandbox down", "down"), ("sandbox up, second", "up")]
            taken = [sandbox.timed(name, word) for name, word in steps]
            size = memory(sandbox.pids())
            console.print("sandbox: break bad-release")
            sandbox.say("break", "bad-release")
            console.print(f"observing runs of P0: {rounds} rounds of three")
            runs = in_turns(observing_runs(sandbox.platform(), Path(scratch) / "runs"), rounds)
            console.print("starts of the command line")
            help_, bare = in_turns(starts(), 3 * rounds)
        finally:
            sandbox.say("down")
    ours, plain, kubectl = runs
    ratios = [
        Ratio("opslib run / papermill", ours.median / plain.median, at_most=0.6),
        Ratio("opslib run / papermill, processor time", ours.cpu / plain.cpu),
        Ratio("opslib run / kubectl commands", ours.median / kubectl.median),
        Ratio("opslib --help / python -c pass", help_.median / bare.median, at_most=12),
    ]
    return [*taken, *runs, help_, bare], ratios, size


def show(console: Console, rows: Sequence[Times], ratios: Sequence[Ratio], size: Mapping[str, float]) -> None:
    """The tables."""
    table = Table("what", "median s", "fastest s", "slowest s", "processor s", "rounds", title="Times")
    for row in rows:
        low, high = min(row.seconds), max(row.seconds)
        table.add_row(
            row.name,
            f"{row.median:.2f}",
            f"{low:.2f}",
            f"{high:.2f}",
            f"{row.cpu:.2f}",
            str(len(row.seconds)),
        )
    console.print(table)
    table = Table("ratio of medians", "value", "to reach", "", title="Ratios")
    for ratio in ratios:
        wanted = f"{ratio.at_most:g} or less" if ratio.at_most else ""
        table.add_row(ratio.name, f"{ratio.value:.2f}", wanted, ratio.verdict)
    console.print(table)
    console.print(
        f"Memory of the sandbox: {size['pss_mb']:.0f} MB proportional, {size['rss_mb']:.0f} MB resident"
    )


def write(rows: Sequence[Times], ratios: Sequence[Ratio], size: Mapping[str, float]) -> Path:
    """The same as JSON; the file's path."""
    now = datetime.now(UTC)
    body = {
        "schema": "opslib.benchmark/1",
        "at": now.isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "times": [
            {
                "name": row.name,
                "median_seconds": row.median,
                "seconds": list(row.seconds),
                "cpu_seconds": list(row.cpu_seconds),
            }
            for row in rows
        ],
        "ratios": [
            {"name": row.name, "value": row.value, "at_most": row.at_most or None, "verdict": row.verdict}
            for row in ratios
        ],
        "sandbox_memory": dict(size),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(body, indent=1) + "\n")
    return path


def main() -> int:
    """Exit status 0 when everything could be measured, reached or not; 3 when something could not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is timed (default 5)")
    rounds = parser.parse_args().rounds
    console = Console()
    if rounds < 1:
        parser.error("--rounds must be 1 or more")
    try:
        rows, ratios, size = measure(console, rounds)
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    show(console, rows, ratios, size)
    console.print(f"Written to {write(rows, ratios, size).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
