"""What a run comes to, and what it leaves behind in any case."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from file_platform import Errors, notebook

from opslib.errors import EvidenceError, ParameterError, UsageError
from opslib.records import journal, model
from opslib.records.finding import Finding
from opslib.records.model import Kind, Outcome
from opslib.records.option import Option

SCHEMA = json.loads((Path(model.__file__).parent / "record.schema.json").read_text())


@pytest.mark.parametrize(
    ("value", "required", "outcome"),
    [
        (0.0, True, Outcome.HEALTHY),
        (0.02, True, Outcome.NEEDS_A_PERSON),
        (0.5, True, Outcome.NEEDS_A_PERSON),
        (None, True, Outcome.NEEDS_A_PERSON),
        (float("nan"), True, Outcome.NEEDS_A_PERSON),
        (0.5, False, Outcome.HEALTHY),
        (None, False, Outcome.HEALTHY),
        (True, True, Outcome.HEALTHY),
        (False, True, Outcome.NEEDS_A_PERSON),
    ],
)
def test_only_what_is_known_to_be_ok_is_healthy(opened, value, required, outcome):
    run = opened()
    run.check("share of 5xx", value, warning_above=0.01, critical_above=0.05, required=required)
    assert run.finish().outcome is outcome


def test_a_check_made_again_counts_by_its_last_result(opened):
    run = opened()
    run.check("share of 5xx", 0.5, critical_above=0.05)
    run.check("share of 5xx", 0.0, critical_above=0.05)
    assert run.finish().outcome is Outcome.HEALTHY


def test_a_cause_blocks_healthy_a_consequence_does_not(opened):
    run = opened()
    run.finding(Finding("errors", "critical", "users get errors", cause=False))
    assert run.finish().outcome is Outcome.HEALTHY
    run.finding(
        Finding("bad-release", "critical", "release 8 answers 5xx", next=["post-incident/post-mortem"])
    )
    conclusion = run.finish()
    assert conclusion.outcome is Outcome.NEEDS_A_PERSON
    assert conclusion.cause == "release 8 answers 5xx"
    assert conclusion.remains == ["post-incident/post-mortem"]


async def test_critical_after_the_change_is_not_mitigated(opened):
    observer = opened()
    change = observer.cluster.set_replicas(4)
    await observer.apply(change)
    run = opened(approve=change.confirmation)
    run.check("share of 5xx", 0.9, critical_above=0.05)
    await run.apply(run.cluster.set_replicas(4), verify=Errors((0.0, 50)))
    run.check("ready pods", 0.1, critical_below=0.5)
    assert run.finish().outcome is Outcome.NOT_MITIGATED


def test_the_notebook_can_only_make_it_worse(opened):
    run = opened()
    run.check("x", 1.0, critical_above=0.05)
    assert run.finish("healthy").outcome is Outcome.NEEDS_A_PERSON
    assert run.finish("failed", "the plot could not be drawn").outcome is Outcome.FAILED
    with pytest.raises(UsageError):
        run.finish("fine")


def test_a_check_must_say_what_would_be_ok(opened):
    run = opened()
    with pytest.raises(UsageError, match="what would be ok"):
        run.check("replicas", 3)
    with pytest.raises(UsageError):
        run.check("version", "v1.7")
    assert run.check("version", "v1.7", status="ok") == "ok"


async def test_summary_fits_into_a_chat(opened):
    run = opened(incident="INC-2026-0142")
    run.finding(Finding("bad-release", "critical", "release 8\nanswers 5xx " + "x" * 900, next=["a", "b"]))
    await run.apply(run.cluster.set_replicas(4))
    run.finish()
    summary = run.emitter.of(Kind.OUTCOME)[-1]["summary"].splitlines()
    assert len(summary) <= 6 and all(len(line) <= 400 for line in summary)
    assert summary[0] == "P0 service down: PROPOSED (INC-2026-0142)"
    assert any(f"opslib apply {run.id}" in line for line in summary)


def test_step_takes_the_worst_status_and_its_error(opened):
    run = opened()
    with run.step("Is it serving?", why="A1", by_hand="kubectl get pods", departs=["G1: selector"]):
        run.check("a", 0.0, critical_above=1)
        run.check("b", 2.0, critical_above=1)
    with pytest.raises(RuntimeError), run.step("Breaks"):
        raise RuntimeError("no")
    first, second = run.emitter.of(Kind.STEP)
    assert first["status"] == "critical" and first["by_hand"] == ["kubectl get pods"]
    assert second["status"] == "unknown" and second["error"] == "RuntimeError: no"


def test_parameters_are_validated_inside_as_well(opened):
    with pytest.raises(ParameterError):
        opened(replicas=99)
    with pytest.raises(ParameterError):
        opened(replicas="4; import os")
    with pytest.raises(ParameterError, match="NAME@DIGEST"):
        opened(approve="yes")


def test_a_folder_that_cannot_be_written_is_refused(opened, archive, monkeypatch):
    archive.parent.joinpath("file").write_text("in the way")
    monkeypatch.setenv("OPSLIB_EVIDENCE", str(archive.parent / "file"))
    with pytest.raises(EvidenceError):
        opened()


def test_engine_names_run_and_folder(opened, archive, monkeypatch):
    monkeypatch.setenv("OPSLIB_RUN_ID", "01M82HKPWSPWFC8DTCYPNX16AR")
    monkeypatch.setenv("OPSLIB_RUN_DIR", str(archive / "here"))
    run = opened()
    assert run.id == "01M82HKPWSPWFC8DTCYPNX16AR"
    assert run.journal.path == archive / "here" / "journal.jsonl"


def test_notebook_under_plain_papermill_leaves_valid_records_and_a_journal(archive, store, tmp_path):
    """Also when a cell raises: the evidence then says failed, and why."""
    path = notebook(
        tmp_path / "notebooks",
        f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from file_platform import Store
from opslib import Finding, Option, open_run
store = Store(Path({str(store.path)!r}))
run = open_run("incident-response/p0", nouns={{"cluster": lambda: store}})
""",
        """
with run.step("Do users get answers?"):
    run.check("share of failed requests", 0.6, unit="ratio", critical_above=0.05)
decision = run.decide("What?", [Option("scale up", run.cluster.set_replicas(4), ["room"])])
await run.apply(decision.choice)
""",
        "raise ValueError('the plot <b>failed</b>')",
        "run.finish()",
    )
    out = tmp_path / "out.ipynb"
    code = "import sys, papermill; papermill.execute_notebook(sys.argv[1], sys.argv[2], progress_bar=False)"
    done = subprocess.run(
        [sys.executable, "-c", code, path, out], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "the plot" in done.stderr
    cells = json.loads(out.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    records = [output["data"][model.MIME] for output in outputs if model.MIME in output.get("data", {})]
    for record in records:
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert records[0]["kind"] == "run" and records[0]["outcome"] == "failed"
    assert records[-1]["kind"] == "outcome" and records[-1]["because"] == "ValueError: the plot <b>failed</b>"
    assert records[-1]["proposed"][0]["command"] == f"opslib apply {records[0]['run']}"
    found = journal.find(archive, records[0]["run"])
    assert found is not None
    assert journal.read(found).outcome()["outcome"] == "failed"


def test_data_of_a_check_is_kept(opened):
    run = opened()
    run.check("failed", 0.5, critical_above=0.05, data=pd.DataFrame({"status": [500, 200]}))
    assert run.emitter.of(Kind.CHECK)[-1]["data"] == {
        "columns": ["status"],
        "rows": [[500], [200]],
        "total": 2,
    }


def test_options_are_kept_with_their_reasons(opened):
    run = opened()
    run.decide("What?", [Option("restart", None, ["a"], ["b"], viable=False)])
    record = run.emitter.of(Kind.DECISION)[0]
    assert record["choice"] is None and record["options"][0]["reasons_against"] == ["b"]
