"""SIGTERM and SIGINT: the exit status says so, the evidence is whole and true, and the platform can be worked on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest

from .conftest import P0, Look, Ran, Rehearsal
from .witness import Audit, Started

pytestmark = pytest.mark.rehearsal

ENDS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def interrupted(started: Started, number: signal.Signals) -> Ran:
    """Send the signal; the run as it ended."""
    done = started.signal(number)
    assert done.returncode == ENDS[number], done.stderr
    body: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert body["outcome"] == "interrupted", body
    assert body["exit_status"] == ENDS[number]
    assert number.name in body["cause"]
    return Ran(done.returncode, body, done.stderr)


def true(ran: Ran) -> list[str]:
    """What became of the code cells; the notebook is valid and says nothing that did not happen."""
    nbformat.validate(nbformat.read(Path(ran.body["notebook"]), as_version=4))
    cells = [cell for cell in ran.notebook["cells"] if cell["cell_type"] == "code"]
    states = [cell["metadata"]["opslib"]["status"] for cell in cells]
    first = states.index("failed")
    assert set(states[:first]) <= {"completed"} and set(states[first + 1 :]) <= {"not run"}, states
    assert not any(cell["outputs"] for cell in cells[first + 1 :])
    assert ran.notebook["metadata"]["opslib"]["outcome"] == "interrupted"
    return states


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_an_observing_run_is_interrupted(rehearsal: Rehearsal, number: signal.Signals) -> None:
    started = Started(["run", P0, "--json"], rehearsal.environ, rehearsal.evidence)
    started.reaches("step")
    ran = interrupted(started, number)
    assert "not run" in true(ran)
    assert ran.body["proposals"] == []
    verified = rehearsal.opslib("archive", "verify")
    assert verified.returncode == 0, verified.stdout


def test_an_apply_is_interrupted_while_it_settles(rehearsal: Rehearsal, look: Look, kubectl) -> None:
    rehearsal.break_("bad-release")
    bad = look("deployment", "api-gateway")["spec"]["template"]
    observed = rehearsal.run()
    audit = Audit(rehearsal.sandbox.path)
    started = Started(["apply", observed.id, "--yes", "--json"], rehearsal.environ, rehearsal.evidence)
    started.reaches("receipt")
    ran = interrupted(started, signal.SIGTERM)
    true(ran)
    kinds = [entry["entry"] for entry in ran.journal]
    assert "receipt" in kinds and "settled" not in kinds
    assert [change["name"] for change in ran.body["applied"]] == ["rollback-api-gateway"]
    assert len(audit.writes("oncall-responder", "deployments")) == 1
    assert kubectl("get", "lease", "-n", "pss-nano", "-o", "name").stdout == "", (
        "the lease was not given back"
    )
    assert rehearsal.opslib("archive", "verify").returncode == 0
    undone = rehearsal.undo(ran)
    assert undone.status == 0, undone.body
    assert look("deployment", "api-gateway")["spec"]["template"] == bad
