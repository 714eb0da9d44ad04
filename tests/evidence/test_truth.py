"""Whatever ends a run, its notebook is valid, keeps its outputs, and never calls a cell completed that did not run."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from evidence_bench import HEALTHY, Bench, read, states, text


def test_a_healthy_run_leaves_whole_evidence(bench: Bench) -> None:
    result = bench.run("print('hello', count)", HEALTHY, parameters=[("count", "5")])
    nb = read(result.notebook)
    assert (result.about.outcome, result.about.exit_status) == ("healthy", 0)
    assert states(nb) == ["completed", "completed"]
    assert text(nb) == "hello 5\n"
    assert nb["metadata"]["papermill"]["exception"] is False
    assert nb["metadata"]["opslib"]["outcome"] == "healthy"
    assert nb["metadata"]["opslib"]["parameters"]["count"] == 5
    assert not Path(nb["metadata"]["papermill"]["input_path"]).is_absolute()
    assert str(bench.folder) not in result.notebook.read_text()
    assert result.page is not None and "all is well" in result.page.read_text()
    assert not result.problems


def test_an_error_in_a_cell(bench: Bench) -> None:
    result = bench.run("print('before'); 1/0", HEALTHY)
    nb = read(result.notebook)
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)
    assert "ZeroDivisionError" in result.about.cause
    assert states(nb) == ["failed", "not run"]
    assert nb["metadata"]["papermill"]["exception"] is True
    assert [c["metadata"]["papermill"]["status"] for c in nb["cells"] if c["id"] == "c1"] == ["pending"]
    assert "before" in text(nb)


def test_leaving_with_status_0_is_no_success(bench: Bench) -> None:
    result = bench.run("import sys; sys.exit(0)", HEALTHY)
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)
    assert states(read(result.notebook)) == ["failed", "not run"]


def test_an_error_after_a_good_outcome_is_a_failure(bench: Bench) -> None:
    result = bench.run(HEALTHY, "raise ValueError('too late')")
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)


def test_a_refusal_stands_though_it_raises(bench: Bench) -> None:
    refused = (
        HEALTHY.replace('"outcome": "healthy"', '"outcome": "refused"') + "\nraise RuntimeError('stale')"
    )
    result = bench.run(refused)
    assert (result.about.outcome, result.about.exit_status) == ("refused", 6)


def test_a_run_without_an_outcome_failed(bench: Bench) -> None:
    result = bench.run("print('nothing to say')")
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)
    assert "no outcome" in result.about.cause


@pytest.mark.parametrize(
    ("kill", "says"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    ],
)
def test_a_dead_kernel(bench: Bench, kill: str, says: str) -> None:
    result = bench.run(
        "print('kept')", "print('kept too', flush=True)\nimport time; time.sleep(0.5)\n" + kill, HEALTHY
    )
    nb = read(result.notebook)
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)
    assert says in result.about.cause
    assert states(nb) == ["completed", "failed", "not run"]
    assert text(nb) == "kept\nkept too\n"
    assert nb["metadata"]["opslib"]["cause"]["kind"] == "kernel"


def test_a_cell_past_its_time(bench: Bench) -> None:
    cell = (
        "import time\ntry:\n    print('waiting', flush=True); time.sleep(60)\nfinally:\n    print('let go')"
    )
    result = bench.run(cell, HEALTHY, cell_timeout=1)
    nb = read(result.notebook)
    assert (result.about.outcome, result.about.exit_status) == ("failed", 3)
    assert nb["metadata"]["opslib"]["cause"]["kind"] == "timeout"
    assert states(nb) == ["failed", "not run"]
    # The cell was interrupted first, so that what it holds (a lease) is let go.
    assert text(nb) == "waiting\nlet go\n"


def test_a_cell_that_will_not_be_interrupted(bench: Bench) -> None:
    cell = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True); time.sleep(60)"
    result = bench.run(cell, HEALTHY, cell_timeout=0.7)
    nb = read(result.notebook)
    assert states(nb) == ["failed", "not run"]
    assert "deaf" in text(nb)
    assert not _running(result.about.kernel)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(bench: Bench, number: int, status: int) -> None:
    bench.write("print('begun', flush=True)\nimport time; time.sleep(60)", HEALTHY, name="long")
    process = bench.start("run", "long", "--json", "--evidence", str(bench.evidence))
    path = _wait_for_output(bench.evidence, "begun")
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    nb = read(path)
    said = json.loads(out)
    assert process.returncode == status == said["exit_status"]
    assert said["outcome"] == "interrupted"
    assert states(nb) == ["failed", "not run"]
    assert nb["metadata"]["opslib"]["cause"]["kind"] == "signal"
    assert "begun" in text(nb)
    assert bench.opslib("archive", "verify", "--evidence", str(bench.evidence))[0] == 0


def test_a_killed_runner_is_reaped_by_the_next_one(bench: Bench) -> None:
    bench.write("print('begun', flush=True)\nimport time; time.sleep(60)", HEALTHY, name="long")
    process = bench.start("run", "long", "--evidence", str(bench.evidence))
    path = _wait_for_output(bench.evidence, "begun")
    about = json.loads((path.parent / "run.json").read_text())
    process.kill()
    process.communicate(timeout=10)
    listed = json.loads(bench.opslib("archive", "list", "--json", "--evidence", str(bench.evidence))[1])
    assert [entry["outcome"] for entry in listed] == ["interrupted (no end)"]
    mark = next((bench.evidence / ".running").iterdir()).read_text().splitlines()
    assert Path(mark[1]).is_dir()
    _wait(lambda: not _running(about["kernel"]))  # the kernel ends by itself when its runner is gone
    bench.run(HEALTHY)
    assert not Path(mark[1]).exists()
    nb = read(path)
    assert nb["metadata"]["opslib"]["outcome"] == "interrupted (no end)"
    assert states(nb) == ["failed", "not run"]
    assert "begun" in text(nb)
    assert bench.opslib("archive", "verify", "--evidence", str(bench.evidence))[0] == 0


def test_a_folder_that_becomes_unwritable_is_spooled_and_said(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    # Root ignores modes; a file in the place of the folder stops root as well.
    cell = f"""import os, glob, shutil
