"""`opslib archive list`, `show` and `verify`."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping
from typing import Any

from opslib.cli.running import TONES, archive_root
from opslib.evidence import archive
from opslib.evidence.archive import Entry
from opslib.evidence.storage import shown


def list_runs(evidence: str, profile: str, incident: str, *, json: bool) -> int:
    """List the runs of the archive, newest first."""
    root = archive_root(evidence, profile)
    runs = [each for each in archive.entries(root) if not incident or each.about.incident == incident]
    if json:
        sys.stdout.write(jsonlib.dumps([_brief(each) for each in runs], ensure_ascii=False) + "\n")
        return 0
    from rich.console import Console
    from rich.table import Table

    from opslib.evidence.html import tone

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Run", "Began (UTC)", "Runbook", "Outcome", "Incident"):
        table.add_column(column, no_wrap=column == "Run", overflow="fold")
    for each in runs:
        about, colour = each.about, TONES[tone(each.outcome)]
        spooled = " (spooled)" if about.spooled else ""
        outcome = f"[{colour}]{each.outcome}{spooled}[/{colour}]"
        table.add_row(about.run, about.started[:19].replace("T", " "), about.runbook, outcome, about.incident)
    Console(highlight=False).print(table)
    return 0


def show(run: str, evidence: str, profile: str, *, json: bool) -> int:
    """Show one run of the archive: what it is, its records, what it proposed and changed."""
    from opslib.evidence import outcome

    entry = archive.find(archive_root(evidence, profile), run)
    path = entry.folder / entry.about.notebook
    notebook = jsonlib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    records = [dict(record) for record in outcome.records(notebook)]
    if json:
        sys.stdout.write(jsonlib.dumps({**_brief(entry), "records": records}, ensure_ascii=False) + "\n")
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, about = Console(highlight=False), entry.about
    console.print(f"[bold]{entry.outcome}[/bold]  {escape(about.title)}  {about.runbook}")
    for name, value in (
        ("Run", about.run),
        ("Incident", about.incident),
        ("Began", about.started),
        ("Ended", about.ended),
        ("Cause", about.cause),
        ("Of run", about.of),
        ("Parameters", ", ".join(f"{key}={value}" for key, value in about.parameters.items() if value != "")),
        ("Spooled", about.spooled),
        ("Evidence", shown(path)),
    ):
        if value:
            console.print(f"{name:10} {escape(str(value))}", soft_wrap=True)
    if about.summary:
        console.print(f"\n{escape(about.summary)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "Record", "Status", "Value", "Because"):
        table.add_column(column, overflow="fold")
    for record in records:
        if record.get("kind") not in ("run", "step"):
            table.add_row(*(escape(text) for text in _row(record)))
    console.print()
    console.print(table)
    return 0


def verify(run: str, evidence: str, profile: str, *, json: bool) -> int:
    """Check evidence against its seals; 3 when something is wrong."""
    root = archive_root(evidence, profile)
    archive.reap(root)
    count, problems = archive.verify(root, run)
    if json:
        sys.stdout.write(jsonlib.dumps({"checked": count, "problems": problems}, ensure_ascii=False) + "\n")
        return 3 if problems else 0
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    verdict = f"{len(problems)} problems" if problems else "every byte is as it was sealed"
    sys.stdout.write(f"{count} runs checked: {verdict}\n")
    return 3 if problems else 0


def _brief(entry: Entry) -> dict[str, Any]:
    about = entry.about
    return {
        "run": about.run,
        "runbook": about.runbook,
        "title": about.title,
        "incident": about.incident,
        "outcome": entry.outcome,
        "exit_status": about.exit_status,
        "cause": about.cause,
        "summary": about.summary,
        "started": about.started,
        "ended": about.ended,
        "of": about.of,
        "spooled": about.spooled,
        "folder": shown(entry.folder),
    }


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    value = record.get("value")
    amount = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    unit = str(record.get("unit") or "")
    return (
        str(record.get("kind", "")),
        str(record.get("name", "")),
        str(record.get("status") or record.get("outcome") or ""),
        f"{amount} {unit}".strip()[:60],
        str(record.get("because") or record.get("says") or "")[:200],
    )
