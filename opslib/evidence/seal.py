"""Seals: a hash over the bytes of everything a run left, in a chain that only grows.

A byte changed in a file, a file taken away or added, a seal changed, removed or put between others: all are found.
What it cannot show is the removal of the newest seals together with their runs; copy seals.jsonl elsewhere for that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from opslib.errors import EvidenceError

FILE = "seals.jsonl"
SCHEMA = "opslib.seal/1"
START = "0" * 64


@dataclass(frozen=True)
class Seal:
    """One line of the chain: the hashes of one run's files."""

    run: str
    folder: str  # relative to the evidence root
    files: dict[str, str]  # sha256 by name
    at: str
    previous: str
    hash: str


def seal(root: Path, folder: Path, run: str, at: str) -> Seal:
    """Append the seal of a run's folder to the chain and return it. Raises EvidenceError when that fails."""
    try:
        files = {name: digest(folder / name) for name in contents(folder)}
        # A spooled run lies outside of the root; its seal says where.
        place = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
        with FileLock(root / f".{FILE}.lock"):
            chain = read(root)
            previous = chain[-1].hash if chain else START
            body = {
                "schema": SCHEMA,
                "run": run,
                "folder": place,
                "files": files,
                "at": at,
                "previous": previous,
            }
            line = json.dumps(body, sort_keys=True, separators=(",", ":"))
            whole = {**body, "hash": hashlib.sha256(line.encode()).hexdigest()}
            with (root / FILE).open("ab") as file:
                file.write(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise EvidenceError(f"the run could not be sealed: {error}", target=str(folder)) from error
    return Seal(run, place, files, at, previous, str(whole["hash"]))


def read(root: Path) -> list[Seal]:
    """The chain. Raises EvidenceError, naming the line, when a line is not a seal."""
    path = root / FILE
    if not path.exists():
        return []
    seals = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            data = json.loads(line)
            seals.append(Seal(**{key: data[key] for key in Seal.__dataclass_fields__}))
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError(f"line {number} of the seals is not a seal", target=str(path)) from error
    return seals


def verify_chain(root: Path) -> list[str]:
    """What is wrong with the chain itself, one sentence each; empty when it is whole."""
    path = root / FILE
    if not path.exists():
        return []
    problems, previous = [], START
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            data: dict[str, Any] = json.loads(line)
            claimed = data.pop("hash")
            body = json.dumps(data, sort_keys=True, separators=(",", ":"))
            canonical = json.dumps({**data, "hash": claimed}, sort_keys=True, separators=(",", ":"))
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{FILE}, line {number}: not a seal")
            previous = ""
            continue
        if hashlib.sha256(body.encode()).hexdigest() != claimed or canonical.encode() != line:
            problems.append(f"{FILE}, line {number}: changed after it was written (run {data.get('run')})")
        if data.get("previous") != previous:
            problems.append(
                f"{FILE}, line {number}: a seal before it was removed or put in (run {data.get('run')})"
            )
        previous = str(claimed)
    if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        problems.append(f"{FILE}: its last line was cut off")
    return problems


def verify_files(root: Path, found: Seal) -> list[str]:
    """What is wrong with a sealed run's files, one sentence each; empty when they are as they were sealed."""
    folder = root / found.folder
    if not folder.is_dir():
        return [f"run {found.run}: its folder {found.folder} is gone"]
    problems, here = [], contents(folder)
    for name, wanted in found.files.items():
        if name not in here:
            problems.append(f"run {found.run}: {name} is gone")
        elif digest(folder / name) != wanted:
            problems.append(f"run {found.run}: {name} was changed after it was sealed")
    problems += [
        f"run {found.run}: {name} was added after it was sealed" for name in here if name not in found.files
    ]
    return problems


def contents(folder: Path) -> Sequence[str]:
    """The files of a run's folder, relative names, sorted; unfinished temporary files are left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if not Path(name).name.startswith("."))


def digest(path: Path) -> str:
    """sha256 over the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