folder = glob.glob({str(bench.evidence)!r} + '/*/small-*')[0]
os.rename(folder, folder + '.away'); open(folder, 'w').close()
print('still heard')"""
    result = bench.run("print('first')", cell, HEALTHY)
    nb = read(result.notebook)
    assert result.about.spooled
    assert nb["metadata"]["opslib"]["spooled"] == result.about.spooled
    assert "spool" in str(result.folder) and not result.folder.is_relative_to(bench.evidence)
    assert text(nb) == "first\nstill heard\n"
    assert "cannot be written" in capfd.readouterr().err
    assert (result.about.outcome, result.about.exit_status) == ("healthy", 0)
    code, out, _ = bench.opslib("archive", "list", "--json", "--evidence", str(bench.evidence))
    assert code == 0 and json.loads(out)[0]["spooled"]


def test_a_folder_that_cannot_be_written_from_the_start_is_refused(bench: Bench) -> None:
    bench.evidence.write_text("a file in the folder's place")
    bench.write(HEALTHY)
    status, _, err = bench.opslib("run", "small", "--evidence", str(bench.evidence))
    assert status == 2
    assert "cannot be written" in err and "Traceback" not in err


def test_saved_while_a_long_cell_runs(bench: Bench) -> None:
    bench.write(
        "print('early', flush=True)\nimport time; time.sleep(3.2)\nprint('late')", HEALTHY, name="long"
    )
    process = bench.start("run", "long", "--evidence", str(bench.evidence))
    path = _wait_for_output(bench.evidence, "early")
    assert "late" not in text(read(path))
    assert states(read(path)) == ["running", "not run"]
    process.communicate(timeout=30)
    assert text(read(path)) == "early\nlate\n"


def _wait_for_output(evidence: Path, wanted: str) -> Path:
    def seen() -> Path | None:
        for path in evidence.glob("*/*/*.ipynb"):
            if wanted in text(read(path)):
                return path
        return None

    found = _wait(seen)
    assert isinstance(found, Path)
    return found


def _wait(ready: Any, seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def _running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return not re.search(r"\) [ZX] ", stat) and os.path.exists(f"/proc/{pid}")
