"""The journal: chained, fsynced, readable after a crash, and false when a byte was changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opslib.errors import EvidenceError
from opslib.records import journal
from opslib.records.journal import Journal
from opslib.records.redact import Redactor

RUN = "01M82HKPWSPWFC8DTCYPNX16AR"


def written(path: Path, *entries: str) -> Path:
    book = Journal(path, RUN)
    for entry in entries:
        book.write(entry, name=f"ünïcode {entry}", at_all=[1, None, 2.5])
    book.close()
    return path


def test_entries_come_back_in_order(tmp_path):
    read_back = journal.read(written(tmp_path / "a" / "journal.jsonl", "run_started", "check", "finished"))
    assert [entry["entry"] for entry in read_back.entries] == ["run_started", "check", "finished"]
    assert [entry["seq"] for entry in read_back.entries] == [0, 1, 2]
    assert read_back.broken == [] and not read_back.torn
    assert read_back.outcome()["name"] == "ünïcode finished"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_any_changed_byte_is_found(tmp_path, position, change):
    path = (
        written(tmp_path / "original" / "journal.jsonl", "a", "b")
        if not (tmp_path / "original").exists()
        else None
    )
    data = bytearray((path or tmp_path / "original" / "journal.jsonl").read_bytes())
    place = position % (len(data) - 1)  # the last line feed is looked at by the torn-line test
    data[place] ^= change
    altered = tmp_path / "altered.jsonl"
    altered.write_bytes(bytes(data))
    assert journal.verify(altered) != []


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_removed_line_is_found(tmp_path, which):
    path = written(tmp_path / "journal.jsonl", "a", "b", "c", "d")
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[which]
    path.write_bytes(b"".join(lines))
    assert journal.verify(path) != []


def test_swapped_lines_are_found(tmp_path):
    path = written(tmp_path / "journal.jsonl", "a", "b", "c")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third + second)
    assert journal.verify(path) != []


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_no_forgery(tmp_path, cut):
    path = written(tmp_path / "journal.jsonl", "a", "b", "c")
    path.write_bytes(path.read_bytes()[:-cut])
    read_back = journal.read(path)
    assert read_back.torn and read_back.broken == []
    assert [entry["entry"] for entry in read_back.entries] == ["a", "b"]


def test_a_torn_journal_goes_on_and_names_the_torn_line(tmp_path):
    path = written(tmp_path / "journal.jsonl", "a", "b")
    path.write_bytes(path.read_bytes()[:-30])
    torn = path.read_bytes().split(b"\n")[-1]
    written(path, "c")
    read_back = journal.read(path)
    assert read_back.broken == [] and not read_back.torn
    assert [entry["entry"] for entry in read_back.entries] == ["a", "recovered", "c"]
    path.write_bytes(path.read_bytes().replace(torn, torn[:-1] + b"X"))
    assert journal.verify(path) != []


def test_reopening_goes_on_with_the_chain(tmp_path):
    path = written(tmp_path / "journal.jsonl", "a")
    written(path, "b")
    assert [entry["seq"] for entry in journal.read(path).entries] == [0, 1]
    assert journal.verify(path) == []


def test_secrets_are_masked_before_they_are_hashed(tmp_path):
    book = Journal(tmp_path / "journal.jsonl", RUN, Redactor(["a-secret-value"]).value)
    book.write("intent", request={"body": ["x a-secret-value y"], "token": "abc"})
    assert b"a-secret-value" not in book.path.read_bytes()
    entry = journal.read(book.path).entries[0]
    assert entry["request"] == {"body": ["x [redacted] y"], "token": "[redacted]"}
    assert journal.verify(book.path) == []


def test_file_is_private(tmp_path):
    assert written(tmp_path / "journal.jsonl", "a").stat().st_mode & 0o077 == 0


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvidenceError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal.jsonl", RUN)


def test_a_disk_that_fails_goes_on_in_the_spool(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    book = Journal(tmp_path / "journal.jsonl", RUN)
    book.write("run_started")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, book._fd)
    os.close(full)
    book.write("intent", confirmation="x")
    assert book.spooled is not None and book.spooled.is_relative_to(tmp_path / "state")
    lines = [json.loads(line) for line in book.spooled.read_text().splitlines()]
    assert [line["entry"] for line in lines] == ["spooled", "intent"]
    assert lines[0]["because"] == "No space left on device"
    assert lines[0]["prev"] == journal.read(book.path).entries[-1]["hash"]


def test_neither_file_nor_spool_stops_the_run(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setattr(journal, "spool_folder", lambda: blocked / "spool")
    book = Journal(tmp_path / "journal.jsonl", RUN)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, book._fd)
    os.close(full)
    with pytest.raises(EvidenceError, match="nothing more will be changed"):
        book.write("intent", confirmation="x")


def test_unfinished_and_applied(tmp_path):
    book = Journal(tmp_path / "journal.jsonl", RUN)
    for name in ("scale-a@000000000001", "scale-b@000000000002", "scale-c@000000000003"):
        book.write("intent", confirmation=name, change={"name": name})
        book.write("writing", confirmation=name, request={"verb": "patch"})
    book.write("receipt", confirmation="scale-a@000000000001", receipt={"x": 1}, undo_spec={"y": 2})
    book.write("not_applied", confirmation="scale-b@000000000002", because="guard")
    book.write("settled", confirmation="scale-a@000000000001", ok=True)
    read_back = journal.read(book.path)
    assert [entry["confirmation"] for entry in read_back.unfinished()] == ["scale-c@000000000003"]
    assert read_back.applied() == [
        {
            "confirmation": "scale-a@000000000001",
            "change": {"name": "scale-a@000000000001"},
            "receipt": {"x": 1},
            "undo_spec": {"y": 2},
            "settled": True,
            "verified": None,
        }
    ]
    assert len(read_back.writes("scale-c@000000000003")) == 1


def test_an_interrupt_leaves_the_chain_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while an entry is on its way to the disk: the entry is there, and the next one follows it."""
    import _thread

    book = Journal(tmp_path / "journal.jsonl", RUN)
    fsync = os.fsync

    def interrupted(fd: int) -> None:
        fsync(fd)
        _thread.interrupt_main()

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        book.write("step", name="one")
        time.sleep(5)
    monkeypatch.setattr(os, "fsync", fsync)
    book.write("step", name="two")
    book.close()
    read_back = journal.read(tmp_path / "journal.jsonl")
    assert read_back.broken == []
    assert [entry["name"] for entry in read_back.entries] == ["one", "two"]
