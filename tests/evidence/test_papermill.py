"""The engine and the storage under papermill's own command line, found by their entry points."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from evidence_bench import HEALTHY, Bench, read, states, text

installed = {point.name for point in importlib.metadata.entry_points(group="papermill.engine")}


@pytest.mark.skipif(
    "opslib" not in installed, reason="opslib is not installed, so papermill cannot find its engine"
)
def test_papermill_finds_the_engine_and_the_storage(bench: Bench) -> None:
    path = bench.write("print('kept', count)", "import os; os._exit(3)", HEALTHY)
    target = f"evidence://{bench.evidence}/deep/down/out.ipynb"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "--engine",
            "opslib",
            "--no-progress-bar",
            "-p",
            "count",
            "4",
            str(path),
            target,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    nb = read(bench.evidence / "deep" / "down" / "out.ipynb")
    assert done.returncode != 0
    assert states(nb) == ["completed", "failed", "not run"]
    assert nb["metadata"]["papermill"]["exception"] is True
    assert text(nb) == "kept 4\n"


def test_storage_never_writes_over_another_run(bench: Bench) -> None:
    from opslib.errors import EvidenceError, UsageError
    from opslib.evidence.storage import EvidenceHandler, Store

    there = bench.evidence / "run" / "a.ipynb"
    there.parent.mkdir(parents=True)
    there.write_text("another run's")
    with pytest.raises(EvidenceError, match="belongs to another run"):
        EvidenceHandler.write("mine", f"evidence://{there}")
    with pytest.raises(UsageError, match="holds another run"):
        Store(there.parent).create()
    assert there.read_text() == "another run's"
