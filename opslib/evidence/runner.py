"""`opslib run`: one run of a runbook, from its parameters to its sealed evidence.

Everything happens in this process except the kernel, which starts before anything heavy is imported.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib import runbooks, settings
from opslib.errors import EvidenceError, ParameterError, UsageError
from opslib.evidence import runfile
from opslib.evidence.kernel import EarlyKernel
from opslib.evidence.runfile import RunFile
from opslib.evidence.signals import Signals
from opslib.evidence.stop import Stop
from opslib.evidence.storage import Store
from opslib.records import ids, journal, model
from opslib.records.journal import Reading
from opslib.records.known import secrets_of
from opslib.records.redact import Redactor
from opslib.runbooks import Runbook, catalogue
from opslib.runbooks.parameters import Value

if TYPE_CHECKING:
    from opslib.evidence.manager import EvidenceManager

PACKAGES = ("opslib", "papermill", "nbclient", "ipykernel")


@dataclass(frozen=True)
class Request:
    """What somebody asked to run."""

    runbook: str
    parameters: Sequence[tuple[str, str]] = ()  # as text, from a command line
    incident: str = ""
    approve: Sequence[str] = ()  # NAME@DIGEST
    evidence: str = ""  # archive root; '' is the profile's
    profile: str = ""
    cell_timeout: float | None = None
    of: str = ""  # the run this one applies or undoes


@dataclass
class Result:
    """A run that ended: its run.json, where it is, and what it proposes or changed for the command line to show."""

    about: RunFile
    folder: Path
    notebook: Path
    page: Path | None
    record: Mapping[str, Any] = field(default_factory=dict)  # the outcome record; empty when it gave none
    proposals: list[dict[str, Any]] = field(default_factory=list)  # changes, as model.change_json has them
    applied: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what went wrong after the run itself


Progress = Callable[[int, int, str, str], None]  # cell, cells, its heading, its status


def run(request: Request, progress: Progress | None = None) -> Result:
    """Run a runbook and return its result; every end of the run itself is a result, not an exception.

    Raises UsageError (exit status 2) before anything is started or written.
    """
    began = time.perf_counter()
    book, values = prepare(request)
    profile = settings.load(request.profile or str(values.get("profile", "")))
    redactor = Redactor(secrets_of())
    refuse_secrets(values, redactor, book)
    root = Path(request.evidence or profile.evidence).absolute()
    run_id = ids.new_id()
    folder = root / time.strftime("%Y-%m-%d", time.gmtime()) / f"{book.slug}-{run_id}"
    store = Store(folder)
    store.create()
    with Signals() as signals:
        kernel = EarlyKernel(_environ(request, book, run_id, folder, root, profile.name), Path.cwd())
        try:
            whole = book.validate(values)
            about = RunFile(
                run=run_id,
                runbook=book.name,
                title=book.title,
                severity=book.severity,
                incident=str(whole.get("incident") or request.incident),
                profile=profile.name,
                parameters=redactor.value(whole),
                started=model.stamp(model.now()),
                of=request.of,
                notebook=f"{book.slug}.ipynb",
                pid=os.getpid(),
                birth=runfile.birth(os.getpid()),
                kernel=kernel.process.pid,
            )
            store.write(runfile.FILE, about.encoded())
            _mark(root, run_id, folder, kernel.home)
            problems = _reap(root)
            return _Execution(
                book, values, about, store, root, redactor, signals, kernel, progress, began, problems
            ).run(request.cell_timeout)
        finally:
            kernel.end()


def prepare(request: Request) -> tuple[Runbook, dict[str, Value]]:
    """The runbook and the values given for it, checked. Raises UsageError."""
    book = runbooks.load(request.runbook)
    texts = list(request.parameters)
    given = {name for name, _ in texts}
    for name, value in (
        ("incident", request.incident),
        ("profile", request.profile),
        ("approve", ",".join(request.approve)),
    ):
        declared = any(spec.name == name for spec in book.parameters)
        if not value or (not declared and name != "approve"):
            continue
        if name in given:
            raise ParameterError(f"{name} is given by -p and by its own option", target=book.name)
        texts.append((name, value))
    values = book.convert(texts)
    return book, values


def refuse_secrets(values: Mapping[str, Value], redactor: Redactor, book: Runbook) -> None:
    """Raise ParameterError when a value is, or looks like, a secret: the evidence shows every parameter."""
    for name, value in values.items():
        if isinstance(value, str) and redactor.text(value) != value:
            raise ParameterError(
                f"the value of parameter {name} is, or looks like, a secret, and the evidence shows parameters",
                target=book.name,
                next="leave it in the environment, .pgpass or the kubeconfig; parameters name things, they hold no secrets",
            )


@dataclass
class _Execution:
    """The middle of a run: execute, judge, write, seal."""

    book: Runbook
    values: Mapping[str, Value]
    about: RunFile
    store: Store
    root: Path
    redactor: Redactor
    signals: Signals
    kernel: EarlyKernel
    progress: Progress | None
    began: float
    problems: list[str]

    def run(self, cell_timeout: float | None) -> Result:
        """Execute the notebook and finish its evidence."""
        skip_slow_import()
        import papermill  # noqa: F401 - first: it loads the engine itself, through its entry point

        from opslib.evidence import html, outcome
        from opslib.evidence.engine import EvidenceEngine

        manager = self._manager()
        warm = threading.Thread(target=html.warm, name="warm-html", daemon=True)
        warm.start()
        stop: Stop | None = None
        started = time.perf_counter()
        try:
            EvidenceEngine.execute_notebook(
                manager.nb,
                "python3",
                manager=manager,
                early=self.kernel,
                execution_timeout=cell_timeout,
                stopper=self.signals.stopper,
            )
        except Stop as why:
            stop = why
        ended = time.perf_counter()
        ending = outcome.judge(manager.nb, stop)
        record = outcome.outcome_record(manager.nb) or {}
        about = self.about
        about.ended = model.stamp(model.now())
        about.outcome, about.exit_status = ending.outcome, ending.exit_status
        about.cause = self.redactor.text(ending.cause)
        about.summary = self.redactor.text(str(record.get("summary") or ""))
        about.versions = versions()
        about.seconds = {"notebook": round(ended - started, 3), "before": round(started - self.began, 3)}
        self._collect_journal()
        self._describe(manager, ending.kind)
        manager.save()
        warm.join()
        page = self._page(manager)
        now = time.perf_counter()
        about.seconds = {
            **about.seconds,
            "after": round(now - ended, 3),
            "total": round(now - self.began, 3),
        }
        about.spooled = self.store.spooled
        self.store.write(runfile.FILE, about.encoded())
        self._seal()
        left = self._journal()
        return Result(
            about,
            self.store.folder,
            self.store.folder / about.notebook,
            page,
            record,
            left.proposals() if left else [],
            [entry["change"] for entry in left.applied()] if left else [],
            self.problems,
        )

    def _manager(self) -> EvidenceManager:
        import nbformat
        from papermill.parameterize import parameterize_notebook

        from opslib.evidence.manager import EvidenceManager

        nb = nbformat.from_dict(_joined(self.book.notebook))
        nb.metadata.setdefault("papermill", nbformat.NotebookNode())
        about = nb.metadata.papermill
        about.update(
            default_parameters={spec.name: spec.default for spec in self.book.parameters},
            parameters=dict(self.values),
            environment_variables={},
            version=importlib.metadata.version("papermill"),
            input_path=f"{self.book.name}.ipynb",
            output_path=self.about.notebook,
        )
        if self.values:
            nb = parameterize_notebook(nb, dict(self.values), kernel_name="python3", language="python")
        nb.metadata["opslib"] = nbformat.from_dict(
            {
                "run": self.about.run,
                "runbook": self.about.runbook,
                "incident": self.about.incident,
                "started": self.about.started,
                "parameters": dict(self.about.parameters),
                "outcome": runfile.RUNNING,
            }
        )
        headings = _headings(nb.cells)
        count = len(nb.cells)

        def notify(index: int, cell: Any, status: str) -> None:
            if self.progress and cell.cell_type == "code":
                self.progress(index + 1, count, headings[index], status)

        return EvidenceManager(
            nb, self.about.notebook, redactor=self.redactor, store=self.store, progress=notify
        )

    def _describe(self, manager: EvidenceManager, kind: str) -> None:
        about = self.about
        manager.nb.metadata["opslib"].update(
            ended=about.ended,
            outcome=about.outcome,
            exit_status=about.exit_status,
            versions=dict(about.versions),
            **({"cause": {"kind": kind, "says": about.cause}} if about.cause else {}),
            **({"spooled": self.store.spooled} if self.store.spooled else {}),
            **({"of": about.of} if about.of else {}),
            journal=self._journal_lines(),
        )
        manager.touched(None)

    def _journal(self) -> Reading | None:
        path = self.store.folder / journal.FILE
        return journal.read(path) if path.is_file() else None

    def _journal_lines(self) -> list[str]:
        lines: list[str] = []
        for name in (journal.FILE, "journal-spooled.jsonl"):
            with contextlib.suppress(OSError):
                lines += (self.store.folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines

    def _collect_journal(self) -> None:
        """Bring what the kernel had to write elsewhere into the run's folder."""
        spooled = journal.spool_folder() / f"{self.about.run}.{journal.FILE}"
        for source, name in (
            (self.store.home / journal.FILE, journal.FILE),
            (spooled, "journal-spooled.jsonl"),
        ):
            with contextlib.suppress(OSError):
                if source.is_file() and source.parent != self.store.folder:
                    self.store.write(name, source.read_bytes())
                    if source == spooled:
                        source.unlink()

    def _page(self, manager: EvidenceManager) -> Path | None:
        from opslib.evidence import html

        try:
            page = html.page(manager.rendered(), self.about)
            return self.store.write(Path(self.about.notebook).stem + ".html", page.encode())
        except EvidenceError as error:
            self.problems.append(str(error))
        return None

    def _seal(self) -> None:
        from opslib.evidence import seal

        for root in (self.root, self.store.folder.parent):
            try:
                seal.seal(root, self.store.folder, self.about.run, model.stamp(model.now()))
            except EvidenceError as error:
                self.problems.append(str(error))
                continue
            with contextlib.suppress(OSError):
                (self.root / runfile.MARKS / self.about.run).unlink()
            return


