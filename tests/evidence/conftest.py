"""Fixtures of the evidence tests; the helpers are in evidence_bench.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves helpers out

from evidence_bench import ROOT, Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A place for runbooks and evidence; the spool lies below it too."""
    folder = tmp_path / "books"
    folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OPSLIB_NOTEBOOKS", str(folder))
    # Kernels import opslib too, also when it is not installed.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("OPSLIB_EVIDENCE", "OPSLIB_PROFILE", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "opslib.toml"
    config.write_text("")
    monkeypatch.setenv("OPSLIB_CONFIG", str(config))
    return Bench(folder, tmp_path / "evidence")
