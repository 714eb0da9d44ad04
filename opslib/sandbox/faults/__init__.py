"""The fault menu: what can break in a sandbox, breaking it, healing it.

Healing puts the healthy snapshot back, which is exact; of several faults that are there at once, the others
are then played again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from opslib.sandbox.client import Client
from opslib.sandbox.faults.conditions import CONDITIONS
from opslib.sandbox.faults.model import Fault, Seen, find, menu
from opslib.sandbox.faults.stage import Stage
from opslib.sandbox.faults.steps import STEPS
from opslib.sandbox.state import BadInputError, Sandbox, SandboxError, read_json, write_atomic

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Progress nobody wants to see."""


def _record(state: Path) -> Path:
    # in the git folder, which snapshots keep and restores put back: so it is never stale
    return state / "git" / "broken.json"


def active(sandbox: Sandbox) -> list[str]:
    """The faults that were played and not healed, in the order in which they were played."""
    found = read_json(_record(sandbox.path))
    return [str(name) for name in found] if isinstance(found, list) else []


async def break_(sandbox: Sandbox, names: str | Sequence[str], say: Say = _silent) -> list[Fault]:
    """Play one fault or several, one after the other, and wait until their symptoms are there.

    Returns the faults. Raises BadInputError for an unknown fault or one that is there already, SandboxError
    when there is no sandbox, a data service it needs is left out, or the symptom does not come.
    """
    wanted = [find(name) for name in ([names] if isinstance(names, str) else names)]
    _check(sandbox, wanted)
    client = Client.from_kubeconfig(sandbox.kubeconfig, "admin", user_agent="opslib-fault")
    try:
        stage = Stage(sandbox.path, client, say)
        for fault in wanted:
            say(f"breaking: {fault.summary}")
            for step in fault.steps:
                await STEPS[step.word](stage, step.given)
            write_atomic(_record(sandbox.path), json.dumps([*active(sandbox), fault.name]) + "\n")
            for awaited in fault.symptom:
                await CONDITIONS[awaited.word](stage, awaited.given)
            say(f"{fault.name} is there")
    finally:
        await client.close()
    return wanted


def _check(sandbox: Sandbox, wanted: list[Fault]) -> None:
    if not sandbox.exists():
        raise SandboxError(f"there is no sandbox {sandbox.name}.", next="run `opslib sandbox up` first.")
    there = active(sandbox)
    left_out = sandbox.load().left_out
    for fault in wanted:
        if fault.name in there:
            raise BadInputError(f"{fault.name} is there already.", next="run `opslib sandbox heal` first.")
        for service in fault.needs:
            if service in left_out:
                raise SandboxError(
                    f"{fault.name} needs {service}, which this sandbox does not have: {left_out[service]}.",
                    next=f"install {service}, then run `opslib sandbox down` and `opslib sandbox up`.",
                )


async def heal(sandbox: Sandbox, name: str = "all", say: Say = _silent) -> list[str]:
    """Heal one fault or all of them: the sandbox is as it was when it first came up.

    Returns the names of what was healed. Raises BadInputError when that fault is not there.
    """
    from opslib.sandbox import snapshots

    there = active(sandbox)
    if name != "all" and name not in there:
        known = f"what is there: {', '.join(there) or 'nothing'}."
        raise BadInputError(f"{find(name).name} is not there.", next=known)

    def restore() -> None:
        with sandbox.lock():
            snapshots.restore(snapshots.require(sandbox), snapshots.HEALTHY)

    await asyncio.to_thread(restore)
    if rest := [other for other in there if name not in ("all", other)]:
        say(f"putting back: {', '.join(rest)}")
        await break_(sandbox, rest, say)
    return there if name == "all" else [name]


__all__ = ["Fault", "Seen", "active", "break_", "find", "heal", "menu"]
