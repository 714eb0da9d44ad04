"""A person at the gate, in a real JupyterLab: confirms or refuses by mouse and by keyboard, and nothing runs past it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import CELL_DEADLINE, Lab, NotebookPage

pytestmark = [pytest.mark.browser]

ASK = """
from pathlib import Path
from opslib.records.change import Undo
from opslib.runs import gates
from tests.browser.setting import Setting
change = Setting(Path("{file}"), "colour", "<b>green</b>", undo=Undo("{undo}"))
answer = await gates.ask(change, "estimate: ok")
print("answer", answer.confirmed, answer.how)
"""


@pytest.fixture
def gate(
    lab: Lab, open_notebook: Callable[[str], NotebookPage], tmp_path: Path
) -> Callable[..., NotebookPage]:
    """Opens a notebook whose second cell waits at the gate, runs all of it, and returns when the gate is there."""

    def to_the_gate(undo: str = "exact") -> NotebookPage:
        name, file = f"{tmp_path.name}.ipynb", tmp_path / "settings.json"
        file.write_text(json.dumps({"colour": "red"}))
        lab.write(name, ["print('before')", ASK.format(file=file, undo=undo), "print('after')"])
        notebook = open_notebook(name)
        notebook.run_all()
        expect(notebook.outputs(1)).to_contain_text("confirm?", timeout=CELL_DEADLINE)
        return notebook

    return to_the_gate


def button(notebook: NotebookPage, name: str) -> Locator:
    """A button of the gate."""
    return notebook.outputs(1).get_by_role("button", name=name)


def answered(notebook: NotebookPage, answer: str) -> None:
    """The gate was answered like this, its controls are dead, and the next cell ran."""
    expect(notebook.outputs(1)).to_contain_text(f"answer {answer}", timeout=CELL_DEADLINE)
    expect(notebook.outputs(2)).to_contain_text("after", timeout=CELL_DEADLINE)
    expect(button(notebook, "Confirm")).to_be_disabled()
    expect(button(notebook, "Refuse")).to_be_disabled()


def test_run_all_stops_at_the_gate_and_goes_on_when_it_is_confirmed(
    gate: Callable[..., NotebookPage],
) -> None:
    notebook = gate()
    assert [notebook.prompt(number) for number in (0, 1, 2)] == ["[1]:", "[*]:", "[*]:"]
    expect(notebook.outputs(2)).not_to_contain_text("after")
    button(notebook, "Confirm").click()
    answered(notebook, "True button")


def test_refusing_goes_on_too_and_says_so(gate: Callable[..., NotebookPage]) -> None:
    notebook = gate()
    button(notebook, "Refuse").click()
    answered(notebook, "False button")


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_gate_is_reached_and_answered_by_keyboard(gate: Callable[..., NotebookPage], key: str) -> None:
    notebook = gate()
    notebook.press_until(button(notebook, "Confirm"), "Shift+Tab")  # Run All left the focus on the last cell
    notebook.page.keyboard.press(key)
    answered(notebook, "True button")


@pytest.mark.parametrize(("typed", "answer"), [("colour", "True"), ("color", "False")])
def test_a_change_without_undo_wants_its_targets_name_typed(
    gate: Callable[..., NotebookPage], typed: str, answer: str
) -> None:
    notebook = gate(undo="none")
    expect(notebook.outputs(1)).to_contain_text("it cannot be taken back")
    notebook.outputs(1).get_by_role("textbox").press_sequentially(typed)
    notebook.page.keyboard.press("Enter")
    expect(notebook.outputs(1)).to_contain_text(f"answer {answer} typed the target's name")
    expect(notebook.outputs(2)).to_contain_text("after")


def test_the_gate_shows_the_diff_and_keeps_what_the_platform_says_inert(
    gate: Callable[..., NotebookPage],
) -> None:
    notebook = gate()
    shown = notebook.outputs(1)
    expect(shown).to_contain_text('+ "colour": "<b>green</b>"')
    expect(shown).to_contain_text('- "colour": "red"')
    expect(shown).to_contain_text("setting/colour")
    expect(shown.get_by_text("green", exact=True)).to_have_count(0)
    button(notebook, "Refuse").click()
    answered(notebook, "False button")
