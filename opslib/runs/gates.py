"""The gate: a person sees the change and confirms it, or refuses;

awaited, because a blocked kernel never sees a click.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

from opslib.records import markup as m
from opslib.records.change import Change, Undo
from opslib.records.model import change_json

PATIENCE = 1800.0  # seconds a gate waits: as long as a confirmation is good


@dataclass(frozen=True)
class Answer:
    """What a person answered at a gate."""

    confirmed: bool
    how: str  # button, typed, or why nobody confirmed


def word_for(change: Change) -> str:
    """What must be typed to confirm: the target's name for a change without undo, else nothing special."""
    return change.target.object.rsplit("/", 1)[-1] if change.undo_kind is Undo.NONE else ""


async def ask(change: Change, tried: str) -> Answer:
    """Show the change and wait for the answer: widgets in a notebook, a question in a terminal."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if getattr(shell, "kernel", None) is not None:
        word = word_for(change)
        return _typed(change, tried, word) if word else await _button(change, tried)
    return await asyncio.to_thread(_prompt, change)


async def _button(change: Change, tried: str) -> Answer:
    import ipywidgets as widgets
    from IPython.display import display

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()
    confirm = widgets.Button(description=f"Confirm: {change.operation}", button_style="danger", icon="check")
    refuse = widgets.Button(description="Refuse", icon="times")

    def settle(confirmed: bool) -> None:
        if not answer.done():
            answer.set_result(Answer(confirmed, "button"))

    confirm.on_click(lambda _: settle(True))
    refuse.on_click(lambda _: settle(False))
    confirm.add_class("opslib-confirm")
    refuse.add_class("opslib-refuse")
    display(widgets.VBox([widgets.HTML(_face(change, tried)), widgets.HBox([confirm, refuse])]))
    try:
        result = await asyncio.wait_for(answer, PATIENCE)
    except TimeoutError:
        result = Answer(False, f"nobody answered within {PATIENCE / 60:.0f} minutes")
    for control in (confirm, refuse):
        control.disabled = True
    return result


def _typed(change: Change, tried: str, word: str) -> Answer:
    # No text widget: while a cell awaits, ipykernel 7 does not tell ipywidgets that a value has arrived, so that only
    # the first letter typed would ever come. A question through the kernel's own input channel has no such trouble.
    from IPython.display import HTML, display

    display(HTML(_face(change, tried)))
    return _question(word, "typed the target's name")


def _face(change: Change, tried: str) -> str:
    body = change_json(change)
    facts = {
        "risk": m.text(f"{body['risk']['level']}: {body['risk']['says']}"),
        "touches": m.text(", ".join(body["risk"]["touches"])),
        "tried": m.text(tried),
        "undo": m.text("none: it cannot be taken back" if change.undo_kind is Undo.NONE else body["undo"]),
    }
    head = m.line(m.badge("warning", "confirm?"), m.bold(change.title), m.small(str(change.target)))
    return m.panel("warning", head, m.diff(change.diff()), m.pairs(facts))


def _prompt(change: Change) -> Answer:
    risk: Any = change.risk
    sys.stdout.write(f"{change.title}\n{change.diff()}\nrisk {risk.level}: {risk.says}\n")
    return _question(word_for(change) or "yes", "typed at the terminal")


def _question(word: str, how: str) -> Answer:
    try:
        typed = input(f"Type {word} to confirm, anything else refuses: ")
    except (EOFError, NotImplementedError):  # the latter: a front end without input
        return Answer(False, "nobody could be asked")
    return Answer(typed.strip() == word, how)
