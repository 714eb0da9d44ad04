"""The sandbox for every test that wants one: a session's own, put back to healthy before a test that asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox

SPEED = 60.0
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def sandboxes_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that holds this session's sandboxes, for us and for the commands we start; nothing may survive it."""
    folder = tmp_path_factory.mktemp("sandboxes")
    before = {key: os.environ.get(key) for key in ("OPSLIB_SANDBOX_DIR", "OPSLIB_SANDBOX")}
    os.environ["OPSLIB_SANDBOX_DIR"] = str(folder)
    os.environ.pop("OPSLIB_SANDBOX", None)
    yield folder
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
    left = processes_below(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"processes of sandboxes were left behind: {left}"


def processes_below(folder: Path) -> list[int]:
    """Pids of sandbox processes whose sandbox lies below a folder."""
    from opslib.sandbox.processes import MARK

    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        marks = [one for one in variables if one.startswith(MARK.encode() + b"=")]
        if any(f":{folder}/".encode() in mark for mark in marks):
            found.append(int(entry.parent.name))
    return found


@pytest.fixture(scope="session")
def sandbox(sandboxes_dir: Path) -> Iterator[Sandbox]:
    """One running sandbox for the whole session (one for each xdist worker), at speed 60; gone at the end."""
    from opslib.sandbox import lifecycle

    name = f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    try:
        yield lifecycle.up(name, SPEED)
    finally:
        lifecycle.down(name)


@pytest.fixture
def healthy_sandbox(sandbox: Sandbox) -> Sandbox:
    """The session's sandbox as it was when it came up: every process runs, no fault, no trace of an earlier test."""
    from opslib.sandbox import snapshots

    with sandbox.lock():
        snapshots.restore(snapshots.require(sandbox), snapshots.HEALTHY)
    return sandbox


@pytest.fixture
def sandbox_env(sandbox: Sandbox) -> dict[str, str]:
    """The whole environment for a command that is to find the session's sandbox."""
    from opslib.sandbox import lifecycle

    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    return {**os.environ, **lifecycle.env(sandbox.name), "PATH": path}


@pytest.fixture
def kubectl(sandbox: Sandbox) -> Kubectl:
    """Runs kubectl on the session's sandbox: kubectl("get", "pods", context="observer", check=False)."""
    program = Path(sys.executable).with_name("kubectl")

    def run(
        *arguments: str,
        context: str = "admin",
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(program), f"--kubeconfig={sandbox.kubeconfig}", f"--context={context}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"kubectl {' '.join(arguments)}: status {done.returncode}\n{done.stderr}{done.stdout}"
            )
        return done

    return run
