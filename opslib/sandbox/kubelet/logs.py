"""What containers printed: one log a container instance, bounded, readable while it grows.

Lines are kept on disk in the CRI format (as a kubelet's /var/log/pods), so that a restarted process still
answers `kubectl logs`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import shutil
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

KEPT_LINES = 5000  # a real node rotates at 10 MiB; this bounds a sandbox's memory


def nano_stamp(moment: dt.datetime) -> str:
    """RFC 3339 with nanoseconds, as container runtimes write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def parse_nano(text: str) -> dt.datetime:
    """A stamp of any sub-second precision.

    Raises ValueError when it is none.
    """
    match = re.fullmatch(r"(.*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    zone = "+00:00" if match[3] == "Z" else match[3]
    fraction = (match[2] or "0")[:6].ljust(6, "0")
    return dt.datetime.fromisoformat(f"{match[1]}.{fraction}{zone}")


class ContainerLog:
    """The log of one container instance."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.lines: deque[tuple[dt.datetime, str]] = deque(maxlen=KEPT_LINES)
        self.written = 0  # lines ever written: readers that follow count from it
        self.closed = False
        self._unsaved: list[str] = []
        self._grown = asyncio.Event()
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        for row in path.read_text(errors="replace").splitlines():
            when, _, rest = row.partition(" ")
            self.lines.append((parse_nano(when), rest.removeprefix("stdout F ")))
            self.written += 1

    def write(self, text: str) -> None:
        now = dt.datetime.now(dt.UTC)
        for line in text.split("\n"):
            self.lines.append((now, line))
            self.written += 1
            if self.path is not None:
                self._unsaved.append(f"{nano_stamp(now)} stdout F {line}\n")
        self._grown.set()

    def close(self) -> None:
        """No more lines come: the container has ended."""
        self.closed = True
        self._grown.set()
        self.flush()

    def flush(self) -> None:
        """Put unsaved lines on disk."""
        if self.path is None or not self._unsaved:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.writelines(self._unsaved)
        self._unsaved.clear()

    async def grown(self, seen: int, seconds: float) -> None:
        """Return when there are more lines than `seen`, the log is closed, or the time is up."""
        if self.written > seen or self.closed:
            return
        self._grown.clear()
        try:
            await asyncio.wait_for(self._grown.wait(), seconds)
        except TimeoutError:
            return


@dataclass(frozen=True)
class LogOptions:
    """corev1.PodLogOptions."""

    follow: bool = False
    tail: int | None = None
    since: dt.datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


async def read(log: ContainerLog, options: LogOptions) -> AsyncIterator[bytes]:
    """The log as `kubectl logs` gets it, in pieces; with follow until the container ends."""
    seen = log.written
    lines = list(log.lines)
    if options.since is not None:
        lines = [entry for entry in lines if entry[0] >= options.since]
    if options.tail is not None and options.tail >= 0:
        lines = lines[-options.tail :] if options.tail else []
    left = options.limit_bytes
    while True:
        data = b"".join(
            (f"{nano_stamp(when)} {line}\n" if options.timestamps else f"{line}\n").encode()
            for when, line in lines
        )
        if left is not None:
            data = data[:left]
            left -= len(data)
        if data:
            yield data
        if not options.follow or left == 0:
            return
        await log.grown(seen, 5.0)
        fresh = log.written - seen
        seen = log.written
        lines = list(log.lines)[-fresh:] if fresh else []
        if log.closed and not fresh:
            return


class LogStore:
    """All logs of one kubelet: the current and the previous instance of each container are kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._logs: dict[tuple[str, str], dict[int, ContainerLog]] = {}

    def open(self, uid: str, container: str, restart: int) -> ContainerLog:
        """The log of one instance; older ones than the previous are dropped."""
        logs = self._logs.setdefault((uid, container), {})
        if restart not in logs:
            logs[restart] = ContainerLog(self._path(uid, container, restart))
        for old in [number for number in logs if number < restart - 1]:
            path = logs.pop(old).path
            if path is not None:
                path.unlink(missing_ok=True)
        return logs[restart]

    def find(self, uid: str, container: str, restart: int) -> ContainerLog | None:
        """The log of one instance, from memory or disk, or None."""
        found = self._logs.get((uid, container), {}).get(restart)
        if found is None:
            path = self._path(uid, container, restart)
            if path is not None and path.exists():
                found = ContainerLog(path)
                found.closed = True
                self._logs.setdefault((uid, container), {})[restart] = found
        return found

    def drop(self, uid: str) -> None:
        """Forget a pod's logs, in memory and on disk."""
        for key in [key for key in self._logs if key[0] == uid]:
            for log in self._logs.pop(key).values():
                log.path = None
                log.close()
        if self.folder is not None:
            shutil.rmtree(self.folder / uid, ignore_errors=True)

    def flush(self) -> None:
        for logs in self._logs.values():
            for log in logs.values():
                log.flush()

    def _path(self, uid: str, container: str, restart: int) -> Path | None:
        return None if self.folder is None else self.folder / uid / container / f"{restart}.log"
