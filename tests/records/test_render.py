"""Both faces of every kind:

valid by the published schema, readable without style, inert whatever the platform says.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from opslib.records import model
from opslib.records.change import Target
from opslib.records.display import bundle
from opslib.records.finding import Finding
from opslib.records.model import Kind, Limits, Record, Status
from opslib.records.option import Option, decide
from opslib.records.render import faces

SCHEMA = json.loads((Path(model.__file__).parent / "record.schema.json").read_text())
RUN = "01M82HKPWSPWFC8DTCYPNX16AR"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'quoted' javascript:"
AT = datetime(2026, 11, 22, 14, 9, 40, tzinfo=UTC)
CHANGE = {
    "name": "rollback-api-gateway",
    "title": EVIL,
    "operation": "rollback",
    "digest": "a910c6bc150e",
    "confirmation": "rollback-api-gateway@a910c6bc150e",
    "target": {"object": "deployment/api-gateway"},
    "before": {"image": EVIL},
    "after": {"image": "v1.7"},
    "guard": "",
    "risk": {"level": "low", "says": EVIL, "touches": [EVIL]},
    "dry_run": "server",
    "undo": "exact",
    "commands": [EVIL],
    "follow_ups": [EVIL],
    "departs": [EVIL],
    "diff": f"--- before\n+++ after\n-{EVIL}\n+v1.7",
}
IDENTITY = {"cluster_user": EVIL, "system_user": "root", "host": "here"}
HEAD = {
    "runbook": "incident-response/p0",
    "title": EVIL,
    "severity": "P0",
    "incident": EVIL,
    "parameters": {"service": EVIL},
    "mode": "headless",
    "identity": IDENTITY,
    "profile": "default",
    "production": False,
    "started": "2026-11-22T14:09:40.000Z",
    "journal": "journal.jsonl",
}
END = {
    "outcome": "proposed",
    "exit_status": 5,
    "cause": EVIL,
    "changed": [EVIL],
    "proposed": [{"title": EVIL, "confirmation": CHANGE["confirmation"], "command": f"opslib apply {RUN}"}],
    "remains": [EVIL],
    "unknowns": [EVIL],
    "summary": EVIL,
    "ended": "2026-11-22T14:09:50.000Z",
    "steps": [{"name": EVIL, "status": "ok"}, {"name": "x", "status": None}],
}
FINDING = Finding("bad-release", "critical", EVIL, [EVIL], Target(object=EVIL), since=AT, next=[EVIL])
DECISION = decide(
    "What?", [Option("rollback", None, [EVIL], [EVIL], True, 0.9), Option(EVIL, None, viable=False)]
)
FRAME = pd.DataFrame(
    {"at": [pd.Timestamp(AT), pd.NaT], "body": [EVIL, None], "ready": [True, False], "n": [1, 2]}
)


def table(rows: int = 2) -> dict:
    return model.table_json(pd.concat([FRAME] * (rows // 2), ignore_index=True))


RECORDS = [
    Record(RUN, 1, Kind.RUN, "p0", AT, extra={**HEAD, "stands": EVIL}),
    Record(RUN, 2, Kind.STEP, EVIL, AT, "critical", because=EVIL, extra={"by_hand": [EVIL], "departs": [EVIL]}),
    Record(RUN, 3, Kind.CHECK, EVIL, AT, Status.CRITICAL, 0.6, "ratio", Limits(critical_above=0.05), because=EVIL,
           extra={"required": True, "data": table()}),
    Record(RUN, 4, Kind.CHECK, "x", AT, Status.UNKNOWN, float("nan"), extra={"required": False}),
    Record(RUN, 5, Kind.CHECK, "version", AT, Status.OK, EVIL, extra={"required": True}),
    Record(RUN, 6, Kind.FINDING, "bad-release", AT, "critical", target=FINDING.target, extra=FINDING.to_json()),
    Record(RUN, 7, Kind.DECISION, EVIL, AT, extra={"options": [o.to_json() for o in DECISION.options], "choice": "rollback"}),
    Record(RUN, 8, Kind.PROPOSAL, "rollback-api-gateway", AT, "warning", target=Target(object="d/x"), extra={
        "change": CHANGE, "command": f"opslib apply {RUN}", "permitted": EVIL, "tried": EVIL,
        "expires": "2026-11-22T14:39:40.000Z"}),
    Record(RUN, 9, Kind.CONFIRMATION, "rollback-api-gateway", AT, "ok", because=EVIL, extra={"identity": IDENTITY}),
    Record(RUN, 10, Kind.CHANGE, "rollback-api-gateway", AT, "ok", target=Target(object="d/x"), extra={
        "change": CHANGE, "state": "applied", "progress": [EVIL], "receipt": {"x": EVIL}, "settled": True}),
    Record(RUN, 11, Kind.VERIFICATION, EVIL, AT, "ok", 0.0, "ratio", Limits(critical_above=0.01), because=EVIL,
           extra={"confirmation": CHANGE["confirmation"], "samples": 30}),
    Record(RUN, 12, Kind.FOLLOW_UP, EVIL, AT, "warning"),
    Record(RUN, 13, Kind.NOTE, EVIL, AT, because=EVIL, extra={"data": table()}),
    Record(RUN, 14, Kind.OUTCOME, "proposed", AT, "warning", because=EVIL, extra={**HEAD, **END}),
]  # fmt: skip


def test_every_kind_is_here():
    assert {record.kind for record in RECORDS} == set(Kind)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.seq}-{record.kind}")
def test_valid_by_the_published_schema(record):
    body = json.loads(json.dumps(record.to_json(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(body)


def test_schema_is_strict():
    body = RECORDS[2].to_json()
    check = jsonschema.Draft202012Validator(SCHEMA)
    assert not check.is_valid(body | {"surprise": 1})
    assert not check.is_valid(body | {"status": "fine"})
    assert not check.is_valid(body | {"schema": "opslib.record/2"})
    assert not check.is_valid({key: value for key, value in body.items() if key != "required"})


class Inert(HTMLParser):
    """Fails on anything that could act; checks that tags are closed."""

    ALLOWED = frozenset("div b small code pre span ul li br table tr td th details summary".split())

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert tag in self.ALLOWED
        assert {name for name, _ in attrs} <= {"style", "open"}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.seq}-{record.kind}")
def test_html_is_inert_and_well_formed(record):
    parser = Inert()
    parser.feed(faces(record.to_json())[1])
    parser.close()
    assert parser.open == []
    assert any("<script>alert(1)</script>" in word for word in parser.words) or record.seq in (4,)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.seq}-{record.kind}")
def test_status_is_said_in_words_and_sign(record):
    """GitHub drops styles, colour-blind readers colours: what remains must still tell."""
    text, html = faces(record.to_json())
    for word in {
        "check": ["critical", "unknown", "ok"],
        "outcome": ["PROPOSED"],
        "run": ["RUNNING", "running"],
    }.get(record.kind, []):
        if word == record.status or record.kind != "check":
            assert word in html or word.lower() in text.lower()


def test_verdict_first_says_the_outcome_and_what_to_type():
    text, html = faces(RECORDS[-1].to_json())
    assert text.splitlines()[0].endswith("PROPOSED")
    assert f"opslib apply {RUN}" in text and f"opslib apply {RUN}" in html


def test_bundle_has_three_faces():
    made = bundle(RECORDS[2].to_json())
    assert set(made) == {"text/plain", "text/html", model.MIME}
    assert made[model.MIME]["value"] == 0.6


def test_long_tables_say_what_is_left_out():
    record = Record(RUN, 1, Kind.CHECK, "rows", AT, "ok", 1, extra={"required": True, "data": table(500)})
    body = record.to_json()
    assert body["data"]["total"] == 500 and len(body["data"]["rows"]) == model.MAX_ROWS
    assert "470 more rows are not shown" in faces(body)[1]
    jsonschema.Draft202012Validator(SCHEMA).validate(body)


def test_missing_values_of_a_table_are_null():
    assert model.table_json(FRAME)["rows"][1] == [None, None, False, 2]
