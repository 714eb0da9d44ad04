"""Reads as a run makes them: in parallel, with deadlines, and unknown instead of an end of the notebook."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pandas as pd
import pytest

from opslib.errors import NotFound, NotInstalled, NotPermitted, Unreachable
from opslib.records.change import Change
from opslib.records.measurement import Measurement
from opslib.records.model import Kind, Outcome
from opslib.runs.start import open_run


class Slow:
    """A cluster whose reads meet at a barrier: they can only end when all run at the same time."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(3)
        self.release = threading.Event()

    def identity(self) -> str:
        return "me"

    def cluster_uid(self) -> str:
        return "uid"

    def pods(self, name: str = "") -> pd.DataFrame:
        """Pods.

        Columns: pod, ready.
        """
        self.barrier.wait(20)
        return pd.DataFrame({"pod": [name or "all"], "ready": [True]})

    def deployments(self) -> pd.DataFrame:
        self.release.wait(30)
        return pd.DataFrame({"deployment": ["late"]})

    def events(self) -> pd.DataFrame:
        raise NotPermitted("may not list events", target="events", next="ask for the role")

    def applications(self) -> pd.DataFrame:
        raise NotInstalled("there is no Argo CD")

    def ratio(self) -> Measurement:
        raise Unreachable("no connection", target="prometheus")

    def restart(self) -> Change:
        raise NotFound("no such deployment", target="deployment/x")

    def broken(self) -> pd.DataFrame:
        raise ZeroDivisionError("a bug")


@pytest.fixture
def slow():
    noun = Slow()
    yield noun
    noun.release.set()


@pytest.fixture
def run(archive, slow):
    return open_run("incident-response/p0", parameters={}, nouns={"cluster": lambda: slow})


def test_several_reads_take_as_long_as_one(run):
    lazy = run.cluster.lazy
    names = [frame["pod"].iloc[0] for frame in run.read(lazy.pods("a"), lazy.pods("b"), lazy.pods("c"))]
    assert names == ["a", "b", "c"]


def test_a_source_that_hangs_is_unknown_after_its_deadline(run):
    frame = run.cluster.within(0.2).deployments()
    assert list(frame.columns)[:2] == ["deployment", "desired"] and frame.empty
    assert "no answer within 0.2 s" in frame.attrs["unknown"]
    record = run.emitter.of(Kind.CHECK)[-1]
    assert (record["status"], record["required"]) == ("unknown", True)
    assert record["name"] == "read cluster.deployments()"


def test_a_late_answer_does_not_replace_unknown(run, slow):
    read = run.cluster.within(0.1).lazy.deployments()
    (frame,) = run.read(read)
    slow.release.set()
    time.sleep(0.1)
    assert read.error is not None and frame.empty


def test_an_error_of_the_source_is_unknown_and_says_why(run):
    frame = run.cluster.events()
    assert frame.attrs["unknown"] == "may not list events [events] Next: ask for the role"
    assert "kind" in frame.columns
    assert run.finish().outcome is Outcome.NEEDS_A_PERSON


def test_an_empty_frame_has_the_types_of_a_full_one(run):
    frame = run.cluster.events()
    assert str(frame["at"].dtype).startswith("datetime64")


def test_optional_reads_do_not_block_healthy(run):
    run.cluster.optional.events()
    run.check("answers", 1.0, critical_below=0.5)
    conclusion = run.finish()
    assert conclusion.outcome is Outcome.HEALTHY
    assert any("events" in entry for entry in conclusion.unknowns)


def test_not_installed_is_not_unknown(run):
    assert run.cluster.applications().attrs["unknown"].startswith("not installed: ")
    assert run.emitter.of(Kind.CHECK)[-1]["status"] == "not installed"
    run.check("answers", 1.0, critical_below=0.5)
    assert run.finish().outcome is Outcome.HEALTHY


def test_a_measurement_without_value_makes_its_check_unknown(run):
    ratio = run.cluster.ratio()
    assert not ratio.known
    assert run.check("share of 5xx", ratio, unit="ratio", critical_above=0.05) == "unknown"
    assert "no connection" in run.emitter.of(Kind.CHECK)[-1]["because"]
    assert run.finish().outcome is Outcome.NEEDS_A_PERSON


def test_building_a_change_raises(run):
    with pytest.raises(NotFound):
        run.cluster.restart()


def test_a_bug_is_not_unknown(run):
    with pytest.raises(ZeroDivisionError):
        run.cluster.broken()


def test_facts_are_kept_by_name_and_by_call(run, slow):
    slow.barrier = threading.Barrier(1)
    run.cluster.pods("api-gateway")
    run.cluster.pods("web")
    assert run.facts["cluster.pods"]["pod"].iloc[0] == "web"
    assert run.facts["cluster.pods('api-gateway')"]["pod"].iloc[0] == "api-gateway"
    assert len(run.facts.every("cluster.pods")) == 2


def test_help_is_the_nouns_own(run):
    assert "Columns: pod, ready." in run.cluster.pods.__doc__
    assert "pods" in dir(run.cluster)


def test_a_dead_cluster_leaves_the_run_open_and_says_so(archive):
    class Dead:
        def identity(self) -> str:
            raise Unreachable("connection refused", target="https://127.0.0.1:1")

        cluster_uid = identity

    run = open_run("incident-response/p0", parameters={}, nouns={"cluster": Dead})
    record = run.emitter.of(Kind.CHECK)[0]
    assert record["status"] == "unknown" and "connection refused" in record["because"]
    assert run.identity.cluster_user == ""


def test_measured_at_is_said(run):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert (
        run.check("x", Measurement(0.0, "ratio", at, 40, source="sum(rate(...))"), critical_above=0.1) == "ok"
    )
    record = run.emitter.of(Kind.CHECK)[-1]
    assert (record["samples"], record["source"]) == (40, "sum(rate(...))")
