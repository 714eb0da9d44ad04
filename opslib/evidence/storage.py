"""Where the files of a run go: atomically, never over another run, and elsewhere when the folder goes bad.

Registered with papermill as the scheme `evidence://`; `opslib run` uses the same Store.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from opslib.errors import EvidenceError, UsageError
from opslib.records.journal import spool_folder

SCHEME = "evidence://"


class Store:
    """The folder of one run. When it can no longer be written, the spool takes over, and `spooled` says why."""

    def __init__(self, folder: Path) -> None:
        self.home = folder.absolute()
        self.folder = self.home
        self.spooled = ""
        self._mine: set[str] = set()

    def create(self) -> None:
        """Make the folder, which must not exist yet. Raises UsageError when it cannot be made or written."""
        try:
            self.home.parent.mkdir(parents=True, exist_ok=True)
            self.home.mkdir()
            probe = self.home / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except FileExistsError as error:
            raise UsageError("the evidence folder holds another run", target=str(self.home)) from error
        except OSError as error:
            raise UsageError(
                f"the evidence folder cannot be written: {error.strerror or error}",
                target=str(self.home),
                next="choose another one with --evidence, or mend its permissions; nothing was run",
            ) from error

    def write(self, name: str, data: bytes) -> Path:
        """Write a file whole or not at all, and return where it is. Raises EvidenceError when even the spool fails."""
        try:
            return self._put(self.folder / name, data, first=name not in self._mine)
        except FileExistsError as error:
            raise EvidenceError("this file belongs to another run", target=str(self.folder / name)) from error
        except OSError as error:
            if self.spooled:
                raise EvidenceError(
                    f"the spool cannot be written: {error}", target=str(self.folder)
                ) from error
            self.spool(error.strerror or str(error))
            return self.write(name, data)
        finally:
            self._mine.add(name)

    def spool(self, why: str) -> None:
        """Write to the spool from now on, and say so on stderr."""
        self.spooled = why
        self._mine.clear()
        for base in spools():
            try:
                base.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.folder = Path(tempfile.mkdtemp(prefix=f"{self.home.name}-", dir=base))
            except OSError:
                continue
            sys.stderr.write(
                f"opslib: the evidence folder {shown(self.home)} cannot be written any more ({why}); "
                f"the evidence goes on in {shown(self.folder)}\n"
            )
            return
        raise EvidenceError(
            f"neither the evidence folder ({why}) nor a spool can be written", target=str(self.home)
        )

    def _put(self, path: Path, data: bytes, *, first: bool) -> Path:
        if first and path.exists():
            raise FileExistsError(path)
        if path.parent != self.folder:
            path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)
        return path


class EvidenceHandler:
    """papermill's storage for `evidence://FOLDER/FILE.ipynb`; every folder is one run's."""

    _stores: dict[Path, Store] = {}  # noqa: RUF012 - one process, one registry, as papermill's own

    @classmethod
    def read(cls, path: str) -> str:
        """The text of the file."""
        return cls._path(path).read_text(encoding="utf-8")

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        """The files in the folder."""
        return sorted(str(found) for found in cls._path(path).iterdir())

    @classmethod
    def write(cls, buf: str, path: str) -> None:
        """Write the notebook atomically; its folder is made; another run's file is never overwritten."""
        cls.store(path).write(cls._path(path).name, buf.encode())

    @classmethod
    def store(cls, path: str) -> Store:
        """The store behind an `evidence://` path."""
        folder = cls._path(path).parent
        if folder not in cls._stores:
            folder.mkdir(parents=True, exist_ok=True)
            cls._stores[folder] = Store(folder)
        return cls._stores[folder]

    @classmethod
    def pretty_path(cls, path: str) -> str:
        """The path as people read it."""
        return shown(cls._path(path))

    @staticmethod
    def _path(path: str) -> Path:
        return Path(path.removeprefix(SCHEME)).absolute()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file's content whole: temporary file, fsync, rename. Raises OSError; the old content then stands."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def spools() -> list[Path]:
    """Folders for evidence whose own folder went bad, best first; the journal's spool comes first."""
    return [spool_folder(), Path(tempfile.gettempdir()) / f"opslib-spool-{os.getuid()}"]


def shown(path: Path) -> str:
    """The path relative to the current folder where it lies below it, absolute otherwise."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)
