"""Processes are started detached, recognised, and ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opslib.sandbox import processes
from opslib.sandbox.state import Process, Sandbox, SandboxError

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]


def said(supervisor, name="sleeper") -> bool:
    log = supervisor.sandbox.log(name)
    return log.exists() and "here" in log.read_text()


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if processes.identity(pid) is None:
            return True
        time.sleep(0.01)
    return False


def test_a_process_is_recorded_and_found_again_by_another_reader(supervisor):
    supervisor.start("sleeper", SLEEP, ready=lambda: said(supervisor))
    again = Sandbox.at(supervisor.sandbox.path).load()
    assert processes.alive(again.processes["sleeper"])
    assert os.getsid(again.processes["sleeper"].pid) == again.processes["sleeper"].pid
    assert processes.resident(again.processes["sleeper"].pid) > 1_000_000
    supervisor.stop("sleeper")
    assert Sandbox.at(supervisor.sandbox.path).load().processes == {}


def test_stopping_ends_the_grandchildren_too(supervisor):
    code = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']); print('here', p.pid, flush=True); time.sleep(60)"
    supervisor.start("sleeper", [sys.executable, "-c", code], ready=lambda: said(supervisor))
    grandchild = int(supervisor.sandbox.log("sleeper").read_text().split()[1])
    assert processes.identity(grandchild)
    supervisor.stop("sleeper")
    assert gone(grandchild)


def test_one_that_ignores_the_polite_signal_is_killed(supervisor):
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
    supervisor.start("sleeper", [sys.executable, "-c", code], ready=lambda: said(supervisor))
    process = supervisor.record.processes["sleeper"]
    supervisor.stop("sleeper", seconds=0.2)
    assert not processes.alive(process)


def test_a_pid_given_to_somebody_else_is_never_signalled(supervisor):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        supervisor.record.processes["sleeper"] = Process(other.pid, "another-boot-1")
        assert not supervisor.running("sleeper")
        supervisor.stop("sleeper")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_killed_process_is_noticed(supervisor):
    supervisor.start("sleeper", SLEEP, ready=lambda: said(supervisor))
    process = supervisor.record.processes["sleeper"]
    os.kill(process.pid, signal.SIGKILL)
    assert gone(process.pid)
    assert not supervisor.running("sleeper")


def test_one_that_ends_at_once_is_reported_with_the_end_of_its_log(supervisor):
    with pytest.raises(SandboxError, match=r"(?s)status 7.*no such option: --frob") as raised:
        supervisor.start("sleeper", ["sh", "-c", "echo no such option: --frob; exit 7"], ready=lambda: False)
    assert str(supervisor.sandbox.log("sleeper")) in raised.value.next
    assert supervisor.record.processes == {}


def test_one_that_is_never_ready_is_ended_and_reported(supervisor):
    with pytest.raises(SandboxError, match="was not ready"):
        supervisor.start("sleeper", SLEEP, ready=lambda: False, seconds=0.3)
    assert processes.strays(supervisor.sandbox) == []


def test_strays_finds_what_no_record_knows(supervisor, tmp_path: Path):
    supervisor.start("sleeper", SLEEP, ready=lambda: said(supervisor))
    pid = supervisor.record.processes["sleeper"].pid
    assert processes.strays(Sandbox.at(tmp_path / "one")) == [pid]
    assert processes.strays(Sandbox.at(tmp_path / "two")) == []


def test_a_wanted_port_is_given_only_when_it_is_free():
    port = processes.free_port()
    assert processes.free_port(port) == port
    import socket

    with socket.create_server(("127.0.0.1", port)):
        assert processes.free_port(port) not in {port, 0}
        assert processes.listens(port)
    assert not processes.listens(port)


def test_a_mirror_copies_only_what_differs(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    for name in ("same", "sub/changed", "sub/removed"):
        (source / name).write_text(name)
    processes.copy(source, target)
    time.sleep(0.01)
    (target / "sub/changed").write_text("CHANGED!!!!")
    (target / "sub/removed").unlink()
    (target / "more").mkdir()
    (target / "more/file").write_text("x")
    assert processes.mirror(source, target) == 2
    assert {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file()} == {
        name: name for name in ("same", "sub/changed", "sub/removed")
    }
    assert not (target / "more").exists()
    assert processes.mirror(source, target) == 0
