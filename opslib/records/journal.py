"""The journal of a run: JSON lines, each fsynced before the run goes on, chained by hashes.

'Was it applied?' is answered from here and from the mark on the object, never from the notebook, whose
outputs reach the disk late
(DESIGN.md, idea 2). A line is `{...,"prev":HASH,...,"hash":HASH}`: its hash covers the bytes before it in the
line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError
from opslib.records.model import now, plain, stamp

SCHEMA = "opslib.journal/1"
FILE = "journal.jsonl"
START = "0" * 64  # what the first entry points back to
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}$')

Json = dict[str, Any]
Redact = Callable[[Any], Any]


class Journal:
    """Appends entries to one file; a file that cannot be written any more is continued in the spool folder.

    Raises EvidenceError when neither can be written: nothing may be changed that cannot be journaled.
    """

    def __init__(self, path: Path, run: str, redact: Redact = lambda value: value) -> None:
        self.path = path
        self.run = run
        self.spooled: Path | None = None
        self._redact = redact
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._seq, self._prev = 0, START
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._continue(path)
            self._fd = _open(path)
        except OSError as error:
            raise EvidenceError(
                f"the journal cannot be written: {error.strerror or error}",
                target=str(path),
                next="choose another evidence folder (--evidence, OPSLIB_EVIDENCE)",
            ) from error
        if torn:
            self._write_bytes(b"\n")
            self.write("recovered", torn=hashlib.sha256(torn).hexdigest())

    def write(self, entry: str, **fields: Any) -> Json:
        """Append one entry and fsync it; returns it as written (redacted). Thread-safe.

        An interrupt of the caller does not cut the entry off: KeyboardInterrupt strikes the main thread alone, and the
        entry is written in another.
        """
        return self._writer.submit(self._write, entry, fields).result()

    def _write(self, entry: str, fields: Mapping[str, Any]) -> Json:
        body = self._body(entry, fields)
        try:
            self._append(body)
        except OSError as error:
            self._spool(error)
            body = self._body(entry, fields)
            self._append(body)
        return body

    def close(self) -> None:
        """Close the file; entries already written are safe without it."""
        self._writer.shutdown()
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _body(self, entry: str, fields: Mapping[str, Any]) -> Json:
        head = {"schema": SCHEMA, "run": self.run, "seq": self._seq, "at": stamp(now()), "entry": entry}
        clean: Json = self._redact({key: plain(value) for key, value in fields.items()})
        return {**head, **clean, "prev": self._prev}

    def _append(self, body: Json) -> None:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        digest = hashlib.sha256(text[:-1]).hexdigest()
        self._write_bytes(text[:-1] + f',"hash":"{digest}"}}\n'.encode())
        self._seq, self._prev = self._seq + 1, digest

    def _write_bytes(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    def _spool(self, cause: OSError) -> None:
        """Go on in the spool folder; the first entry there says why and where the beginning is."""
        path = spool_folder() / f"{self.run}.{FILE}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = _open(path)
        except OSError as error:
            raise EvidenceError(
                f"neither the journal nor its spool can be written: {error.strerror or error}",
                target=f"{self.path}, {path}",
                next="free disk space; nothing more will be changed by this run",
            ) from cause
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd, self.spooled = fd, path
        self._append(self._body("spooled", {"because": str(cause.strerror or cause), "from": str(self.path)}))

    def _continue(self, path: Path) -> bytes:
        """Take up the chain of an existing file; returns its torn last line."""
        if not path.exists():
            return b""
        read_back = read(path)
        if read_back.entries:
            self._seq = int(read_back.entries[-1]["seq"]) + 1
            self._prev = str(read_back.entries[-1]["hash"])
        return read_back.tail


@dataclass(frozen=True)
class Reading:
    """A journal read back: its entries and, when the last write was cut off, the bytes of the torn line."""

    path: Path
    entries: list[Json] = field(default_factory=list)
    tail: bytes = b""
    broken: list[str] = field(default_factory=list)  # why the chain does not hold; empty: it holds

    @property
    def torn(self) -> bool:
        """Whether the last line was cut off, by a crash in the middle of a write."""
        return bool(self.tail)

    def of(self, *kinds: str) -> list[Json]:
        """The entries of these kinds, in order."""
        return [entry for entry in self.entries if entry.get("entry") in kinds]

    def proposals(self) -> list[Json]:
        """The changes this run proposed, as `records.model.change_json` has them, in order."""
        return [entry["change"] for entry in self.of("proposal")]

    def applied(self) -> list[Json]:
        """One mapping an applied change, in order: confirmation, change, receipt, undo_spec, settled, verified.

        `settled` and `verified` are true, false or None (not known: the run ended before).
        """
        intents = {entry["confirmation"]: entry for entry in self.of("intent")}
        result: list[Json] = []
        for receipt in self.of("receipt"):
            after = [entry for entry in self.entries if entry["seq"] > receipt["seq"]]
            mine = [entry for entry in after if entry.get("confirmation") == receipt["confirmation"]]
            kinds = {entry["entry"]: entry for entry in mine}
            verified = True if "verified" in kinds else False if "not_verified" in kinds else None
            result.append(
                {
                    "confirmation": receipt["confirmation"],
                    "change": intents.get(receipt["confirmation"], {}).get("change", {}),
                    "receipt": receipt.get("receipt", {}),
                    "undo_spec": receipt.get("undo_spec"),
                    "settled": kinds["settled"].get("ok") if "settled" in kinds else None,
                    "verified": verified,
                }
            )
        return result

    def unfinished(self) -> list[Json]:
        """The intents without a result: the run died, or lost the answer, while it was applying them."""
        known = {entry["confirmation"] for entry in self.of("receipt", "not_applied")}
        return [entry for entry in self.of("intent") if entry["confirmation"] not in known]

    def writes(self, confirmation: str) -> list[Json]:
        """The requests that were about to be sent for a change."""
        return [entry for entry in self.of("writing") if entry.get("confirmation") == confirmation]

    def outcome(self) -> Json | None:
        """The last outcome the run gave; None: it never came to an end, which reads as failed."""
        finished = self.of("finished")
        return finished[-1] if finished else None


def read(path: Path) -> Reading:
    """Read a journal, also one whose last line was torn; `broken` lists every place where the chain does not hold.

    Raises EvidenceError when the file cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"the journal cannot be read: {error.strerror or error}",
            target=str(path),
            next="look for it in the spool",
        ) from error
    lines = data.split(b"\n")
    tail = lines.pop()
    entries: list[Json] = []
    broken: list[str] = []
    prev, lost = START, ""
    for number, line in enumerate(lines, 1):
        entry = _parse(line)
        if entry is None:
            lost = hashlib.sha256(line).hexdigest()
            broken.append(f"line {number} is not a journal entry")
            continue
        if lost and entry.get("entry") == "recovered" and entry.get("torn") == lost:
            broken.pop()  # a torn line that the next writer found and named is part of the record
        lost = ""
        if entry["prev"] != prev or entry.get("seq") != len(entries):
            broken.append(f"line {number} does not follow the line before it")
        if not entry.pop("_intact"):
            broken.append(f"line {number} was changed after it was written")
        prev = entry["hash"]
        entries.append(entry)
    return Reading(path, entries, tail, broken)


