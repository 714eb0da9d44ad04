"""A run in this process, on a platform that is one JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from file_platform import Store, notebook

from opslib.runs.run import Run
from opslib.runs.start import open_run


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An evidence root of its own, and the test's runbook `incident-response/p0`."""
    notebook(tmp_path / "notebooks")
    for name in ("OPSLIB_RUN_ID", "OPSLIB_RUN_DIR", "OPSLIB_PROFILE", "KUBECONFIG", "OPSLIB_CLUSTER_UID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPSLIB_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setenv("OPSLIB_EVIDENCE", str(tmp_path / "evidence"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "evidence"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    path = tmp_path / "platform.json"
    path.write_text(json.dumps({"replicas": 2, "hash": "abc"}))
    return Store(path)


@pytest.fixture
def opened(archive: Path, store: Store) -> Callable[..., Run]:
    def start(**parameters: Any) -> Run:
        return open_run("incident-response/p0", parameters=parameters, nouns={"cluster": lambda: store})

    return start
