"""What a fault file says, checked when it is read.

A fault is one YAML file: summary, story, steps (a small fixed vocabulary, see steps.py), symptom (conditions
that are waited for, see conditions.py), seen (what plain kubectl shows then), heals (what a responder would
do). `break` runs the steps and waits for the symptom.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from opslib.sandbox.state import BadInputError, SandboxError

FOLDER = Path(__file__).parent
FIELDS = {"summary", "story", "steps", "symptom", "seen", "heals", "needs"}


@dataclass(frozen=True)
class Do:
    """One step or one condition: a word of the vocabulary and its arguments."""

    word: str
    given: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A command that a responder would type, and a text that its output holds while the fault is there."""

    run: str
    shows: str


@dataclass(frozen=True)
class Fault:
    """One entry of the menu."""

    name: str
    summary: str
    story: str
    steps: tuple[Do, ...]
    symptom: tuple[Do, ...]
    seen: tuple[Seen, ...]
    heals: str
    needs: tuple[str, ...] = ()  # data services that must be part of the sandbox


def _do(path: Path, raw: object) -> Do:
    if not isinstance(raw, dict) or len(raw) != 1:
        raise SandboxError(
            f"{path.name}: a step is one word with its arguments, not {raw!r}.", next="mend it."
        )
    word, given = next(iter(raw.items()))
    if not isinstance(given, dict):
        raise SandboxError(f"{path.name}: {word} wants named arguments, not {given!r}.", next="mend it.")
    return Do(str(word), given)


def load(path: Path) -> Fault:
    """Read one fault file. Raises SandboxError when it is not well-formed."""
    raw = yaml.safe_load(path.read_text())
    if (
        not isinstance(raw, dict)
        or set(raw) - FIELDS
        or not {"summary", "steps", "seen", "heals"} <= set(raw)
    ):
        raise SandboxError(
            f"{path.name}: a fault has summary, steps, seen and heals, and may have story, symptom and needs.",
            next="mend the file.",
        )
    return Fault(
        name=path.stem,
        summary=str(raw["summary"]).strip(),
        story=str(raw.get("story", "")).strip(),
        steps=tuple(_do(path, entry) for entry in raw["steps"]),
        symptom=tuple(_do(path, entry) for entry in raw.get("symptom", [])),
        seen=tuple(Seen(str(entry["run"]), str(entry["shows"])) for entry in raw["seen"]),
        heals=str(raw["heals"]).strip(),
        needs=tuple(raw.get("needs", ())),
    )


def menu() -> list[Fault]:
    """Every fault there is, by name."""
    return [load(path) for path in sorted(FOLDER.glob("*.yaml"))]


def find(name: str) -> Fault:
    """The fault of a name. Raises BadInputError when there is none."""
    path = FOLDER / f"{name}.yaml"
    known = sorted(found.stem for found in FOLDER.glob("*.yaml"))
    if name not in known:
        raise BadInputError(f"there is no fault {name!r}.", next=f"use one of {', '.join(known)}.")
    return load(path)
