"""A real JupyterLab under a real headless browser: none of the user's settings, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import requests
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_DEADLINE = 60.0  # seconds; JupyterLab starts in 3 on a quiet machine
CELL_DEADLINE = 60_000  # milliseconds for anything a cell does

# What a fresh JupyterLab would ask or hide: the news question, and cells that are out of sight.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


def browser_path() -> str | None:
    """The browser on PATH, None without one."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Lab:
    """One JupyterLab server, rooted in `folder`."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder, self.url, self.token = folder, url, token

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """A notebook of these code cells in the server's folder."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        path = self.folder / name
        nbformat.write(notebook, path)
        return path

    def start_kernel(self, name: str) -> None:
        """Start the kernel of notebook `name` before a page opens it.

        A page that finds no kernel starts one, now and then a second one in its place, and then forgets the
        cells that were already queued: seen in one of three runs of JupyterLab 4.6.6.
        """
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        headers = {"Authorization": f"token {self.token}"}
        requests.post(f"{self.url}api/sessions", json=body, headers=headers, timeout=30).raise_for_status()


@contextmanager
def jupyterlab(folder: Path, state: Path, environ: dict[str, str]) -> Iterator[Lab]:
    """Start JupyterLab on a free port of the loopback address; end it, and its kernels, on leaving."""
    for name, content in SETTINGS.items():
        file = state / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    runtime, token = state / "runtime", "only-for-this-test"
    environment = dict(os.environ) | {
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTER_DATA_DIR": str(state / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTERLAB_SETTINGS_DIR": str(state / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(state / "workspaces"),
        "IPYTHONDIR": str(state / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    environment.update(environ)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        "--port=0",
    ]
    command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
    log = state / "server.log"
    with log.open("w") as sink:
        server = subprocess.Popen(
            command,
            env=environment,
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield Lab(folder, _address(server, runtime, log), token)
    finally:
        _end(server)


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    until = time.monotonic() + START_DEADLINE
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob(f"jpserver-{server.pid}.json"):
            try:
                return str(json.loads(file.read_text())["url"])
            except (ValueError, KeyError):
                break  # half written
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start; its log ends: {log.read_text()[-2000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)  # the server ends its kernels on SIGTERM
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser of the system."""
    arguments = [
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--disable-gpu",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=arguments, chromium_sandbox=os.geteuid() != 0
        )
        try:
            yield browser
        finally:
            browser.close()


class NotebookPage:
    """One notebook open in JupyterLab, used as a person uses it: menus, buttons, keys."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        page.set_default_timeout(CELL_DEADLINE)
        lab.start_kernel(name)
        page.goto(f"{lab.url}lab/tree/{name}?token={lab.token}")
        self.panel = page.locator(".jp-NotebookPanel:visible")
        expect(self.panel.locator(".jp-CodeCell").first).to_be_visible(timeout=CELL_DEADLINE)
        # The kernel is ready when its sign says Idle; running before that would lose the request.
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]:visible")).to_be_visible(
            timeout=CELL_DEADLINE
        )

    def run_all(self) -> None:
        """Menu Run, item Run All Cells."""
        self.page.locator("#jp-MainMenu").get_by_text("Run", exact=True).click()
        self.page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()

    def cell(self, number: int) -> Locator:
        """Code cell `number`, from 0."""
        return self.panel.locator(".jp-CodeCell").nth(number)

    def outputs(self, number: int) -> Locator:
        """What cell `number` shows below itself."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    def prompt(self, number: int) -> str:
        """`[*]:` while cell `number` runs or waits, `[3]:` after it ran, `[ ]:` before."""
        return self.cell(number).locator(".jp-InputPrompt").inner_text().strip()

    def wait_ran(self, number: int) -> None:
        """Wait until cell `number` ended."""
        expect(self.cell(number).locator(".jp-InputPrompt")).to_have_text(
            re.compile(r"^\[\d+\]:$"), timeout=CELL_DEADLINE
        )

    def save(self) -> None:
        """Ctrl+S, until JupyterLab says that nothing is unsaved."""
        self.page.keyboard.press("Control+s")
        expect(self.page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(0)
