"""A sandbox comes up, survives what is done to it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from opslib.sandbox import lifecycle, processes, snapshots
from opslib.sandbox.admin import Admin
from opslib.sandbox.services import control
from opslib.sandbox.services.resp import Resp
from opslib.sandbox.state import BadInputError, Sandbox, SandboxError

ALL = ("api", "postgres", "redis", "redis-replica", "platform", "prometheus")
UP = "import sys; from opslib.sandbox import lifecycle; lifecycle.up(sys.argv[1], 60)"


def rows(name: str) -> dict[str, lifecycle.Row]:
    return {row.process: row for row in lifecycle.status(name)}


def until(condition, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def whole_sandbox(sandbox: Sandbox) -> Sandbox:
    """The session's sandbox with every process running; what is in it does not matter."""
    lifecycle.up(sandbox.name)
    return sandbox


@pytest.fixture
def second(sandboxes_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of another sandbox of this test's own; gone afterwards."""
    name = f"second-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    yield name
    lifecycle.down(name)


def test_two_live_side_by_side_and_one_goes_without_a_trace(whole_sandbox, second):
    made = lifecycle.up(second, 60)
    first, other = rows(whole_sandbox.name), rows(second)
    assert set(other) == set(ALL)
    assert all(row.well for row in (*first.values(), *other.values())), (first, other)
    ports = [row.port for row in (*first.values(), *other.values())]
    assert len(set(ports)) == len(ports)
    uids = {
        Admin(sandbox).get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        for sandbox in (whole_sandbox, made)
    }
    assert len(uids) == 2
    listening = set(processes_ports(made))
    assert {row.port for row in other.values()} <= listening

    assert lifecycle.down(second) is True
    assert lifecycle.down(second) is False
    assert not made.path.exists()
    assert [row.pid for row in other.values() if row.pid and processes.identity(row.pid)] == []
    assert [port for port in listening if processes.listens(port)] == []
    assert all(row.well for row in rows(whole_sandbox.name).values())
    with pytest.raises(SandboxError, match="there is no sandbox"):
        lifecycle.status(second)


def processes_ports(sandbox: Sandbox) -> list[int]:
    """Every port of 127.0.0.1 that a process of this sandbox listens on, as the kernel says; all are loopback."""
    inodes = set()
    for pid in processes.strays(sandbox):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, port = words[1].rsplit(":", 1)
                assert address == "0100007F", f"listens on more than loopback: {line}"
                found.append(int(port, 16))
    return found


def test_a_second_up_leaves_what_runs_alone(whole_sandbox):
    before = rows(whole_sandbox.name)
    lifecycle.up(whole_sandbox.name)
    after = rows(whole_sandbox.name)
    assert {k: (r.pid, r.port) for k, r in before.items()} == {k: (r.pid, r.port) for k, r in after.items()}


@pytest.mark.parametrize("process", ALL)
def test_a_killed_process_is_named_by_status_and_started_again_on_its_port(whole_sandbox, process):
    before = rows(whole_sandbox.name)
    os.kill(before[process].pid, signal.SIGKILL)
    assert until(lambda: rows(whole_sandbox.name)[process].state == "dead")
    assert [name for name, row in rows(whole_sandbox.name).items() if row.state == "dead"] == [process]
    lifecycle.up(whole_sandbox.name)
    after = rows(whole_sandbox.name)
    assert until(lambda: all(row.well for row in rows(whole_sandbox.name).values())), after
    assert after[process].pid != before[process].pid
    assert {k: r.port for k, r in after.items()} == {k: r.port for k, r in before.items()}
    others = set(ALL) - {process}
    assert {k: before[k].pid for k in others} == {k: after[k].pid for k in others}


def test_two_at_once_do_not_start_anything_twice(whole_sandbox):
    name = whole_sandbox.name
    killed = {process: rows(name)[process].pid for process in ("redis", "prometheus")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    both = [subprocess.Popen([sys.executable, "-c", UP, name]) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    after = rows(name)
    assert all(row.well for row in after.values())
    ours = {row.pid for row in after.values()}
    assert [pid for pid in processes.strays(whole_sandbox) if not ours & processes.ancestry(pid)] == []


def test_a_process_that_hangs_is_not_well_and_is_replaced(whole_sandbox):
    pid = rows(whole_sandbox.name)["platform"].pid
    os.kill(pid, signal.SIGSTOP)
    row = rows(whole_sandbox.name)["platform"]
    assert (row.state, row.well) == ("running", False)
    assert "did not answer" in row.note
    lifecycle.up(whole_sandbox.name)
    assert rows(whole_sandbox.name)["platform"].pid != pid


def test_an_up_killed_half_way_can_be_repeated_and_a_damaged_record_can_be_cleared_away(second):
    half = subprocess.Popen([sys.executable, "-c", UP, second], stderr=subprocess.DEVNULL)
    sandbox = Sandbox(second)
    assert until(lambda: len(processes.strays(sandbox)) >= 2)
    half.kill()
    half.wait()
    lifecycle.up(second, 60)
    assert all(row.well for row in rows(second).values())
    assert lifecycle.unavailable(sandbox) == []
    assert len(processes.strays(sandbox)) >= len(ALL)

    sandbox.record_file.write_text('{"name": "sec')
    with pytest.raises(SandboxError, match="damaged"):
        lifecycle.status(second)
    assert lifecycle.down(second) is True
    assert processes.strays(sandbox) == []
    assert not sandbox.path.exists()


def test_another_speed_is_refused_while_it_is_there(whole_sandbox):
    with pytest.raises(BadInputError, match="at speed 60"):
        lifecycle.up(whole_sandbox.name, 20)
    with pytest.raises(BadInputError, match="cannot be"):
        lifecycle.up("never", 0)
    assert not Sandbox("never").path.exists()


def test_the_environment_serves_a_shell(whole_sandbox):
    from opslib.sandbox.services.postgres import binaries
    from opslib.sandbox.services.redis import program

    script = f"""
        set -eu
        eval "$EXPORTS"
        {Path(sys.executable).with_name("kubectl")} get deployment api-gateway -o name
        {binaries() / "psql"} -Atc 'SELECT current_user, count(*) FROM pnrs'
        {program().with_name("redis-cli")} -u "$REDIS_URL" PING
        {sys.executable} -c "import os, requests
print(requests.get(os.environ['PROMETHEUS_URL'] + '/-/ready', timeout=5).status_code)"
    """
    exports = lifecycle.exports(lifecycle.env(whole_sandbox.name))
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "EXPORTS": exports}
    done = subprocess.run(
        ["sh", "-c", script], env=clean, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["deployment.apps/api-gateway", "oncall|3000", "PONG", "200"]


def test_no_variable_but_one_holds_a_password(whole_sandbox):
    variables = lifecycle.env(whole_sandbox.name)
    password = variables.pop("REDISCLI_AUTH")
    secrets = [
        password,
        *json.loads((whole_sandbox.path / "postgres/passwords.json").read_text()).values(),
    ]
    assert not [key for key, value in variables.items() for secret in secrets if secret in value]


def connect(sandbox: Sandbox) -> psycopg.Connection:
    env = lifecycle.env(sandbox.name)
    return psycopg.connect(
        host=env["PGHOST"], port=env["PGPORT"], user="airlineops", dbname=env["PGDATABASE"],
        passfile=env["PGPASSFILE"], autocommit=True,
    )  # fmt: skip


def resp(sandbox: Sandbox) -> Resp:
    env = lifecycle.env(sandbox.name)
    return Resp(rows(sandbox.name)["redis"].port, env["REDISCLI_AUTH"])


def test_a_restore_puts_everything_back(healthy_sandbox, kubectl):
    def pods() -> dict[str, tuple]:
        items = Admin(healthy_sandbox).get("/api/v1/namespaces/pss-nano/pods")["items"]
        return {
            p["metadata"]["name"]: tuple(c["restartCount"] for c in p["status"]["containerStatuses"])
            for p in items
        }

    before = pods()
    kubectl("-n", "pss-nano", "delete", "deployment", "auth-service", "--wait=false")
    kubectl("-n", "pss-nano", "delete", "secret", "--all")
    left = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "left-behind", "namespace": "pss-nano"},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(left))
    with connect(healthy_sandbox) as c:
        c.execute("DROP TABLE tickets CASCADE")
    with resp(healthy_sandbox) as r:
        r.pipeline([("SELECT", 7), ("DEL", "dcs:baggage:tag:counter")])
    for service in ("postgres", "prometheus"):
        control(healthy_sandbox.path, service, "stop")

    with healthy_sandbox.lock():
        snapshots.restore(snapshots.require(healthy_sandbox), "healthy")

    assert all(row.well for row in rows(healthy_sandbox.name).values())
    assert lifecycle.unavailable(healthy_sandbox) == []
    assert kubectl("-n", "pss-nano", "get", "cm", "left-behind", check=False).returncode == 1
    assert kubectl("-n", "pss-nano", "get", "secret", "-o", "name").stdout.count("\n") > 3
    with connect(healthy_sandbox) as c:
        assert c.execute("SELECT count(*) FROM tickets").fetchone()[0] > 4000
    with resp(healthy_sandbox) as r:
        assert r.pipeline([("SELECT", 7), ("GET", "dcs:baggage:tag:counter")])[1] == "184213"
    time.sleep(2)  # probes at speed 60 have looked many times: nothing was restarted, nothing became unready
    assert pods() == before
    assert lifecycle.unavailable(healthy_sandbox) == []


def test_a_snapshot_keeps_a_broken_state_too(healthy_sandbox, kubectl):
    kubectl("-n", "pss-nano", "scale", "deployment", "auth-service", "--replicas=0")
    supervisor = snapshots.require(healthy_sandbox)
    snapshots.save(supervisor, "broken")
    snapshots.restore(supervisor, "healthy")
    replicas = ("-n", "pss-nano", "get", "deployment", "auth-service", "-o", "jsonpath={.spec.replicas}")
    assert kubectl(*replicas).stdout == "2"
    snapshots.restore(supervisor, "broken")
    assert kubectl(*replicas).stdout == "0"
    assert [entry["name"] for entry in snapshots.listing(healthy_sandbox)] == ["healthy", "broken"]
    with pytest.raises(BadInputError, match="has no snapshot 'nothing'"):
        snapshots.restore(supervisor, "nothing")
    processes.remove(healthy_sandbox.snapshots / "broken")


def test_the_past_holds_no_error_of_before_a_restore(healthy_sandbox):
    url = lifecycle.env(healthy_sandbox.name)["PROMETHEUS_URL"]

    def ask(query: str) -> float:
        found = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=5).json()["data"][
            "result"
        ]
        return float(found[0]["value"][1]) if found else 0.0

    total = "sum(increase(nginx_ingress_controller_requests[1h]))"
    failed = 'sum(increase(nginx_ingress_controller_requests{status=~"5.."}[1h]))'
    assert ask(total) > 10_000
    assert ask(failed) / ask(total) < 0.001
    assert ask('sum(nginx_ingress_controller_requests{status="200"} offset 2h)') > 0


def test_control_stops_and_starts_a_service_and_status_says_so(whole_sandbox):
    port = rows(whole_sandbox.name)["redis"].port
    control(whole_sandbox.path, "redis", "stop")
    control(whole_sandbox.path, "redis", "stop")
    row = rows(whole_sandbox.name)["redis"]
    assert (row.state, row.well) == ("stopped", False)
    assert not processes.listens(port)
    control(whole_sandbox.path, "redis", "start")
    assert rows(whole_sandbox.name)["redis"].port == port
    with pytest.raises(BadInputError, match="no data service 'mongo'"):
        control(whole_sandbox.path, "mongo", "stop")
    with pytest.raises(BadInputError, match="no action"):
        control(whole_sandbox.path, "redis", "explode")  # type: ignore[arg-type]
    with pytest.raises(SandboxError, match="there is no sandbox"):
        control(whole_sandbox.path.with_name("never"), "redis", "stop")
