"""Whether notebooks are well-formed runbooks: DESIGN.md, 'A notebook', as rules."""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib.errors import RunbookError
from opslib.runbooks import catalogue
from opslib.runbooks.catalogue import Runbook, tags, text

HEADINGS = ("Symptoms", "Preflight", "Investigate", "Decide", "Act", "Verify", "Summary")
MAX_LINES = 10  # a cell holds one verb; logic belongs in opslib

ERROR = "error"
WARNING = "warning"

Json = Mapping[str, Any]
_SHELL = re.compile(r"^\s*(?:!|%%(?:bash|sh|script|system)|%(?:sx|system|sc)\b)|=\s*!", re.MULTILINE)
_MAGIC = re.compile(r"^\s*%", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one notebook; a warning does not make it ill-formed."""

    runbook: str
    rule: str
    says: str
    level: str = ERROR
    cell: int | None = None  # counted from 1

    def __str__(self) -> str:
        where = f", cell {self.cell}" if self.cell else ""
        return f"{self.runbook}{where}: {self.level}: {self.says} ({self.rule})"


def lint(path: Path, name: str, *, today: dt.date | None = None, known: Sequence[str] = ()) -> list[Problem]:
    """Everything that is wrong with the notebook, errors and warnings; empty when nothing is.

    `known` are the names that `related` may use; by default those of the catalogue.
    """
    try:
        notebook = catalogue.read_notebook(path, name)
    except RunbookError as error:
        return [Problem(name, "notebook", error.what)]
    problems = [
        Problem(name, rule.__name__.strip("_").replace("_", "-"), says, cell=cell)
        for rule in _CELL_RULES
        for cell, says in rule(notebook)
    ]
    try:
        book = catalogue.read(path, name)
    except RunbookError as error:
        return [Problem(name, "front-matter", error.what), *problems]
    problems += [Problem(name, "related", says) for says in _related(book, known or catalogue.names())]
    due = book.front.due
    if due < (today or dt.datetime.now(dt.UTC).date()):
        problems.append(Problem(name, "review", f"its review was due on {due}", WARNING))
    return problems


def lint_every(*, today: dt.date | None = None) -> list[Problem]:
    """The problems of all runbooks of the catalogue, in order of name."""
    files = catalogue.files()
    known = sorted(files)
    return [
        problem
        for name, path in sorted(files.items())
        for problem in lint(path, name, today=today, known=known)
    ]


def _outputs_stripped(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in _code(notebook):
        if cell.get("outputs"):
            yield number, "outputs are committed; strip them"
        if cell.get("execution_count") is not None:
            yield number, "an execution count is committed; strip it"


def _kernel(notebook: Json) -> Iterator[tuple[None, str]]:
    kernel = (notebook.get("metadata") or {}).get("kernelspec") or {}
    if kernel.get("name") != "python3":
        yield None, "the kernelspec must be python3"


def _no_shell(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in _code(notebook):
        if _SHELL.search(text(cell)):
            yield number, "a shell cell reports success when it fails; use opslib"


def _short_cells(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in _code(notebook):
        lines = [line for line in text(cell).splitlines() if line.strip()]
        if len(lines) > MAX_LINES and "parameters" not in tags(cell):
            yield number, f"{len(lines)} lines; ten at most, logic belongs in opslib"


def _python(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in _code(notebook):
        source = text(cell)
        if _MAGIC.search(source) or _SHELL.search(source):
            continue
        try:
            compile(source, f"cell {number}", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            yield number, f"not Python: {error.msg}, line {error.lineno}"


def _required_headings(notebook: Json) -> Iterator[tuple[None, str]]:
    found = [title for _, title in _headings(notebook)]
    places = []
    for wanted in HEADINGS:
        place = next((at for at, title in enumerate(found) if _is(title, wanted)), None)
        if place is None:
            yield None, f"there is no heading {wanted!r}"
        else:
            places.append(place)
    if places != sorted(places):
        yield None, f"the headings must come in this order: {', '.join(HEADINGS)}"


def _heading_each_step(notebook: Json) -> Iterator[tuple[int, str]]:
    """Every code cell after the first heading follows a markdown cell or another cell of its step."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "markdown":
            titles = [line for line in text(cell).splitlines() if re.match(r"#{1,6} ", line)]
            if len(titles) > 1 and not titles[0].startswith("# "):
                yield number, "one heading a cell: each step has its own"


def _markdown_has_no_html_script(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "markdown" and re.search(
            r"<\s*(script|iframe|object|embed)", text(cell), re.I
        ):
            yield number, "active HTML in text"


def _unique_ids(notebook: Json) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for number, cell in enumerate(notebook["cells"], 1):
        name = cell.get("id")
        if not name:
            yield number, "the cell has no id (nbformat 4.5)"
        elif name in seen:
            yield number, f"the id {name!r} is used twice"
        seen.add(str(name))


def _related(book: Runbook, known: Sequence[str]) -> Iterator[str]:
    for name in book.front.related:
        if name not in known and name not in book.front.planned:
            yield f"the related runbook {name!r} does not exist; list it under planned until it does"
    for name in book.front.planned:
        if name in known:
            yield f"{name!r} is listed under planned and exists"


def _code(notebook: Json) -> Iterator[tuple[int, Json]]:
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "code":
            yield number, cell


def _headings(notebook: Json) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "markdown":
            for line in text(cell).splitlines():
                if match := re.match(r"#{1,6} +(.+)", line):
                    yield number, match[1].strip()


def _is(title: str, wanted: str) -> bool:
    return re.match(rf"(?:[\d.]+ )?{wanted}\b", title, re.IGNORECASE) is not None


_CELL_RULES: tuple[Callable[[Json], Iterator[tuple[int | None, str]]], ...] = (
    _outputs_stripped,
    _kernel,
    _unique_ids,
    _no_shell,
    _python,
    _short_cells,
    _required_headings,
    _heading_each_step,
    _markdown_has_no_html_script,
)
