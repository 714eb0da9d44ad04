"""Limits, statuses, measurements and decisions: unknown is never ok."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from opslib.records import ids
from opslib.records.measurement import Measurement, Symptom
from opslib.records.model import Limits, Status, plain, stamp, table_json, worst
from opslib.records.option import Option, decide
from opslib.records.words import amount, span


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0.0, "ok"),
        (0.001, "ok"),
        (0.0011, "warning"),
        (0.05, "warning"),
        (0.051, "critical"),
        (math.nan, "unknown"),
        (None, "unknown"),
    ],
)
def test_limits_above(value, status):
    assert Limits(warning_above=0.001, critical_above=0.05).judge(value) == status


@pytest.mark.parametrize(
    ("value", "status"), [(1.0, "ok"), (0.9, "warning"), (0.5, "warning"), (0.49, "critical")]
)
def test_limits_below(value, status):
    assert Limits(warning_below=1.0, critical_below=0.5).judge(value) == status


def test_worst():
    assert worst(["ok", "unknown", "warning"]) is Status.UNKNOWN
    assert worst(["ok", "critical", "unknown"]) is Status.CRITICAL
    assert worst(["ok", "not installed"]) is Status.OK
    assert worst([]) is Status.UNKNOWN


def test_plain_values_of_numpy_and_pandas():
    assert plain(np.float64(0.5)) == 0.5
    assert plain(np.int64(3)) == 3
    assert plain(np.bool_(True)) is True
    assert plain(np.float64("nan")) is None
    assert plain(pd.NaT) is None and plain(pd.NA) is None
    assert plain(pd.Timestamp("2026-11-22T14:00:00Z")) == "2026-11-22T14:00:00.000Z"
    assert plain({"a": (1, {2})}) == {"a": [1, [2]]}
    assert plain(math.inf) is None


def test_times_are_utc():
    east = timezone(timedelta(hours=2))
    assert stamp(datetime(2026, 11, 22, 16, 0, tzinfo=east)) == "2026-11-22T14:00:00.000Z"
    assert stamp(datetime(2026, 11, 22, 14, 0, tzinfo=UTC)) == "2026-11-22T14:00:00.000Z"


def test_table_of_an_unknown_frame_says_why():
    frame = pd.DataFrame(columns=["pod", "ready"])
    frame.attrs["unknown"] = "no answer"
    assert table_json(frame) == {"columns": ["pod", "ready"], "rows": [], "total": 0, "unknown": "no answer"}


def test_measurement():
    assert not Measurement(None, unknown="dead").known
    assert not Measurement(math.nan).known
    assert not Measurement(0.0, unknown="absent").known
    assert math.isnan(float(Measurement(None)))
    assert str(Measurement(0.25, "ratio", samples=40)) == "25 % over 40 samples"


def test_symptom_is_a_shape():
    class Errors:
        what, limit, minimum_samples = "errors", 0.01, 10

        def measure(self, since: datetime) -> Measurement:
            return Measurement(0.0)

    assert isinstance(Errors(), Symptom)


def test_decision_takes_the_best_viable_option():
    options = [
        Option("restart", score=0.9, viable=False),
        Option("rollback", score=0.8),
        Option("scale", score=0.8),
    ]
    decision = decide("What restores service?", options)
    assert decision.option is options[1] and decision.choice is None
    assert list(decision.table["choice"]) == [False, True, False]


def test_decision_without_a_viable_option():
    decision = decide("What?", [Option("restart", viable=False)])
    assert decision.option is None and decision.choice is None
    assert list(decide("What?", []).table.columns) == list(decision.table.columns)


def test_run_ids_sort_by_time():
    made = [ids.new_id() for _ in range(3)]
    assert all(ids.is_id(one) for one in made) and not ids.is_id("../../etc")
    assert len(set(made)) == 3


def test_words():
    assert amount(0.0512, "ratio") == "5.12 %"
    assert amount(None) == "no value"
    assert [span(seconds) for seconds in (0.04, 3.21, 125, 3780, 180000)] == [
        "40 ms", "3.2 s", "2 min 5 s", "1 h 3 min", "2 d 2 h",
    ]  # fmt: skip
