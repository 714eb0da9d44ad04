"""A bare sandbox folder with its supervisor; whatever a test starts in it is ended."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib.sandbox import processes
from opslib.sandbox.processes import Supervisor
from opslib.sandbox.state import Process, Record, Sandbox


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The prepared database of these tests is not the user's."""
    patch = pytest.MonkeyPatch()
    if not (Path.home() / ".cache/opslib/debs/prometheus/prometheus").exists():
        yield  # Prometheus is downloaded once, into the user's cache
        return
    folder = tmp_path_factory.mktemp("cache")
    (folder / "opslib").mkdir()
    (folder / "opslib/debs").symlink_to(Path.home() / ".cache/opslib/debs")
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield
    patch.undo()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    yield from supervised(tmp_path / "one")


@pytest.fixture
def open_supervisor() -> Iterator[Supervisor]:
    """One whose folder everybody may enter (pytest's own are closed)."""
    base = Path(tempfile.mkdtemp(prefix="opslib-test-", dir="/tmp"))
    base.chmod(0o755)
    try:
        yield from supervised(base / "one")
    finally:
        shutil.rmtree(base)


def supervised(path: Path, speed: float = 20.0) -> Iterator[Supervisor]:
    sandbox = Sandbox.at(path)
    sandbox.path.mkdir()
    made = Supervisor(sandbox, Record("one", speed=speed))
    yield made
    for pid in processes.strays(sandbox):
        if started := processes.identity(pid):
            processes.end(Process(pid, started))
    assert processes.strays(sandbox) == []
