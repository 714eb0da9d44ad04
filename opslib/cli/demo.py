"""`opslib demo`: the main job from a broken platform to sealed evidence, with the commands a person would type."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from opslib.errors import OpslibError

NAME = "demo"
RUNBOOK = "incident-response/p0-service-down"
INCIDENT = "DEMO-1"
PROPOSED, MITIGATED = 5, 0


def main() -> int:
    """Break a sandbox, observe, confirm, verify; prints each command. Returns the exit status: 0 when it healed."""
    from rich.console import Console

    console = Console(highlight=False)
    began = time.monotonic()
    try:
        _do(console, "A platform to rehearse on", ["sandbox", "up", "--name", NAME])
        _do(console, "Start from health", ["sandbox", "heal", "--name", NAME], quiet=True)
        _do(console, "A bad release of the gateway", ["sandbox", "break", "bad-release", "--name", NAME])
        observe = ["run", RUNBOOK, "--incident", INCIDENT, "--sandbox", NAME]
        observed = _run(console, "Observe: find the cause, propose, change nothing", observe, PROPOSED)
        confirm = ["apply", observed["run"], "--yes", "--sandbox", NAME]
        healed = _run(console, "Confirm that one change: apply it, wait, verify", confirm, MITIGATED)
        _summary(console, observed, healed, time.monotonic() - began)
    finally:
        _do(console, "Leave nothing behind", ["sandbox", "down", "--name", NAME], check=False)
    return 0


def _do(console: Any, why: str, words: list[str], *, check: bool = True, quiet: bool = False) -> None:
    console.print(f"\n[bold]{why}[/bold]\n[dim]$ opslib {' '.join(words)}[/dim]")
    done = subprocess.run(
        [sys.executable, "-m", "opslib.cli", *words],
        check=False,
        stdout=subprocess.DEVNULL if quiet else None,
    )
    if check and done.returncode:
        raise OpslibError(
            f"`opslib {' '.join(words)}` ended with exit status {done.returncode}",
            target=f"sandbox {NAME}",
            next="read its message above; `opslib sandbox status --name demo` says what runs",
        )


def _run(console: Any, why: str, words: list[str], expected: int) -> dict[str, Any]:
    console.print(f"\n[bold]{why}[/bold]\n[dim]$ opslib {' '.join(words)}[/dim]")
    done = subprocess.run(
        [sys.executable, "-m", "opslib.cli", *words, "--json"], check=False, stdout=subprocess.PIPE, text=True
    )
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode != expected or not last:
        raise OpslibError(
            f"the run ended with exit status {done.returncode} instead of {expected}: {''.join(last)}",
            target=RUNBOOK,
            next="open its evidence notebook: `opslib archive list`",
        )
    body: dict[str, Any] = json.loads(last[0])
    console.print(f"{body['outcome']} (exit status {body['exit_status']}, {body['seconds']['total']:.1f} s)")
    return body


def _summary(console: Any, observed: dict[str, Any], healed: dict[str, Any], seconds: float) -> None:
    from rich.panel import Panel
    from rich.table import Table

    for title, body, colour in (("Observed", observed, "yellow"), ("Confirmed", healed, "green")):
        console.print(
            Panel(
                body["summary"], title=f"{title}: {body['outcome']}", title_align="left", border_style=colour
            ),
            markup=False,
        )
    table = Table("", "observed", "confirmed", box=None, pad_edge=False)
    table.add_row("outcome", observed["outcome"], healed["outcome"])
    table.add_row("changed", "nothing", "; ".join(change["title"] for change in healed["applied"]))
    table.add_row("took", *(f"{body['seconds']['total']:.1f} s" for body in (observed, healed)))
    table.add_row("run", observed["run"], healed["run"])
    console.print(table)
    for body in (observed, healed):
        console.print(f"{body['notebook']}\n{body['page']}", soft_wrap=True)
    console.print(f"Everything took {seconds:.0f} s. Check the evidence with: opslib archive verify")
