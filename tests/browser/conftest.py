"""Fixtures of the browser tests: one JupyterLab and one browser for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.lab import BROWSERS, Lab, NotebookPage, browser_path, chromium, jupyterlab

ROOT = Path(__file__).resolve().parents[2]


def require_browser() -> None:
    """Skip, or fail where OPSLIB_REQUIRE_BROWSER is set, when there is no browser."""
    if browser_path() is None:
        reason = f"no browser on PATH (looked for {', '.join(BROWSERS)}). Next: apt-get install chromium"
        if os.environ.get("OPSLIB_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab over an empty folder."""
    require_browser()
    folder, state = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    environ = {"OPSLIB_EVIDENCE": str(folder / "evidence"), "PYTHONPATH": str(ROOT)}
    with jupyterlab(folder, state, environ) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A headless browser of the test's own: while playwright's is open, no other test of the process can run a loop."""
    require_browser()
    with chromium() as running:
        yield running


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser, tmp_path: Path) -> Iterator[Callable[[str], NotebookPage]]:
    """Opens a notebook of the lab's folder; the page's last picture lies in the test's folder."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    page = context.new_page()
    yield lambda name: NotebookPage(page, lab, name)
    page.screenshot(path=tmp_path / "page.png")
    context.close()
    lab.end_kernels()