def verify(path: Path) -> list[str]:
    """Why the journal cannot be trusted, one sentence each;

    empty when the chain holds (a torn end is no forgery).
    """
    return read(path).broken


def follow(folder: Path) -> Iterator[Path]:
    """Every journal under an evidence root or a run's folder, oldest first."""
    yield from sorted(folder.rglob(FILE), key=lambda path: path.parent.name[-26:])


def find(root: Path, run: str) -> Path | None:
    """The journal of a run in the archive under `root`; None when it is not there."""
    return next((path for path in root.glob(f"*/*{run}/{FILE}")), None)


def spool_folder() -> Path:
    """Where evidence goes when its own folder cannot be written any more."""
    state = os.environ.get("XDG_STATE_HOME")
    preferred = (Path(state) if state else Path.home() / ".local" / "state") / "opslib" / "spool"
    try:
        preferred.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / "opslib-spool"
    return preferred if os.access(preferred, os.W_OK) else Path(tempfile.gettempdir()) / "opslib-spool"


def _parse(line: bytes) -> Json | None:
    match = _TAIL.search(line)
    if match is None:
        return None
    try:
        entry: Json = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or "prev" not in entry or "entry" not in entry:
        return None
    return {**entry, "_intact": hashlib.sha256(line[: match.start()]).hexdigest() == match.group(1).decode()}


def _open(path: Path) -> int:
    fresh = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if fresh:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name of a new file is safe only with its folder
        finally:
            os.close(folder)
    return fd
