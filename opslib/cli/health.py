"""`opslib doctor`."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import asdict

from opslib import doctor as doctors
from opslib import settings
from opslib.cli.running import enter_sandbox

COLOURS = {doctors.OK: "green", doctors.FAILED: "red", doctors.PARTLY: "yellow", doctors.UNSET: "yellow"}


def doctor(profile: str, sandbox: str, *, json: bool) -> int:
    """Show what can be reached; 0 when all that is required is fine, 3 otherwise."""
    enter_sandbox(sandbox)
    found = doctors.examine(settings.load(profile))
    good = all(each.good for each in found)
    if json:
        body = {"healthy": good, "findings": [asdict(each) for each in found]}
        sys.stdout.write(jsonlib.dumps(body, ensure_ascii=False) + "\n")
        return 0 if good else 3
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for each in found:
        colour = COLOURS[each.status]
        console.print(
            f"[{colour}]{each.status:14}[/{colour}] {escape(each.name)}: {escape(each.says)}", soft_wrap=True
        )
        if each.next and each.status != doctors.OK:
            console.print(f"{'':14} Next: {escape(each.next)}", soft_wrap=True)
    return 0 if good else 3
