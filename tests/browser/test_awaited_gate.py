"""What gates rest on: a cell that awaits a button's click gets it, and everything queued behind it waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import CELL_DEADLINE, Lab, NotebookPage

pytestmark = [pytest.mark.browser]

AWAIT_BUTTON = """
import asyncio, ipywidgets
from IPython.display import display
button = ipywidgets.Button(description="Go on")
clicked = asyncio.get_running_loop().create_future()
button.on_click(lambda _: clicked.done() or clicked.set_result("clicked"))
display(button)
print("got", await clicked)
"""


def test_a_cell_that_awaits_a_click_gets_it_and_holds_what_is_queued_behind_it(
    lab: Lab, open_notebook: Callable[[str], NotebookPage]
) -> None:
    lab.write("await.ipynb", ["print('before')", AWAIT_BUTTON, "print('after')"])
    notebook = open_notebook("await.ipynb")
    notebook.run_all()
    button = notebook.outputs(1).get_by_role("button", name="Go on")
    expect(button).to_be_visible(timeout=CELL_DEADLINE)
    assert notebook.prompt(1) == "[*]:"
    assert notebook.prompt(2) == "[*]:"
    expect(notebook.outputs(2)).not_to_contain_text("after")
    button.click()
    expect(notebook.outputs(1)).to_contain_text("got clicked", timeout=CELL_DEADLINE)
    expect(notebook.outputs(2)).to_contain_text("after", timeout=CELL_DEADLINE)
    assert notebook.prompt(2) == "[3]:"
