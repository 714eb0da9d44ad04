"""The wheel is whole: notebooks and schema are in it, and it works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.metadata import ROOT

NOTEBOOKS = sorted(path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").rglob("*.ipynb"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this source builds, by the build backend itself."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def in_the_wheel(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the wheel before the checkout; its dependencies come from this environment."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OPSLIB_")}
    environ["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_wheel_carries_every_notebook_and_every_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"opslib/notebooks/{path.as_posix()}" for path in NOTEBOOKS} <= names
    tracked = subprocess.run(
        ["git", "ls-files", "opslib"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= names


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"opslib"}
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".log"))] == []


def test_list_finds_the_shipped_notebooks_from_another_folder(installed: Path, tmp_path: Path) -> None:
    program = "import opslib, sys; print(opslib.__file__); from opslib.cli import main; main()"
    listed = in_the_wheel(installed, tmp_path, "-c", program, "list")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.startswith(str(installed)), "the checkout was imported, not the wheel"
    for path in NOTEBOOKS:
        assert path.with_suffix("").as_posix() in listed.stdout


def test_a_missing_notebook_is_refused_by_name_and_nothing_is_written(
    installed: Path, tmp_path: Path
) -> None:
    program = "from opslib.cli import main; main()"
    ran = in_the_wheel(installed, tmp_path, "-c", program, "run", "incident-response/p0-service-dwn")
    assert ran.returncode == 2
    assert "p0-service-down" in ran.stderr, "no hint at the name that was meant"
    assert list(tmp_path.iterdir()) == []
