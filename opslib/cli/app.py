"""What `opslib` can do: the commands, their options and their help; each does its work in a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="opslib",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help costs a third of the start
    pretty_exceptions_enable=False,
    help="Operations runbooks that run: they look, explain, propose, act only when told to, and leave evidence.",
)
archive = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The evidence of past runs: list, show, verify."
)
app.add_typer(archive, name="archive")

Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be given again."),
]
Evidence = Annotated[
    str, typer.Option(help="The archive's folder. Default: the profile's, else ./evidence.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
Incident = Annotated[
    str, typer.Option(help="The incident this run belongs to, e.g. INC-2026-0142.", metavar="ID")
]
Profile = Annotated[str, typer.Option(help="Which platform, from opslib.toml.", metavar="NAME")]
Sandbox = Annotated[
    str,
    typer.Option("--sandbox", metavar="NAME", help="Run against this sandbox (`default` is the usual one)."),
]
Timeout = Annotated[
    float | None,
    typer.Option("--cell-timeout", metavar="SECONDS", min=0.1, help="The longest a cell may take."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Confirm without being asked.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or enough of its beginning.")]


@app.command("list")
def list_(
    alert: Annotated[
        str, typer.Option(metavar="NAME", help="Only the runbooks that answer this alert.")
    ] = "",
    json: Json = False,
) -> None:
    """List the runbooks."""
    from opslib.cli import books

    raise typer.Exit(books.list_books(alert, json=json))


@app.command()
def show(runbook: Annotated[str, typer.Argument(metavar="RUNBOOK")], json: Json = False) -> None:
    """Show a runbook: symptoms, parameters with their limits, what it reads and may change."""
    from opslib.cli import books

    raise typer.Exit(books.show(runbook, json=json))


@app.command()
def run(
    runbook: Annotated[
        str, typer.Argument(metavar="RUNBOOK", help="CHAPTER/NAME, NAME, or a path to an .ipynb file.")
    ],
    parameter: Parameters = None,
    incident: Incident = "",
    approve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME@DIGEST",
            help="Confirm this change, printed by an observing run; may be given again.",
        ),
    ] = None,
    evidence: Evidence = "",
    json: Json = False,
    profile: Profile = "",
    sandbox: Sandbox = "",
    cell_timeout: Timeout = None,
) -> None:
    """Run a runbook and leave its evidence. Without --approve it only observes and proposes.

    Exit status: 0 healthy or mitigated, 2 bad input, 3 the run failed, 4 not mitigated or needs a person, 5 proposed,
    6 refused, 130 and 143 interrupted.
    """
    from opslib.cli import running
    from opslib.evidence.runner import Request

    request = Request(
        runbook, running.pairs(parameter), incident, approve or (), evidence, profile, cell_timeout
    )
    raise typer.Exit(running.run(request, json=json, sandbox=sandbox))


@app.command()
def apply(
    run: Run,
    evidence: Evidence = "",
    json: Json = False,
    yes: Yes = False,
    sandbox: Sandbox = "",
    profile: Profile = "",
) -> None:
    """Apply what an observing run proposed: the same runbook and parameters, that proposal confirmed."""
    from opslib.cli import running

    raise typer.Exit(running.apply(run, evidence, json=json, yes=yes, sandbox=sandbox, profile=profile))


@app.command()
def undo(
    run: Run,
    evidence: Evidence = "",
    json: Json = False,
    yes: Yes = False,
    sandbox: Sandbox = "",
    profile: Profile = "",
) -> None:
    """Take back what a run applied: proposes the undoing, asks, and applies it."""
    from opslib.cli import running

    raise typer.Exit(running.undo(run, evidence, json=json, yes=yes, sandbox=sandbox, profile=profile))


@archive.command("list")
def archive_list(
    evidence: Evidence = "", incident: Incident = "", json: Json = False, profile: Profile = ""
) -> None:
    """List the runs, newest first."""
    from opslib.cli import archives

    raise typer.Exit(archives.list_runs(evidence, profile, incident, json=json))


@archive.command("show")
def archive_show(run: Run, evidence: Evidence = "", json: Json = False, profile: Profile = "") -> None:
    """Show a run: its outcome, what it checked, found, proposed and changed."""
    from opslib.cli import archives

    raise typer.Exit(archives.show(run, evidence, profile, json=json))


@archive.command("verify")
def archive_verify(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run; all of them without.")] = "",
    evidence: Evidence = "",
    json: Json = False,
    profile: Profile = "",
) -> None:
    """Check the evidence against its seals; exit status 3 when a single byte was changed."""
    from opslib.cli import archives

    raise typer.Exit(archives.verify(run, evidence, profile, json=json))


@app.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[NOTEBOOK]...", help="All runbooks without.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the runbooks' form; exit status 3 when one is not well-formed."""
    from opslib.cli import books

    raise typer.Exit(books.lint_books(files or [], json=json))


@app.command()
def doctor(profile: Profile = "", sandbox: Sandbox = "", json: Json = False) -> None:
    """Say what of a profile can be reached, as whom, and what that identity may do for each runbook."""
    from opslib.cli import health

    raise typer.Exit(health.doctor(profile, sandbox, json=json))


@app.command()
def roles(
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Where the platform runs. Default: the profile's.")
    ] = "",
    argocd_namespace: Annotated[str, typer.Option(metavar="NAME", help="Where Argo CD runs.")] = "",
    observers: Annotated[str, typer.Option(metavar="GROUP", help="The group that may observe.")] = "",
    responders: Annotated[
        str, typer.Option(metavar="GROUP", help="The group that may also apply changes.")
    ] = "",
    profile: Profile = "",
) -> None:
    """Print the Roles of an observer and a responder, from what the runbooks declare: for kubectl apply -f -."""
    from opslib.cli import books

    raise typer.Exit(books.roles(namespace, argocd_namespace, observers, responders, profile))


@app.command()
def schema() -> None:
    """Print the JSON schema of a record."""
    from opslib.cli import books

    raise typer.Exit(books.schema())


@app.command(
    "sandbox",
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
    help="A platform of your own to rehearse on: up, down, status, env, faults, break, heal.",
)
def sandbox_(context: typer.Context) -> None:
    """Hand over to the sandbox's own command line."""
    from opslib.sandbox.cli import app as sandbox_app

    sandbox_app(args=context.args, prog_name="opslib sandbox")


@app.command("demo", help="The main job on a sandbox: break it, observe, confirm, healed.")
def demo_() -> None:
    """Hand over to the demonstration."""
    from opslib.cli import demo

    raise typer.Exit(demo.main())
