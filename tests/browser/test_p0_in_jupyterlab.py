"""The main job as an engineer does it in JupyterLab: Run All, read, click Confirm, see users served again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from opslib.sandbox.state import Sandbox
from tests.browser.conftest import ROOT, require_browser
from tests.browser.lab import Lab, NotebookPage, jupyterlab

pytestmark = [pytest.mark.browser, pytest.mark.rehearsal]

RUNBOOK = ROOT / "notebooks" / "incident-response" / "p0-service-down.ipynb"
GATE_DEADLINE = 120_000  # milliseconds: everything up to the gate, on a busy machine


@pytest.fixture
def broken(healthy_sandbox: Sandbox, sandbox_env: dict[str, str]) -> Sandbox:
    """A platform on which the gateway's last release answers 5xx."""
    opslib = str(Path(sys.executable).with_name("opslib"))
    command = [opslib, "sandbox", "break", "bad-release", "--name", healthy_sandbox.name]
    subprocess.run(command, env=sandbox_env, check=True, capture_output=True)
    return healthy_sandbox


@pytest.fixture
def platform_lab(tmp_path: Path, sandbox_env: dict[str, str]) -> Iterator[Lab]:
    """A JupyterLab whose kernels find the broken platform."""
    require_browser()
    folder, state = tmp_path / "notebooks", tmp_path / "jupyter"
    folder.mkdir()
    state.mkdir()
    environ = {**sandbox_env, "OPSLIB_EVIDENCE": str(tmp_path / "evidence")}
    with jupyterlab(folder, state, environ) as running:
        yield running


def image(kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    """The image that the gateway's Deployment asks for."""
    shown = kubectl("get", "deployment", "api-gateway", "-n", "pss-nano", "-o", "json").stdout
    return str(json.loads(shown)["spec"]["template"]["spec"]["containers"][0]["image"])


def test_the_rollback_is_confirmed_by_a_click_and_users_are_served_again(
    broken: Sandbox,
    platform_lab: Lab,
    browser: Browser,
    kubectl: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    bad = image(kubectl)
    shutil.copy(RUNBOOK, platform_lab.folder / "p0.ipynb")
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    notebook = NotebookPage(page, platform_lab, "p0.ipynb")
    notebook.run_all()
    confirm = notebook.panel.get_by_role("button", name="Confirm")
    expect(confirm).to_be_visible(timeout=GATE_DEADLINE)
    page.screenshot(path=tmp_path / "gate.png")
    assert image(kubectl) == bad, "something was changed before it was confirmed"
    confirm.click()
    expect(notebook.panel).to_contain_text("MITIGATED", timeout=GATE_DEADLINE)
    notebook.panel.locator(".jp-CodeCell").first.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "mitigated.png")
    page.close()
    assert image(kubectl) != bad
    (journal,) = (tmp_path / "evidence").rglob("journal.jsonl")
    assert '"mitigated"' in journal.read_text()
