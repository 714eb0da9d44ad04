"""The command line: one clear sentence and status 2 for bad input, one line of JSON for programs, a light start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT = """---
title: Small
severity: P2
owner: tests
reviewed: 2026-11-01
review_every: 90 days
symptoms: [none]
reads: ["kubernetes: pods"]
changes: []
alerts: [SmallAlert]
parameters:
  count: {minimum: 1, maximum: 9}
---"""
OUTCOME = """from IPython.display import display
display({"text/plain": outcome, "application/vnd.opslib.record+json": {"schema": "opslib.record/1",
  "kind": "outcome", "name": "outcome", "outcome": outcome, "summary": "in short: " + outcome}}, raw=True)"""
PARAMETERS = (
    'outcome: str = "healthy"  # how it ends\ncount: int = 3  # how many\nincident: str = ""  # which'
)
Opslib = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def opslib(tmp_path: Path) -> Opslib:
    """Run `opslib` in an empty folder with one runbook, tests/small, that ends as it is told."""
    cell = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}}
    cells = [
        {"cell_type": "raw", "id": "a", "metadata": {}, "source": FRONT},
        {**cell, "id": "b", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS},
        {"cell_type": "markdown", "id": "c", "metadata": {}, "source": "## Summary"},
        {**cell, "id": "d", "source": OUTCOME},
    ]
    book = tmp_path / "books" / "tests" / "small.ipynb"
    book.parent.mkdir(parents=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "opslib.toml").write_text("")
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OPSLIB_EVIDENCE", "OPSLIB_PROFILE", "KUBECONFIG")
    }
    env.update(
        PYTHONPATH=str(ROOT),
        OPSLIB_NOTEBOOKS=str(tmp_path / "books"),
        OPSLIB_CONFIG=str(tmp_path / "opslib.toml"),
        XDG_STATE_HOME=str(tmp_path / "state"),
        COLUMNS="120",
    )

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "opslib.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**env, **more},
            cwd=here,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "smal"], "did you mean 'small'"),
        (["run", "small", "-p", "count", "0"], "its minimum is 1"),
        (["run", "small", "-p", "count", "x"], "a whole number"),
        (["run", "small", "-p", "cuont", "1"], "did you mean 'count'"),
        (["run", "small", "-p", "import os; a", "1"], "not a parameter name"),
        (["run", "small", "-p", "db_password", "hunter22"], "secrets are references"),
        (["run", "small", "-p", "outcome", "postgres://u:hunter22@h/d"], "looks like, a secret"),
        (["run", "small", "-p", "count"], "a name and a value"),
        (["run", "small", "-p", "count=1"], "a name and a value"),
        (["run", "small", "--approve", "x@0123456789ab"], "no parameter 'approve'"),
        (["run", "small", "--incident", "A", "-p", "incident", "B"], "by its own option"),
        (["run", "small", "--profile", "nowhere"], "no profile 'nowhere'"),
        (["run", "small", "--bogus"], "--bogus"),
        (["run"], "RUNBOOK"),
        (["frobnicate"], "frobnicate"),
        (["show", "smal"], "did you mean"),
        (["apply", "01ABC"], "no evidence here"),
        (["archive", "list"], "no evidence here"),
        (["list", "--alert", "Nothing"], "no runbook answers"),
    ],
)
def test_bad_input(opslib: Opslib, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = opslib(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("opslib: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr and "hunter22" not in done.stderr + done.stdout
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("healthy", 0), ("not mitigated", 4), ("proposed", 5), ("refused", 6), ("wonderful", 3)],
)
def test_the_outcome_is_the_exit_status(opslib: Opslib, outcome: str, status: int) -> None:
    done = opslib("run", "small", "-p", "outcome", outcome, "--json")
    assert done.returncode == status
    assert done.stdout.count("\n") == 1
    said = json.loads(done.stdout)
    assert said["exit_status"] == status
    assert not Path(said["notebook"]).is_absolute()


def test_a_run_on_the_terminal(opslib: Opslib, tmp_path: Path) -> None:
    done = opslib("run", "small", "--incident", "INC-1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "healthy" in lines[0]  # the verdict first
    assert "in short: healthy" in done.stdout
    assert "evidence/" in done.stdout and str(tmp_path) not in done.stdout
    assert "Summary" in done.stderr
    listed = json.loads(opslib("archive", "list", "--json", "--incident", "INC-1").stdout)
    assert [entry["outcome"] for entry in listed] == ["healthy"]
    assert opslib("archive", "verify").returncode == 0
    shown = opslib("archive", "show", listed[0]["run"][:14])
    assert "in short: healthy" in shown.stdout
    applied = opslib("apply", listed[0]["run"], "--yes")
    assert applied.returncode == 3 and "journal cannot be read" in applied.stderr  # this runbook keeps none


def test_the_catalogue(opslib: Opslib) -> None:
    names = [book["name"] for book in json.loads(opslib("list", "--json").stdout)]
    assert "tests/small" in names
    assert "incident-response/p0-service-down" in names
    found = json.loads(opslib("list", "--alert", "SmallAlert", "--json").stdout)
    assert [book["name"] for book in found] == ["tests/small"]
    schema = json.loads(opslib("show", "small", "--json").stdout)["parameters"]
    assert schema["properties"]["count"] == {
        "type": "integer",
        "default": 3,
        "description": "how many",
        "minimum": 1,
        "maximum": 9,
    }


def test_lint_says_what_is_wrong(opslib: Opslib, tmp_path: Path) -> None:
    done = opslib("lint", str(tmp_path / "books" / "tests" / "small.ipynb"), "--json")
    assert done.returncode == 3
    assert {problem["rule"] for problem in json.loads(done.stdout)} == {"required-headings"}


def test_the_schema_is_printed(opslib: Opslib) -> None:
    assert "$schema" in json.loads(opslib("schema").stdout)


def test_the_doctor_says_the_next_step(opslib: Opslib, tmp_path: Path) -> None:
    done = opslib("doctor", "--json", HOME=str(tmp_path))
    body = json.loads(done.stdout)
    assert done.returncode == 3 and body["healthy"] is False
    found = {each["name"]: each for each in body["findings"]}
    assert found["evidence"]["status"] == "ok"
    assert found["kubernetes"]["status"] == "failed" and found["kubernetes"]["next"]
    assert found["prometheus"]["status"] == "not configured"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from opslib.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "run" in done.stdout and "archive" in done.stdout
    heavy = {
        "rich",
        "pandas",
        "kubernetes",
        "papermill",
        "nbformat",
        "yaml",
        "pydantic",
        "jsonschema",
        "opslib.runbooks",
    }
    assert not heavy & set(done.stderr.split())
