"""`opslib sandbox`: a platform of your own to rehearse on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from opslib.sandbox import lifecycle
    from opslib.sandbox.faults import Fault

app = typer.Typer(
    name="sandbox",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""A PSS-nano platform of your own to rehearse on: it runs on this machine and breaks on command.

    [bold]opslib sandbox up[/bold] starts it, [bold]eval "$(opslib sandbox env)"[/bold] points kubectl, psql, redis-cli and
    opslib at it, [bold]opslib sandbox break bad-release[/bold] breaks it, [bold]opslib sandbox heal[/bold] mends it, and
    [bold]opslib sandbox down[/bold] leaves nothing behind.""",
)

Name = Annotated[
    str,
    typer.Option("--name", envvar="OPSLIB_SANDBOX", help="Which sandbox: several can live side by side."),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


@contextmanager
def _explained() -> Iterator[None]:
    """Turn an error of the sandbox into one sentence on standard error and its exit status."""
    from opslib.sandbox.state import SandboxError

    try:
        yield
    except SandboxError as error:
        _say(f"[red]{_escape(error.what)}[/red]")
        if error.next:
            _say(f"Next: {_escape(error.next)}")
        raise typer.Exit(error.exit_status) from error


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _progress(quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else (lambda text: _say(f"[dim]{_escape(text)}[/dim]"))


@app.command()
def up(
    name: Name = "default",
    speed: Annotated[
        float | None,
        typer.Option(help="How many platform seconds pass in one of yours; clocks stay true. Default: 20."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")] = False,
) -> None:
    """Start a sandbox; if it is there, start again what died in it.

    It listens on 127.0.0.1 only, on free ports, and keeps all it has in one folder. Needs no root and no Docker.
    """
    from opslib.sandbox import lifecycle

    with _explained():
        sandbox = lifecycle.up(name, speed, _progress(quiet))
    if not quiet:
        option = "" if name == "default" else f" --name {name}"
        _say(f"The sandbox [bold]{name}[/bold] is up, in {_escape(str(sandbox.path))}.")
        _say(f'Next: [bold]eval "$(opslib sandbox env{option})"[/bold], then [bold]kubectl get pods[/bold].')


@app.command()
def down(
    name: Name = "default",
    every: Annotated[bool, typer.Option("--all", help="Every sandbox of yours.")] = False,
) -> None:
    """End a sandbox and remove all it had: processes, ports, files. Twice is fine."""
    from opslib.sandbox import lifecycle

    with _explained():
        for one in lifecycle.names() if every else [name]:
            if not lifecycle.down(one, _say):
                _say(f"there is no sandbox {one}")


@app.command()
def status(name: Name = "default", as_json: Json = False) -> None:
    """Show each process of a sandbox; exit status 1 when one that should run does not, or does not answer."""
    from dataclasses import asdict

    from opslib.sandbox import lifecycle

    with _explained():
        rows = lifecycle.status(name)
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    else:
        _table(rows)
    bad = [row.process for row in rows if not row.well]
    if bad:
        _say(
            f"[red]not well: {', '.join(bad)}[/red]. Next: [bold]opslib sandbox up[/bold] starts them again."
        )
        raise typer.Exit(1)


def _table(rows: list[lifecycle.Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("process", "state", "pid", "port", "memory", ""):
        table.add_column(heading, justify="right" if heading in {"pid", "port", "memory"} else "left")
    for row in rows:
        colour = "green" if row.well else "red"
        memory = f"{row.resident / 1e6:.0f} MB" if row.resident else ""
        state = f"[{colour}]{row.state}[/{colour}]"
        table.add_row(row.process, state, str(row.pid or ""), str(row.port or ""), memory, _escape(row.note))
    Console(soft_wrap=True).print(table)


@app.command()
def env(name: Name = "default", as_json: Json = False) -> None:
    """Print what a shell needs to use a sandbox: eval "$(opslib sandbox env)".

    kubectl, psql and redis-cli then reach the sandbox by themselves; opslib acts as the responder.
    """
    from opslib.sandbox import environment

    with _explained():
        variables = environment.env(name)
    sys.stdout.write(json.dumps(variables, indent=1) + "\n" if as_json else environment.exports(variables))


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec_(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="What to run, e.g. psql -c '\\dt'.")
    ],
    name: Name = "default",
) -> None:
    """Run a command that finds the sandbox: kubectl, psql and redis-cli come along with opslib.

    [bold]opslib sandbox exec kubectl get pods[/bold], [bold]opslib sandbox exec psql[/bold],
    [bold]opslib sandbox exec bash[/bold]
    """
    import os

    from opslib.sandbox import environment

    with _explained():
        variables = environment.env(name)
    path = os.pathsep.join([*environment.tools(), os.environ.get("PATH", "")])
    # Also for this process: the program itself is looked up on its PATH.
    os.environ.update({**variables, "PATH": path})
    try:
        os.execvp(command[0], command)  # noqa: S606
    except FileNotFoundError:
        _say(f"[red]there is no command {_escape(command[0])}.[/red]")
        raise typer.Exit(127) from None


@app.command()
def snapshot(
    label: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)] = "",
    name: Name = "default",
    as_json: Json = False,
) -> None:
    """Keep the whole state of a sandbox under a name; without one, list what is kept.

    The cluster, PostgreSQL and Redis are kept. `healthy` is taken when a sandbox first comes up.
    """
    from opslib.sandbox import snapshots
    from opslib.sandbox.state import Sandbox

    with _explained():
        sandbox = Sandbox(name)
        with sandbox.lock():
            supervisor = snapshots.require(sandbox)
            if label:
                snapshots.save(supervisor, label)
                _say(f"kept as [bold]{label}[/bold]")
                return
            kept = snapshots.listing(sandbox)
    if as_json:
        sys.stdout.write(json.dumps(kept, indent=1) + "\n")
        return
    for entry in kept:
        sys.stdout.write(f"{entry['made']}  {entry['name']}\n")


@app.command()
def restore(
    label: Annotated[str, typer.Argument(metavar="NAME", help="A snapshot.")] = "healthy",
    name: Name = "default",
) -> None:
    """Put a sandbox back to a snapshot, `healthy` unless told otherwise; every process runs afterwards."""
    from opslib.sandbox import snapshots
    from opslib.sandbox.state import Sandbox

    with _explained():
        sandbox = Sandbox(name)
        with sandbox.lock():
            snapshots.restore(snapshots.require(sandbox), label)
        _say(f"the sandbox {name} is as it was in [bold]{label}[/bold]")


@app.command()
def faults(
    fault: Annotated[
        str, typer.Argument(metavar="[FAULT]", help="Tell more about one.", show_default=False)
    ] = "",
    name: Name = "default",
    as_json: Json = False,
) -> None:
    """List what can break; with a name, tell what that fault is, what a responder sees, and what heals it."""
    from dataclasses import asdict

    from opslib.sandbox import faults as menu
    from opslib.sandbox.state import Sandbox

    with _explained():
        found = [menu.find(fault)] if fault else menu.menu()
        there = set(menu.active(Sandbox(name)))
    if as_json:
        told = [{**asdict(one), "active": one.name in there} for one in found]
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    elif fault:
        _tell(found[0], fault in there)
    else:
        _menu(found, there)


def _menu(found: list[Fault], there: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "", "what happens"):
        table.add_column(heading)
    for one in found:
        table.add_row(one.name, "[red]there[/red]" if one.name in there else "", _escape(one.summary))
    Console().print(table)


def _tell(fault: Fault, there: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(
        f"[bold]{fault.name}[/bold]{' [red](there)[/red]' if there else ''}: {_escape(fault.summary)}"
    )
    if fault.story:
        console.print(f"\n{_escape(fault.story)}")
    console.print("\nWhat a responder sees:")
    for seen in fault.seen:
        console.print(f"  $ {_escape(seen.run)}\n      … {_escape(seen.shows)} …")
    console.print(f"\nWhat heals it: {_escape(fault.heals)}")


@app.command("break")
def break_(
    wanted: Annotated[
        list[str], typer.Argument(metavar="FAULT...", help="One or more of `opslib sandbox faults`.")
    ],
    name: Name = "default",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")] = False,
) -> None:
    """Break a sandbox, and wait until the symptom is there. Several faults are played one after the other."""
    import asyncio

    from opslib.sandbox import faults as menu
    from opslib.sandbox.state import Sandbox

    with _explained():
        asyncio.run(menu.break_(Sandbox(name), wanted, _progress(quiet)))
        _say(f"broken: [bold]{', '.join(wanted)}[/bold]. Next: look, or [bold]opslib sandbox heal[/bold].")


@app.command()
def heal(
    fault: Annotated[str, typer.Argument(metavar="[FAULT]", help="Only this one.")] = "all",
    name: Name = "default",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")] = False,
) -> None:
    """Mend a sandbox: it is then as it was when it first came up."""
    import asyncio

    from opslib.sandbox import faults as menu
    from opslib.sandbox.state import Sandbox

    with _explained():
        healed = asyncio.run(menu.heal(Sandbox(name), fault, _progress(quiet)))
        _say(f"healed: [bold]{', '.join(healed) or 'there was no fault; it is healthy'}[/bold]")
