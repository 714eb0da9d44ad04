"""The notebooks as they are shipped: stripped, well formed, and running cell by cell on a healthy platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest

from opslib.records import journal
from opslib.sandbox.state import Sandbox

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.ipynb"))
# Their defaults name nothing that exists; the rehearsals run them with values that do.
WANT_A_VALUE = {"incident-response/undo"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_without_a_trace_of_a_run(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code if cell.outputs] == []
    assert [cell.execution_count for cell in code if cell.execution_count is not None] == []
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}, "a trace of whoever ran it"
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.rehearsal
@pytest.mark.parametrize("name", sorted(set(NOTEBOOKS) - WANT_A_VALUE))
def test_every_cell_runs_with_the_defaults_and_wants_nothing_changed(
    name: str, healthy_sandbox: Sandbox, sandbox_env: dict[str, str], tmp_path: Path
) -> None:
    copy = tmp_path / f"{Path(name).name}.ipynb"
    shutil.copy(FOLDER / f"{name}.ipynb", copy)
    report, evidence = tmp_path / "report.xml", tmp_path / "evidence"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-cell-timeout=60",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--junitxml={report}", f"--rootdir={tmp_path}", "-c", os.devnull, str(copy)]
    # Without the variables of the pytest that runs this one.
    environ = {key: value for key, value in sandbox_env.items() if not key.startswith("PYTEST")}
    environ["OPSLIB_EVIDENCE"] = str(evidence)
    ran = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=170
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    cells = [cell for cell in nbformat.read(copy, as_version=4).cells if cell.cell_type == "code"]
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert int(suite.get("tests", 0)) == len(cells)
    (file,) = evidence.rglob(journal.FILE)
    (finished,) = journal.read(file).of("finished")
    # A busy machine may cost a request or two, which is a warning; there is never a cause or anything to change.
    assert finished["outcome"] in {"healthy", "needs a person"}, finished
    assert (finished["cause"], finished["proposed"], finished["changed"]) == ("", [], []), finished
