"""Programs that no wheel holds: found on PATH, or unpacked from a Debian package, installing nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

from opslib.sandbox.processes import remove
from opslib.sandbox.state import cache_root

SECONDS = 180.0


class LeftOutError(Exception):
    """A program cannot be had on this machine; the text says why, and what would help."""


def programs(package: str, names: tuple[str, ...]) -> dict[str, Path]:
    """Where the programs of a Debian package are: on PATH, else unpacked in the cache, else downloaded first.

    Raises LeftOutError when that is not possible; the sandbox then does without.
    """
    on_path = {name: shutil.which(name) for name in names}
    found = {name: Path(path) for name, path in on_path.items() if path}
    if len(found) == len(names):
        return found
    folder = cache_root() / "debs" / package
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{package}.lock"):
        if not all((folder / name).exists() for name in names):
            _fetch(package, names, folder)
    return {name: folder / name for name in names}


def _fetch(package: str, names: tuple[str, ...], folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise LeftOutError(
            f"{names[0]} is not on PATH and this is not Debian or Ubuntu; install {package} yourself"
        )
    work = folder.with_name(f"{package}.part")
    remove(work)
    work.mkdir()
    try:
        done = _run(["apt-get", "download", package], work)
        if done.returncode and os.geteuid() == 0:
            # A fresh image has no package lists yet.
            _run(["apt-get", "update"], work)
            done = _run(["apt-get", "download", package], work)
        archives = list(work.glob("*.deb"))
        if done.returncode or not archives:
            said = " ".join(done.stderr.split())[-200:]
            raise LeftOutError(f"{names[0]} is not on PATH and `apt-get download {package}` failed: {said}")
        unpacked = _run(["dpkg", "-x", str(archives[0]), "tree"], work)
        if unpacked.returncode:
            raise LeftOutError(
                f"`dpkg -x {archives[0].name}` failed: {' '.join(unpacked.stderr.split())[-200:]}"
            )
        remove(folder)
        folder.mkdir()
        for name in names:
            (work / "tree/usr/bin" / name).replace(folder / name)
    finally:
        remove(work)


def _run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(argv, 1, "", str(error))