def skip_slow_import() -> None:
    """Keep jsonschema from building a grammar of addresses that nothing here uses: 1.1 s with JupyterLab installed."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def versions() -> dict[str, str]:
    """The versions that the evidence names."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _environ(
    request: Request, book: Runbook, run_id: str, folder: Path, root: Path, profile: str
) -> dict[str, str]:
    extra = {
        "OPSLIB_RUN_ID": run_id,
        "OPSLIB_RUN_DIR": str(folder),
        "OPSLIB_RUNBOOK": book.name,
        "OPSLIB_INCIDENT": request.incident,
        "OPSLIB_EVIDENCE": str(root),
        "OPSLIB_MODE": "headless",
    }
    if request.profile:
        extra["OPSLIB_PROFILE"] = profile
    return {**os.environ, **extra}


def _reap(root: Path) -> list[str]:
    """Finish the evidence of runs that were killed; what cannot be finished must not stop this one."""
    from opslib.evidence import archive

    try:
        archive.reap(root)
    except (EvidenceError, OSError) as error:
        return [f"an earlier run that was cut off could not be finished: {error}"]
    return []


def _mark(root: Path, run_id: str, folder: Path, sockets: Path) -> None:
    try:
        (root / runfile.MARKS).mkdir(exist_ok=True)
        (root / runfile.MARKS / run_id).write_text(f"{folder.relative_to(root).as_posix()}\n{sockets}\n")
    except OSError as error:
        raise UsageError(f"the evidence folder cannot be written: {error}", target=str(root)) from error


def _joined(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with its text joined, as nbformat has it in memory, and without outputs."""
    cells = []
    for cell in notebook["cells"]:
        body = {**cell, "source": catalogue.text(cell)}
        body["metadata"] = {**(cell.get("metadata") or {}), "tags": catalogue.tags(cell)}
        if cell["cell_type"] == "code":
            body.update(outputs=[], execution_count=None)
        cells.append(body)
    return {**notebook, "cells": cells}


def _headings(cells: Sequence[Any]) -> list[str]:
    def walk() -> Iterator[str]:
        last = ""
        for cell in cells:
            if cell.cell_type == "markdown":
                titles = [
                    line.lstrip("# ").strip() for line in cell.source.splitlines() if line.startswith("#")
                ]
                last = titles[-1] if titles else last
            yield last

    return list(walk())
