"""`opslib run`, `apply` and `undo` on the terminal: progress, the verdict, and one line for programs."""

from __future__ import annotations

import json as jsonlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opslib import settings
from opslib.cli import PAIR
from opslib.errors import UsageError
from opslib.evidence.runner import Request, Result
from opslib.evidence.storage import shown

TONES = {"good": "green", "bad": "red", "wait": "yellow"}
PROPOSED = 5


def pairs(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """The parameters given on the command line, as (name, value)."""
    found = [text.partition(PAIR) for text in texts or ()]
    if wrong := next((name for name, pair, _ in found if not pair), None):
        raise UsageError(f"-p takes a name and a value, as in: -p {wrong.partition('=')[0]} VALUE")
    return [(name, value) for name, _, value in found]


def run(request: Request, *, json: bool = False, sandbox: str = "") -> int:
    """Run, show, and return the exit status of the run."""
    enter_sandbox(sandbox)
    result = execute(request)
    (print_json if json else print_verdict)(result)
    return status_of(result)


def execute(request: Request) -> Result:
    """Run with progress on stderr."""
    from opslib.evidence import runner

    with ProgressLine() as progress:
        return runner.run(request, progress.show)


def apply(run: str, evidence: str, *, json: bool, yes: bool, sandbox: str, profile: str) -> int:
    """Show what the run proposed, ask, and run again with exactly that confirmed."""
    from opslib.evidence import again, archive

    enter_sandbox(sandbox)
    root = archive_root(evidence, profile)
    entry = archive.find(root, run)
    changes = again.proposed(entry)
    _ask(changes, "Apply", yes=yes)
    request = again.applying(entry, changes, evidence=root)
    result = execute(_with_profile(request, profile))
    (print_json if json else print_verdict)(result)
    return status_of(result)


def undo(run: str, evidence: str, *, json: bool, yes: bool, sandbox: str, profile: str) -> int:
    """Propose the undoing of what the run applied, ask, and apply it."""
    from opslib.evidence import again, archive

    enter_sandbox(sandbox)
    root = archive_root(evidence, profile)
    entry = archive.find(root, run)
    again.undoable(entry)
    first = execute(_with_profile(again.undoing(entry, evidence=root), profile))
    if first.about.exit_status != PROPOSED:
        (print_json if json else print_verdict)(first)
        return status_of(first)
    changes = again.proposed(archive.find(root, first.about.run))
    _ask(changes, "Undo", yes=yes)
    confirmed = [str(change["confirmation"]) for change in changes]
    request = again.undoing(entry, evidence=root, approve=confirmed)
    result = execute(_with_profile(request, profile))
    (print_json if json else print_verdict)(result)
    return status_of(result)


def status_of(result: Result) -> int:
    """What the command exits with: the run's own status; 3 when its evidence is not whole."""
    status = result.about.exit_status
    if status is None or (status == 0 and result.problems):
        return 3
    return status


def enter_sandbox(name: str) -> None:
    """Point this process and its kernel at a sandbox, as `eval "$(opslib sandbox env)"` does."""
    if not name:
        return
    from opslib.sandbox import lifecycle

    os.environ.update(lifecycle.env(name))


def archive_root(evidence: str, profile: str) -> Path:
    """The archive's folder: the one given, else the profile's."""
    return Path(evidence or settings.load(profile).evidence).absolute()


def print_json(result: Result) -> None:
    """One line for programs on standard output."""
    about = result.about
    body = {
        "run": about.run,
        "runbook": about.runbook,
        "incident": about.incident,
        "outcome": about.outcome,
        "exit_status": status_of(result),
        "cause": about.cause,
        "summary": about.summary,
        "proposals": [_brief(change) for change in result.proposals],
        "applied": [_brief(change) for change in result.applied],
        "notebook": shown(result.notebook),
        "page": shown(result.page) if result.page else None,
        "started": about.started,
        "ended": about.ended,
        "seconds": about.seconds,
        "spooled": about.spooled,
        "problems": result.problems,
    }
    sys.stdout.write(jsonlib.dumps(body, ensure_ascii=False) + "\n")


def print_verdict(result: Result) -> None:
    """The verdict first, then what to do next and where the evidence is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.panel import Panel

    from opslib.evidence.html import tone

    about = result.about
    console = Console(highlight=False, soft_wrap=False)
    colour = TONES[tone(about.outcome)]
    # The summary of a run that came to its own end says all of it; of another one, what ended it is said.
    lines = [escape(about.summary)] if about.summary else [f"[bold]{escape(about.title)}[/bold]"]
    if about.cause and not about.summary:
        lines.append(escape(about.cause))
    console.print(
        Panel(
            "\n".join(lines), title=f"[bold]{about.outcome}[/bold]", border_style=colour, title_align="left"
        )
    )
    for change in result.proposals:
        console.print(f"Proposed: {escape(change['title'])}", soft_wrap=True)
        console.print(f"  to apply it: [bold]opslib apply {about.run}[/bold]", soft_wrap=True)
        console.print(f"  or confirm:  --approve {escape(change['confirmation'])}", soft_wrap=True)
    for change in result.applied:
        console.print(f"Applied: {escape(str(change.get('title', '')))}", soft_wrap=True)
        console.print(f"  to take it back: [bold]opslib undo {about.run}[/bold]", soft_wrap=True)
    console.print(f"Evidence: {escape(shown(result.notebook))}", soft_wrap=True)
    if result.page:
        console.print(f"Page:     {escape(shown(result.page))}", soft_wrap=True)
    console.print(f"Run {about.run}, {about.seconds.get('total', 0):.1f} s, exit status {status_of(result)}")
    for problem in result.problems:
        sys.stderr.write(f"opslib: {problem}\n")


class ProgressLine:
    """Which cell is running, on stderr: rewritten in place on a terminal, a line for each heading elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = ""
        self._began = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, cell: int, cells: int, heading: str, status: str) -> None:
        """A cell began or ended."""
        if status not in ("running", "failed"):
            return
        text = f"[{cell}/{cells}] {heading or 'Setting up'}" + (" failed" if status == "failed" else "")
        if self._live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 10
            sys.stderr.write(f"\r\x1b[K{time.monotonic() - self._began:5.1f} s {text[:width]}")
            sys.stderr.flush()
        elif heading != self._last or status == "failed":
            sys.stderr.write(text + "\n")
        self._last = heading or " "


def _ask(changes: list[dict[str, Any]], verb: str, *, yes: bool) -> None:
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(stderr=True, highlight=False)
    for change in changes:
        risk = change.get("risk", {})
        console.print(f"{change['title']}  ({change['confirmation']})", style="bold", markup=False)
        console.print(Syntax(change.get("diff", ""), "diff", background_color="default"))
        console.print(f"Risk: {risk.get('level', '')}. {risk.get('says', '')}", markup=False)
        console.print(f"Can be taken back: {change.get('undo', 'none')}", markup=False)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", next="give --yes to confirm what is shown above")
    sys.stderr.write(f"{verb} this? Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("not confirmed; nothing was changed")


def _with_profile(request: Request, profile: str) -> Request:
    return replace(request, profile=profile) if profile else request


def _brief(change: dict[str, Any]) -> dict[str, Any]:
    return {key: change[key] for key in ("name", "title", "confirmation", "target") if key in change}
