"""Where one sandbox keeps everything: its folder, the paths in it, its record and its lock.

The folder is $OPSLIB_SANDBOX_DIR/NAME, or ${XDG_STATE_HOME:-~/.local/state}/opslib/sandboxes/NAME. All of a
sandbox lies in it, so removing the folder removes the sandbox; only what every sandbox can share (the
prepared database cluster, unpacked Debian packages) lies in ${XDG_CACHE_HOME:-~/.cache}/opslib.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
DEFAULT_SPEED = 20.0


class SandboxError(Exception):
    """Something of a sandbox failed: `what`, and what to do `next`."""

    exit_status = 3

    def __init__(self, what: str, *, next: str = "") -> None:
        self.what = what
        self.next = next
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what} Next: {self.next}" if self.next else self.what


class BadInputError(SandboxError):
    """A name, speed or other value that cannot be; nothing was done."""

    exit_status = 2


@dataclass
class Process:
    """One process of a sandbox, so that it can be found again and never mistaken for another."""

    pid: int
    started: str  # boot and start time of the process, see processes.identity()


@dataclass
class Record:
    """What sandbox.json holds: the sandbox's name and speed, and its processes by their name."""

    name: str
    speed: float = DEFAULT_SPEED
    processes: dict[str, Process] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # a service that is not here, and why


def cache_root() -> Path:
    """The folder shared by all sandboxes of this user: ${XDG_CACHE_HOME:-~/.cache}/opslib."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "opslib"


def sandboxes_root() -> Path:
    """The folder that holds every sandbox's folder."""
    if own := os.environ.get("OPSLIB_SANDBOX_DIR"):
        return Path(own).absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "opslib" / "sandboxes"


def write_atomic(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old or the new content, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The JSON in a file; None when there is no such file. Raises SandboxError when the file is not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise SandboxError(
            f"{path} is damaged: {error}.", next="run `opslib sandbox down`, then `opslib sandbox up`."
        ) from error


def secret(path: Path) -> str:
    """The password in a file (mode 0600), made up at first use; hexadecimal: nothing must be quoted."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    value = secrets.token_hex(16)
    write_atomic(path, value + "\n", 0o600)
    return value


class Sandbox:
    """One sandbox by its name: its paths, its record, its lock.

    Raises BadInputError for a name that is not 1 to 40 lower-case letters, digits and inner hyphens.
    """

    def __init__(self, name: str = "default") -> None:
        if not NAME.match(name):
            raise BadInputError(
                f"{name!r} is no name for a sandbox.",
                next="use 1 to 40 lower-case letters, digits and hyphens, such as `default`.",
            )
        self.name = name
        self.path = sandboxes_root() / name

    @classmethod
    def at(cls, path: Path) -> Sandbox:
        """The sandbox whose folder is `path`, wherever the environment says that sandboxes lie."""
        sandbox = cls(path.name)
        sandbox.path = path.absolute()
        return sandbox

    # One property a path: everybody spells them the same way.
    @property
    def record_file(self) -> Path:
        return self.path / "sandbox.json"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def platform_kubeconfig(self) -> Path:
        return self.path / "platform" / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens.json"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    def log(self, process: str) -> Path:
        """The log file of one of the sandbox's processes."""
        return self.logs / f"{process}.log"

    def address(self, part: str) -> dict[str, Any] | None:
        """Where a part (kube, platform, postgres, redis, prometheus) listens; None if it never said."""
        found = read_json(self.path / part / "address.json")
        return found if isinstance(found, dict) else None

    def exists(self) -> bool:
        return self.record_file.exists()

    def load(self) -> Record:
        """The sandbox's record; an empty one when there is no such sandbox."""
        raw = read_json(self.record_file)
        if raw is None:
            return Record(self.name)
        processes = {key: Process(**value) for key, value in raw.get("processes", {}).items()}
        return Record(raw["name"], raw["speed"], processes, raw.get("left_out", {}))

    def save(self, record: Record) -> None:
        write_atomic(self.record_file, json.dumps(asdict(record), indent=1) + "\n", 0o600)

    @contextlib.contextmanager
    def lock(self, seconds: float = 120.0) -> Iterator[None]:
        """Hold the sandbox alone. The lock lies in the cache, so `down` can remove the folder meanwhile.

        Raises SandboxError when somebody else holds it for longer than `seconds`.
        """
        which = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        folder = cache_root() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{self.name}-{which}.lock")
        try:
            with lock.acquire(timeout=seconds):
                yield
        except Timeout as error:
            raise SandboxError(
                f"somebody else has been changing the sandbox {self.name} for over {seconds:.0f} s.",
                next="wait for the other `opslib sandbox` command, or look for it with `ps`.",
            ) from error
