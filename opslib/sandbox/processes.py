"""The processes of a sandbox: started detached, waited for, found again, ended with all their children.

A process is known by its pid and the moment it started (boot and clock tick), so a pid that the system has
given to somebody else meanwhile is never signalled. Each one also carries OPSLIB_SANDBOX_PROCESS=NAME:FOLDER
in its environment: what an `up` that was killed half-way left behind is found by that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opslib.sandbox.state import Process, Record, Sandbox, SandboxError

MARK = "OPSLIB_SANDBOX_PROCESS"
POLL = 0.02  # seconds between two looks at a process that is starting or ending
TAIL = 12  # lines of a log that an error message shows
PROC = Path("/proc")
_children: dict[
    int, subprocess.Popen[bytes]
] = {}  # started by this very process: it must collect their corpses


def identity(pid: int) -> str | None:
    """When the process with this pid started, as one word; None when there is none, or only its corpse."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return None
    if not PROC.joinpath("self").exists():
        return _identity_by_ps(pid)
    try:
        line = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = line.rpartition(")")[2].split()  # the command may hold spaces and brackets
    if fields[0] in {"Z", "X"}:
        return None
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    return f"{boot}-{fields[19]}"


def _identity_by_ps(pid: int) -> str | None:
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    words = found.stdout.split()
    return "-".join(words[1:]) if words and not words[0].startswith("Z") else None


def alive(process: Process) -> bool:
    """Whether exactly this process still runs."""
    return identity(process.pid) == process.started


def resident(pid: int) -> int:
    """Bytes of memory that the process holds; 0 when it cannot be told."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log, indented; says so when there is nothing in it."""
    try:
        text = log.read_bytes()[-8192:].decode(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (its log is empty)"


def free_port(wanted: int | None = None) -> int:
    """A free port of 127.0.0.1: the one wanted if nobody has it, else any."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SandboxError(
        "no port of 127.0.0.1 is free.", next="end what holds so many connections; see `ss -tan`."
    )


def listens(port: int, seconds: float = 1.0) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds):
            return True
    except OSError:
        return False


def remove(folder: Path) -> None:
    """Remove a folder and all in it; no complaint when it is not there."""
    for _ in range(3):  # a process that is just ending may still create a file
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(folder)


def copy(source: Path, target: Path) -> None:
    """Copy a folder, sharing blocks where the file system can; the owner stays. The target must not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["cp", "-a", str(source), str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(
            f"cannot copy {source} to {target}: {done.stderr.strip()}.",
            next="look whether the disk is full (`df`).",
        )


def mirror(source: Path, target: Path) -> int:
    """Make a folder equal to an earlier copy of it; the number of files that had to be copied.

    A file of the same size and time stamp is the same: so it is where the copy was made while nobody wrote.
    """
    wanted = {path.relative_to(source): path for path in source.rglob("*")}
    for path in sorted(target.rglob("*"), reverse=True):  # what lies in a folder before the folder
        match = wanted.get(path.relative_to(target))
        if match is None or match.is_dir() != path.is_dir():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    copied = 0
    for relative, path in sorted(wanted.items()):
        there, state = target / relative, path.stat()
        if path.is_dir():
            there.mkdir(mode=stat.S_IMODE(state.st_mode), exist_ok=True)
        elif there.exists() and _same(state, there.stat()):
            continue
        else:
            shutil.copy2(path, there)
            copied += 1
        if os.geteuid() == 0:
            os.chown(there, state.st_uid, state.st_gid)
    return copied


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def ancestry(pid: int) -> set[int]:
    """The pid, and those of its parents up to the first process."""
    found: set[int] = set()
    while pid > 1:
        found.add(pid)
        try:
            pid = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def strays(sandbox: Sandbox) -> list[int]:
    """Pids of processes that carry this sandbox's mark, recorded or not. Empty where there is no /proc."""
    mark = f":{sandbox.path}".encode()
    found = []
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            entries = (folder / "environ").read_bytes().split(b"\0")
            if any(e.startswith(MARK.encode() + b"=") and e.endswith(mark) for e in entries):
                found.append(int(folder.name))
    return [pid for pid in found if identity(pid) and pid != os.getpid()]


class Supervisor:
    """Starts and ends the processes of one sandbox and keeps its record true; threads may share it."""

    def __init__(self, sandbox: Sandbox, record: Record) -> None:
        self.sandbox = sandbox
        self.record = record
        self._guard = threading.Lock()

    def running(self, name: str) -> bool:
        process = self.record.processes.get(name)
        return process is not None and alive(process)

    def save(self) -> None:
        with self._guard:
            self.sandbox.save(self.record)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[], bool],
        seconds: float = 20.0,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start a process in a session of its own and wait until `ready()`.

        Raises SandboxError, with the end of its log, when it ends by itself, or is not ready within `seconds`
        and is ended.
        """
        log = self.sandbox.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **(env or {}), MARK: f"{name}:{self.sandbox.path}"}
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
                cwd="/",
                user=user,
                group=_group(user),
                extra_groups=[] if user else None,
            )
        _children[child.pid] = child
        process = Process(child.pid, identity(child.pid) or "ended")
        with self._guard:
            self.record.processes[name] = process
            self.sandbox.save(self.record)
        try:
            self._wait(name, child, ready, seconds)
        except BaseException:
            self.stop(name, seconds=1.0)
            raise

    def _wait(
        self, name: str, child: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float
    ) -> None:
        deadline = time.monotonic() + seconds
        log = self.sandbox.log(name)
        while not ready():
            if child.poll() is not None:
                raise SandboxError(
                    f"the sandbox's {name} ended at once (status {child.returncode}). The end of its log:\n"
                    f"{tail(log)}\n",
                    next=f"read {log}, mend the cause, then run `opslib sandbox up` again.",
                )
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"the sandbox's {name} was not ready after {seconds:.0f} s. The end of its log:\n"
                    f"{tail(log)}\n",
                    next=f"read {log}; on a busy machine run `opslib sandbox up` again.",
                )
            time.sleep(POLL)

    def stop(self, name: str, *, how: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> None:
        """End a process: the signal `how` to its group, SIGKILL after `seconds`; then forget it."""
        process = self.record.processes.get(name)
        if process is None:
            return
        if alive(process):
            end(process, how=how, seconds=seconds)
        with self._guard:
            self.record.processes.pop(name, None)
            self.sandbox.save(self.record)


def end(process: Process, *, how: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> None:
    """Signal the process' group, wait, then kill; raises SandboxError when it survives even that."""
    for kind, patience in ((how, seconds), (signal.SIGKILL, 5.0)):
        if not alive(process):
            return
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:  # it leads no group: a child whose parent is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, kind)
        deadline = time.monotonic() + patience
        while alive(process) and time.monotonic() < deadline:
            time.sleep(POLL / 2)
    if alive(process):
        raise SandboxError(
            f"process {process.pid} does not end.", next=f"look at it with `ps -fp {process.pid}`."
        )


def _group(user: str | None) -> int | None:
    import pwd

    return pwd.getpwnam(user).pw_gid if user else None
