"""The same notebook through plain papermill: the same records, a journal, and its proposal can be applied."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opslib import runbooks

from .conftest import P0, Rehearsal, records
from .witness import scraped

pytestmark = pytest.mark.rehearsal

# Measured over the last minute, which fills with errors while the two runs look one after the other.
FILLING = {"share of 5xx, last minute", "5xx, worst route", "Which routes fail?"}


def told(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What a run said, without what differs from one look to the next: times, ids, measured values."""
    order: dict[str, dict[str, Any]] = {}
    for record in found:  # a record that was rewritten counts once, as it stands at last
        order[f"{record['kind']} {record['seq']}"] = record
    return [
        (each["kind"], each["name"], each["name"] not in FILLING and each.get("status"), each.get("choice"))
        for each in order.values()
    ]


def test_plain_papermill_gives_equal_records(rehearsal: Rehearsal, tmp_path: Path) -> None:
    rehearsal.break_("bad-release")
    scraped(rehearsal.environ["PROMETHEUS_URL"])
    ours = rehearsal.run()
    assert ours.status == 5, ours.body
    target = tmp_path / "out.ipynb"
    words = ["-m", "papermill", str(runbooks.load(P0).path), str(target), "--no-progress-bar"]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env=rehearsal.environ,
        timeout=90,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain = records(json.loads(target.read_text()))
    assert told(plain) == told(ours.records)
    shares = [
        {r["name"]: r["value"] for r in found if r["kind"] == "check" and r["name"] not in FILLING}
        for found in (plain, ours.records)
    ]
    for name, value in shares[0].items():
        assert value == pytest.approx(shares[1][name], abs=0.25), name
    mine, its = (
        next(r["change"] for r in found if r["kind"] == "proposal") for found in (ours.records, plain)
    )
    assert mine["confirmation"] == its["confirmation"]

    run = next(r for r in plain if r["kind"] == "outcome")["run"]
    (journal,) = rehearsal.evidence.glob(f"*/*{run}/journal.jsonl")
    assert json.loads(journal.read_text().splitlines()[-1])["entry"] == "finished"
    applied = rehearsal.opslib("apply", run, "--yes", "--json")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    body = json.loads(applied.stdout.splitlines()[-1])
    assert body["applied"][0]["confirmation"] == its["confirmation"]
