"""Runbooks are found, read and linted; a broken one says what is wrong with it."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opslib import runbooks
from opslib.errors import RunbookError
from opslib.runbooks import Runbook, catalogue, front, lint

FRONT = """---
title: "A: runbook"
severity: P1
owner: tests
reviewed: 2026-11-01
review_every: 3 months
symptoms: [it hurts]
alerts: [ItHurts]
time_limit: 15 minutes
reads:
  - kubernetes: deployments, pods/log
  - kubernetes: get,watch events
  - redis: info
changes:
  - kubernetes: patch deployments
  - a thing in words
parameters:
  count: {minimum: 1}
---"""
HEADINGS = [f"## {word}: why" for word in lint.HEADINGS]
Write = Callable[..., Path]


def cells(
    front_matter: str = FRONT, extra: str = "print(1)", headings: list[str] | None = None
) -> list[dict[str, Any]]:
    made = [{"cell_type": "raw", "metadata": {}, "source": front_matter}]
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    made.append({**code, "metadata": {"tags": ["parameters"]}, "source": "count: int = 1  # how many"})
    made += [{"cell_type": "markdown", "metadata": {}, "source": line} for line in (headings or HEADINGS)]
    made.append({**code, "metadata": {}, "source": extra})
    return [{**cell, "id": f"c{number}"} for number, cell in enumerate(made)]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setattr(catalogue, "roots", lambda: [tmp_path])

    def make(name: str = "pain/it-hurts", body: list[dict[str, Any]] | None = None, **kwargs: Any) -> Path:
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        notebook = {
            "cells": cells(**kwargs) if body is None else body,
            "metadata": {"kernelspec": {"name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        path.write_text(json.dumps(notebook))
        return path

    return make


def test_found_by_name_short_name_path_and_alert(write: Write) -> None:
    path = write()
    for name in ("pain/it-hurts", "it-hurts", str(path)):
        book = runbooks.load(name)
        assert (book.name, book.title, book.severity) == ("pain/it-hurts", "A: runbook", "P1")
    assert [book.name for book in runbooks.for_alert("ItHurts")] == ["pain/it-hurts"]
    assert runbooks.for_alert("Other") == []
    assert runbooks.load("it-hurts").validate({}) == {"count": 1}


def test_an_ambiguous_or_unknown_name(write: Write) -> None:
    write("a/same")
    write("b/same")
    with pytest.raises(RunbookError, match="a/same, b/same"):
        runbooks.load("same")
    with pytest.raises(RunbookError, match="did you mean 'a/same'"):
        runbooks.load("a/sane")
    with pytest.raises(RunbookError, match="no such notebook"):
        runbooks.load("nowhere.ipynb")


def test_front_matter() -> None:
    matter = front.parse(FRONT, where="x")
    assert matter.due == dt.date(2027, 1, 30)
    assert matter.limit == "15 minutes"
    assert matter.reads[2] == "redis: info"
    assert [str(each) for each in matter.access("changes")] == ["patch deployments.apps"]
    assert [str(each) for each in matter.access()] == [
        "get deployments.apps",
        "list deployments.apps",
        "get pods/log",
        "get events",
        "watch events",
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("severity: P1", "severity: P9", "severity must be one of"),
        ("owner: tests\n", "", "lacks owner"),
        ("reviewed: 2026-11-01", "reviewed: soon", "reviewed must be a date"),
        ("3 months", "often", "review_every"),
        ("time_limit", "time_limits", "unknown key 'time_limits'"),
        ("redis: info", "fax: info", "must begin with one of"),
        ("symptoms: [it hurts]", "symptoms: it hurts", "symptoms must be a list"),
        ("---\ntitle", "title", "not front matter"),
        ('"A: runbook"', "A: runbook", "not YAML"),
    ],
)
def test_bad_front_matter(old: str, new: str, says: str) -> None:
    assert old in FRONT
    with pytest.raises(RunbookError, match=says):
        front.parse(FRONT.replace(old, new), where="x")


def test_a_broken_notebook_does_not_hide_the_others(write: Write) -> None:
    write("a/good")
    write("b/broken").write_text("{")
    found = list(runbooks.every())
    assert [isinstance(each, Runbook) for each in found] == [True, False]
    assert "b/broken" in str(found[1])


def test_a_good_runbook_has_no_problems(write: Write) -> None:
    assert lint.lint(write(), "pain/it-hurts", today=dt.date(2026, 12, 1)) == []


def test_an_overdue_review_is_a_warning(write: Write) -> None:
    problems = lint.lint(write(), "pain/it-hurts", today=dt.date(2027, 3, 1))
    assert [(each.rule, each.level) for each in problems] == [("review", lint.WARNING)]


@pytest.mark.parametrize(
    ("kwargs", "rule"),
    [
        ({"extra": "!ls"}, "no-shell"),
        ({"extra": "files = !ls"}, "no-shell"),
        ({"extra": "%%bash\nls"}, "no-shell"),
        ({"extra": "x = 1\n" * 11}, "short-cells"),
        ({"extra": "x = ("}, "python"),
        ({"headings": HEADINGS[1:]}, "required-headings"),
        ({"headings": HEADINGS[::-1]}, "required-headings"),
        ({"headings": [*HEADINGS, "## One\n## Two"]}, "heading-each-step"),
        ({"front_matter": FRONT.replace("P1", "P9")}, "front-matter"),
        ({"front_matter": FRONT.replace("alerts:", "related: [a/b]\nalerts:")}, "related"),
        ({"headings": [*HEADINGS, "<script>x</script>"]}, "markdown-has-no-html-script"),
    ],
)
def test_each_rule_finds_its_fault(write: Write, kwargs: dict[str, Any], rule: str) -> None:
    problems = lint.lint(write(**kwargs), "pain/it-hurts", today=dt.date(2026, 12, 1))
    assert rule in {each.rule for each in problems if each.level == lint.ERROR}


def test_outputs_counts_ids_and_kernels(write: Write) -> None:
    body = cells()
    body[-1].update(outputs=[{"output_type": "stream"}], execution_count=3, id=body[0]["id"])
    path = write(body=body)
    notebook = json.loads(path.read_text())
    notebook["metadata"] = {}
    path.write_text(json.dumps(notebook))
    rules = {each.rule for each in lint.lint(path, "x", today=dt.date(2026, 12, 1))}
    assert rules == {"outputs-stripped", "unique-ids", "kernel"}


def test_a_related_runbook_may_be_planned(write: Write) -> None:
    planned = FRONT.replace("alerts:", "related: [a/b]\nplanned: [a/b]\nalerts:")
    assert lint.lint(write(front_matter=planned), "x", today=dt.date(2026, 12, 1)) == []


def test_top_level_await_is_python(write: Write) -> None:
    assert lint.lint(write(extra="await run.apply(None)"), "x", today=dt.date(2026, 12, 1)) == []


def test_the_fast_path_imports_nothing_heavy() -> None:
    code = "import sys, opslib.runbooks; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"nbformat", "jsonschema", "papermill", "pandas", "typer", "rich", "pydantic"} & set(loaded)
