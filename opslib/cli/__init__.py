"""The command line. Every command imports what it needs when it is called; `opslib --help` imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PAIR = "\0"  # between a parameter's name and its value, in this process only: no argument can hold it


def main(argv: Sequence[str] | None = None) -> None:
    """Run `opslib` and exit: 0 well, 2 bad input, other statuses as DESIGN.md has them, 1 for a bug of ours only."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Run a command line and return its exit status; errors are one sentence on stderr."""
    from typer import Abort
    from typer._click.exceptions import ClickException

    from opslib.cli.app import app
    from opslib.errors import OpslibError

    try:
        status = app(args=_pairs(argv), prog_name="opslib", standalone_mode=False)
    except OpslibError as error:
        return _fail(str(error), error.exit_status)
    except ClickException as error:
        return _fail(error.format_message(), 2)
    except (Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to be said there.
        sys.stdout = None
        return 141
    return status if isinstance(status, int) else 0


def _pairs(argv: list[str]) -> list[str]:
    """Join `-p NAME VALUE` into one argument: typer knows no option that is both repeated and a pair."""
    from opslib.errors import UsageError

    joined: list[str] = []
    rest = iter(argv)
    for word in rest:
        joined.append(word)
        if word == "--sandbox" and (len(joined) == len(argv) or argv[argv.index(word) + 1].startswith("-")):
            joined.append("default")
        if word == "--":
            joined.extend(rest)
        elif word in ("-p", "--parameter") and argv[0] != "sandbox":
            name, value = next(rest, None), next(rest, None)
            if name is None or value is None:
                raise UsageError("-p takes a name and a value, e.g. -p window 30")
            joined.append(f"{name}{PAIR}{value}")
    return joined


def _fail(message: str, status: int) -> int:
    from opslib.records.known import secrets_of
    from opslib.records.redact import Redactor

    sys.stderr.write(f"opslib: {Redactor(secrets_of()).text(' '.join(message.split()))}\n")
    return status
