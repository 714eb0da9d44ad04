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
from typing import Any

import nbformat
import requests
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_DEADLINE = 60.0  # seconds; JupyterLab starts in 3 on a quiet machine
CELL_DEADLINE = 60_000  # milliseconds for anything a cell does
expect.set_options(timeout=20_000)

# What a fresh JupyterLab would ask or hide: the news question, and cells that are out of sight.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}

CONNECTED = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


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
        kernel = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        self._ask("POST", "api/sessions", json=kernel)

    def end_kernels(self) -> None:
        """End every kernel."""
        for session in self._ask("GET", "api/sessions").json():
            self._ask("DELETE", f"api/sessions/{session['id']}")

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        answer = requests.request(method, f"{self.url}{path}", headers=headers, timeout=30, **more)
        answer.raise_for_status()
        return answer


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
    options = {
        "ip": "127.0.0.1",
        "port": "0",
        "ServerApp.root_dir": str(folder),
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": "True",  # for CONNECTED
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
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
        # An own workspace: without it JupyterLab brings back the tabs of the test before.
        page.goto(f"{lab.url}lab/workspaces/{Path(name).stem}/tree/{name}?token={lab.token}")
        self.panel = page.locator(".jp-NotebookPanel:visible")
        expect(self.panel.locator(".jp-CodeCell").first).to_be_visible(timeout=CELL_DEADLINE)
        # Its sign says Idle before it is connected, and running then asks which kernel to take.
        page.wait_for_function(CONNECTED)

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

    def press_until(self, wanted: Locator, key: str, times: int = 40) -> None:
        """Press `key` until `wanted` has the focus, as a person without a mouse does."""
        for _ in range(times):
            self.page.keyboard.press(key)
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{key}, {times} times, never reached it")

    def save(self) -> None:
        """Ctrl+S, until JupyterLab says that nothing is unsaved."""
        self.page.keyboard.press("Control+s")
        expect(self.page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(0)
