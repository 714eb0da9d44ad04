"""`opslib sandbox` on the command line: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from opslib.sandbox import processes
from opslib.sandbox.cli import app
from opslib.sandbox.state import Sandbox

COMMANDS = ("up", "down", "status", "env", "faults", "break", "heal", "snapshot", "restore", "exec")


def run(*words: str):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_help_names_every_command_and_how_to_begin():
    shown = run("--help").output
    assert [c for c in COMMANDS if f" {c} " not in shown] == []
    assert "opslib sandbox env" in shown


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys; from opslib.sandbox import cli; "
        "heavy = {'aiohttp', 'psycopg', 'pandas', 'kubernetes', 'cryptography', 'yaml', 'rich.table'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [("up", "--name", "../x"), ("up", "--name", "x", "--speed", "0"), ("down", "--name", "A"),
                                   ("restore", "Not-A-Name", "--name", "x")])  # fmt: skip
def test_bad_input_is_status_2_and_leaves_no_folder(sandboxes_dir, words):
    before = sorted(sandboxes_dir.iterdir())
    done = run(*words)
    assert done.exit_code in {2, 3}
    assert "Next:" in done.stderr
    assert sorted(sandboxes_dir.iterdir()) == before


@pytest.mark.parametrize("command", ["status", "env", "snapshot", "restore"])
def test_without_a_sandbox_it_says_what_to_do(sandboxes_dir, command):
    done = run(command, "--name", "nobody")
    assert done.exit_code == 3
    assert "there is no sandbox nobody" in done.stderr
    assert "opslib sandbox up" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_down_without_a_sandbox_is_fine(sandboxes_dir):
    done = run("down", "--name", "nobody")
    assert (done.exit_code, done.stderr) == (0, "there is no sandbox nobody\n")


def test_status_is_1_and_names_what_died(sandbox: Sandbox):
    name = sandbox.name
    run("up", "--name", name)
    assert run("status", "--name", name).exit_code == 0
    rows = {row["process"]: row for row in json.loads(run("status", "--name", name, "--json").stdout)}
    assert rows["prometheus"]["resident"] > 10_000_000
    os.kill(rows["redis"]["pid"], signal.SIGKILL)
    while processes.identity(rows["redis"]["pid"]):
        pass
    done = run("status", "--name", name)
    assert done.exit_code == 1
    assert "not well: redis" in done.stderr
    assert "dead" in done.stdout
    assert run("up", "--name", name, "--quiet").exit_code == 0
    assert run("status", "--name", name).exit_code == 0


def test_env_is_nothing_but_exports(sandbox: Sandbox):
    done = run("env", "--name", sandbox.name)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) >= 10
    assert all(line.startswith("export ") for line in lines)
    found = json.loads(run("env", "--name", sandbox.name, "--json").stdout)
    assert found["KUBECONFIG"] == str(sandbox.kubeconfig)
    assert found["OPSLIB_CONTEXT"] == "responder"


def test_snapshot_and_restore(sandbox: Sandbox):
    name = sandbox.name
    assert run("snapshot", "mine", "--name", name).exit_code == 0
    assert [entry["name"] for entry in json.loads(run("snapshot", "--name", name, "--json").stdout)][
        -1
    ] == "mine"
    assert run("restore", "mine", "--name", name).exit_code == 0
    done = run("restore", "yours", "--name", name)
    assert done.exit_code == 2
    assert "healthy, mine" in done.stderr
    processes.remove(sandbox.snapshots / "mine")


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        (("kubectl", "get", "deployment", "api-gateway", "-o", "name"), "deployment.apps/api-gateway\n"),
        (("psql", "-Atc", "SELECT current_user"), "oncall\n"),
        (("sh", "-c", 'redis-cli -u "$REDIS_URL" PING'), "PONG\n"),
    ],
)
def test_exec_runs_a_command_that_finds_the_sandbox(sandbox: Sandbox, command, shows):
    code = "import sys; from opslib.sandbox.cli import app; app(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "exec", "--name", sandbox.name, *command],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, shows), done.stderr


def test_exec_of_nothing_is_127(sandbox: Sandbox):
    done = run("exec", "--name", sandbox.name, "no-such-command")
    assert done.exit_code == 127
    assert "no-such-command" in done.stderr


def test_faults_are_listed_and_told(sandbox: Sandbox):
    listed = json.loads(run("faults", "--name", sandbox.name, "--json").stdout)
    assert {"bad-release", "prometheus-down"} <= {fault["name"] for fault in listed}
    assert not any(fault["active"] for fault in listed)
    told = run("faults", "bad-release", "--name", sandbox.name).stdout
    assert "What a responder sees:" in told
    assert "$ kubectl" in told
    done = run("faults", "no-such", "--name", sandbox.name)
    assert done.exit_code == 2
    assert "bad-release" in done.stderr


def test_break_and_heal(healthy_sandbox: Sandbox):
    name = healthy_sandbox.name
    done = run("break", "prometheus-down", "--name", name)
    assert done.exit_code == 0, done.stderr
    assert run("status", "--name", name).exit_code == 1
    assert run("break", "prometheus-down", "--name", name).exit_code == 2
    done = run("heal", "--name", name)
    assert (done.exit_code, "prometheus-down" in done.stderr) == (0, True), done.stderr
    assert run("status", "--name", name).exit_code == 0
