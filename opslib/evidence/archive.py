"""The archive: every run under an evidence root, found by its id, checked against its seal."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError, UsageError
from opslib.evidence import runfile, seal
from opslib.evidence.runfile import INTERRUPTED, MARKS, RUNNING, RunFile
from opslib.evidence.storage import spools, write_atomically
from opslib.records import journal, model

UNREADABLE = "unreadable"
UNFINISHED = "not finished"  # no outcome in the journal of a run that is not ours to watch


@dataclass(frozen=True)
class Entry:
    """One run of the archive and the folder that holds it."""

    about: RunFile
    folder: Path

    @property
    def outcome(self) -> str:
        """How it ended; `interrupted (no end)` when its process is gone and it never said."""
        return INTERRUPTED if self.about.outcome == RUNNING and not self.about.alive else self.about.outcome


def entries(root: Path) -> Iterator[Entry]:
    """Every run under the root and in the spool, newest first. Raises UsageError when there is no such folder."""
    if not root.is_dir():
        raise UsageError(
            "there is no evidence here", target=str(root), next="give the archive's folder with --evidence"
        )
    found = list(runfile.folders(root))
    for spool in spools():
        found += [path.parent for path in spool.glob(f"*/{runfile.FILE}")]
    seen: set[str] = set()
    # A spooled run has two descriptions: the one that was cut off at home and the whole one in the spool.
    read = [Entry(_about(folder), folder) for folder in found]
    for entry in sorted(read, key=lambda each: (each.about.run, each.about.outcome != RUNNING), reverse=True):
        if entry.about.run not in seen:
            seen.add(entry.about.run)
            yield entry


def _about(folder: Path) -> RunFile:
    """The run's description; one that cannot be read is a run all the same."""
    try:
        return runfile.read(folder)
    except EvidenceError as error:
        return RunFile(run=folder.name[-26:], runbook="", outcome=UNREADABLE, cause=str(error))


def find(root: Path, prefix: str) -> Entry:
    """The run whose id begins (or, with four characters or more, ends) with `prefix`. Raises UsageError without one.

    Also one that plain papermill or JupyterLab made: it left a journal and no sealed evidence.
    """
    wanted = prefix.upper()
    every = [*entries(root), *_unsealed(root)]
    found = [each for each in every if each.about.run.startswith(wanted)]
    if not found and len(wanted) >= 4:
        found = [each for each in every if each.about.run.endswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(each.about.run for each in found[:3])
        raise UsageError(f"several runs begin with {prefix}: {some}", next="give more of the id")
    raise UsageError(
        f"there is no run {prefix!r}", target=str(root), next="`opslib archive list` shows them all"
    )


def _unsealed(root: Path) -> Iterator[Entry]:
    """The runs that our engine did not run: known by their journal alone."""
    for path in journal.follow(root):
        if (path.parent / runfile.FILE).exists():
            continue
        read_back = journal.read(path)
        opened = next(iter(read_back.of("run_started")), None)
        if opened is None:
            continue
        told = read_back.outcome() or {}
        about = RunFile(
            run=str(opened["run"]),
            runbook=str(opened.get("runbook", "")),
            incident=str(opened.get("incident", "")),
            profile=str(opened.get("profile", "")),
            parameters=opened.get("parameters") or {},
            started=str(opened["at"]),
            ended=str(told.get("at", "")),
            outcome=str(told.get("outcome", UNFINISHED)),
            summary=str(told.get("summary", "")),
        )
        yield Entry(about, path.parent)


def read_journal(entry: Entry) -> journal.Reading:
    """The run's journal. Raises EvidenceError when it has none."""
    return journal.read(entry.folder / journal.FILE)


def verify(root: Path, prefix: str = "") -> tuple[int, list[str]]:
    """How many runs were checked, and what is wrong with them or with the chain; '' checks every run.

    Every file's bytes against the seal, the seals against one another, each journal's own chain, and that every run
    that ended has a seal.
    """
    wanted = find(root, prefix).about.run if prefix else ""
    problems = seal.verify_chain(root)
    try:
        chain = seal.read(root)
    except EvidenceError:
        return 0, problems
    chosen = [each for each in chain if not wanted or each.run == wanted]
    for sealed in chosen:
        problems += seal.verify_files(root, sealed)
        path = root / sealed.folder / journal.FILE
        if path.exists():
            problems += [f"run {sealed.run}: {journal.FILE}: {why}" for why in journal.verify(path)]
    have = {each.run for each in chain}
    for entry in entries(root):
        run = entry.about.run
        if run not in have and not entry.about.alive and (not wanted or run == wanted):
            problems.append(f"run {run} was never sealed ({entry.outcome})")
    return len(chosen), problems


def reap(root: Path) -> list[str]:
    """Give every run whose process is gone its true end, seal it, and return their ids.

    A runner that was killed leaves its mark under .running; whoever starts next in this archive finishes its evidence.
    """
    reaped = []
    for mark in sorted((root / MARKS).glob("*")) if (root / MARKS).is_dir() else ():
        if mark.suffix:
            continue
        place, _, sockets = mark.read_text().partition("\n")
        folder = root / (place or "-")
        try:
            about = runfile.read(folder)
        except EvidenceError:
            about = None
        if about is not None and (about.alive or _lingers(about)):
            continue
        claimed = mark.with_suffix(".reaping")
        try:
            mark.rename(claimed)  # of two that start at once, one succeeds
        except OSError:
            continue
        if about is not None and about.outcome == RUNNING:
            _finish(root, folder, about)
            reaped.append(about.run)
        if Path(sockets.strip()).name.startswith("opslib-"):
            shutil.rmtree(sockets.strip(), ignore_errors=True)
        with contextlib.suppress(OSError):
            claimed.unlink()
    return reaped


def _lingers(about: RunFile) -> bool:
    """Whether the dead run's kernel is still ending; it may be writing its journal."""
    return about.outcome == RUNNING and bool(about.kernel) and _is_kernel(about.kernel, about.run)


def _is_kernel(pid: int, run: str) -> bool:
    try:
        return f"OPSLIB_RUN_ID={run}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _finish(root: Path, folder: Path, about: RunFile) -> None:
    stamps = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    about.ended = model.stamp(datetime.fromtimestamp(max(stamps), UTC))
    about.outcome = INTERRUPTED
    about.cause = "the process that ran it ended without a word (killed, or the machine went down)"
    path = folder / about.notebook
    with contextlib.suppress(OSError, ValueError):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        _mark_interrupted(notebook, about)
        text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(path, text.encode())
    write_atomically(folder / runfile.FILE, about.encoded())
    seal.seal(root, folder, about.run, model.stamp(model.now()))


def _mark_interrupted(notebook: dict[str, Any], about: RunFile) -> None:
    for cell in notebook["cells"]:
        if cell["metadata"].get("opslib", {}).get("status") == "running":
            cell["metadata"]["opslib"]["status"] = "failed"
            cell["metadata"].setdefault("papermill", {}).update(status="failed", exception=True)
    notebook["metadata"].setdefault("papermill", {})["exception"] = True
    notebook["metadata"].setdefault("opslib", {}).update(
        outcome=INTERRUPTED, ended=about.ended, cause={"kind": "killed", "says": about.cause}
    )
