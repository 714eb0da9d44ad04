"""`opslib list`, `show`, `lint` and `schema`."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opslib import runbooks
from opslib.errors import RunbookError
from opslib.evidence.storage import shown
from opslib.runbooks import Runbook


def list_books(alert: str, *, json: bool) -> int:
    """Show the catalogue, or the runbooks for one alert; 3 when a notebook in it is not well-formed."""
    found = list(runbooks.for_alert(alert)) if alert else list(runbooks.every())
    books = [book for book in found if isinstance(book, Runbook)]
    broken = [book for book in found if isinstance(book, RunbookError)]
    for error in broken:
        sys.stderr.write(f"opslib: {error}\n")
    if json:
        sys.stdout.write(jsonlib.dumps([_brief(book) for book in books], ensure_ascii=False) + "\n")
        return 3 if broken else 0
    if alert and not books:
        sys.stderr.write(f"opslib: no runbook answers the alert {alert!r}; `opslib list` shows them all\n")
        return 2
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Runbook", "", "Title", "Alerts", "Review due"):
        table.add_column(column, overflow="fold", no_wrap=column == "Runbook")
    for book in books:
        front = book.front
        table.add_row(book.name, book.severity, book.title, ", ".join(front.alerts), front.due.isoformat())
    Console(highlight=False).print(table)
    return 3 if broken else 0


def show(name: str, *, json: bool) -> int:
    """Show one runbook."""
    book = runbooks.load(name)
    if json:
        sys.stdout.write(jsonlib.dumps(_whole(book), ensure_ascii=False, indent=1) + "\n")
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, front = Console(highlight=False), book.front
    console.print(f"[bold]{escape(book.title)}[/bold]  {book.name}")
    console.print(
        f"{book.severity}; owner {escape(front.owner)}; reviewed {front.reviewed}, again due {front.due}"
    )
    if front.limit:
        console.print(f"Time limit: {escape(front.limit)}")
    for title, lines in (
        ("Symptoms", front.symptoms),
        ("Alerts", front.alerts),
        ("Reads", front.reads),
        ("May change", front.changes),
        ("Related", front.related),
    ):
        if lines:
            console.print(f"\n[bold]{title}[/bold]")
            for line in lines:
                console.print(f"  {escape(line)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Parameter", "Type", "Default", "What it is", "Limits"):
        table.add_column(column, overflow="fold")
    for spec in book.parameters:
        table.add_row(
            spec.name, spec.type, escape(repr(spec.default)), escape(spec.description), escape(spec.limits)
        )
    console.print()
    console.print(table)
    console.print(
        f"\n  opslib run {book.name} -p NAME VALUE …    ({escape(shown(book.path))})", soft_wrap=True
    )
    return 0


def lint_books(paths: Sequence[Path], *, json: bool) -> int:
    """Show the problems of these notebooks (all without any); 3 when there is an error among them."""
    from opslib.runbooks import catalogue, lint

    if paths:
        problems = [each for path in paths for each in lint.lint(path, catalogue.name_of(path.resolve()))]
        count = len(paths)
    else:
        problems, count = lint.lint_every(), len(catalogue.names())
    errors = [each for each in problems if each.level == lint.ERROR]
    if json:
        rows = [
            {
                "runbook": each.runbook,
                "cell": each.cell,
                "level": each.level,
                "rule": each.rule,
                "says": each.says,
            }
            for each in problems
        ]
        sys.stdout.write(jsonlib.dumps(rows, ensure_ascii=False) + "\n")
    else:
        for each in problems:
            sys.stdout.write(f"{each}\n")
        sys.stdout.write(f"{count} runbooks, {len(errors)} errors, {len(problems) - len(errors)} warnings\n")
    return 3 if errors else 0


def roles(namespace: str, argocd: str, observers: str, responders: str, profile: str) -> int:
    """Print the Roles that the runbooks need, as YAML; 3 when a notebook is not well-formed."""
    import yaml

    from opslib import settings
    from opslib.runbooks import roles as made

    every = list(runbooks.every())
    for error in (book for book in every if isinstance(book, RunbookError)):
        sys.stderr.write(f"opslib: {error}\n")
        return 3
    where = namespace or settings.load(profile).namespace
    named = {"argocd": argocd, "observers": observers, "responders": responders}
    given = {key: value for key, value in named.items() if value}
    manifests = made.roles([book for book in every if isinstance(book, Runbook)], where, **given)
    sys.stdout.write(yaml.safe_dump_all(manifests, sort_keys=False, width=110))
    return 0


def schema() -> int:
    """Print the JSON schema of a record."""
    from opslib import records

    sys.stdout.write((Path(records.__file__).parent / "record.schema.json").read_text(encoding="utf-8"))
    return 0


def _brief(book: Runbook) -> dict[str, Any]:
    return {
        "name": book.name,
        "title": book.title,
        "severity": book.severity,
        "alerts": list(book.front.alerts),
        "owner": book.front.owner,
        "reviewed": book.front.reviewed.isoformat(),
        "due": book.front.due.isoformat(),
    }


def _whole(book: Runbook) -> dict[str, Any]:
    front = book.front
    return {
        **_brief(book),
        "symptoms": list(front.symptoms),
        "reads": list(front.reads),
        "changes": list(front.changes),
        "related": list(front.related),
        "limit": front.limit,
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {spec.name: spec.as_json() for spec in book.parameters},
        },
    }
