"""The notebook of a run while it runs: what really happened to each cell, redacted, saved atomically.

papermill's own manager calls cells completed that never ran (LESSONS.md 1.1); this one says only what it saw.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import NotebookExecutionManager
from papermill.iorw import papermill_io

from opslib.evidence.stop import Stop
from opslib.evidence.storage import SCHEME, EvidenceHandler, Store, write_atomically
from opslib.evidence.streams import CAP, StreamOutput
from opslib.records.redact import Redactor

MIME_CAP = 2_000_000  # characters of one face of an output (a plot is some 100 kB) that stay in the notebook
TEXT_FIELDS = ("evalue", "traceback", "data", "metadata", "ename")

Progress = Callable[[int, NotebookNode, str], None]


class EvidenceManager(NotebookExecutionManager):
    """Keeps `nb` and its truth. Cell metadata `opslib.status` is one of not run, running, completed, failed."""

    def __init__(
        self,
        nb: NotebookNode,
        output_path: str | None,
        *,
        redactor: Redactor,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(nb, output_path=output_path, progress_bar=False)
        self.redact = redactor.text
        self._redactor = redactor
        self.store = store
        self.notify = progress
        self.current = -1
        self._streams: list[StreamOutput] = []
        self._ready: dict[int, dict[str, Any]] = {}  # cells as they are written, until something touches them
        self._dirty = False
        if store is None and output_path and output_path.startswith(SCHEME):
            self.store = EvidenceHandler.store(output_path)

    # What papermill and the client report ------------------------------------------------------------------------

    def notebook_start(self, **kwargs: Any) -> None:
        """Nothing has run yet."""
        for cell in self.nb.cells:
            cell.metadata["opslib"] = {"status": "not run"}
        super().notebook_start(**kwargs)

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **_: Any) -> None:
        """The cell begins."""
        index = self.current if cell_index is None else cell_index
        self.current = index
        cell.metadata["opslib"] = {"status": "running"}
        cell.metadata.papermill.update(
            start_time=self.now().isoformat(), status=self.RUNNING, exception=False
        )
        self.touched(index)
        if self.notify:
            self.notify(index, cell, "running")

    def cell_exception(self, cell: NotebookNode, cell_index: int | None = None, **_: Any) -> None:
        """The cell failed."""
        super().cell_exception(cell, cell_index=cell_index)
        cell.metadata["opslib"] = {"status": "failed"}
        self.touched(cell_index)

    def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **_: Any) -> None:
        """The cell ended, completed or failed."""
        index = self.current if cell_index is None else cell_index
        self._close_streams()
        end, about = self.now(), cell.metadata.papermill
        about["end_time"] = end.isoformat()
        started = about.get("start_time")
        if started:
            about["duration"] = (end - type(end).fromisoformat(started)).total_seconds()
        if about["status"] != self.FAILED:
            about["status"] = self.COMPLETED
            cell.metadata["opslib"] = {"status": "completed"}
        self.touched(index)
        if cell.cell_type == "code":
            self.save()
        if self.notify:
            self.notify(index, cell, cell.metadata["opslib"]["status"])

    def stopped(self, why: Stop) -> None:
        """The run stopped inside the current cell (or before the first): say so in the cell and mark it failed."""
        if self.current < 0 or self.nb.cells[self.current].metadata["opslib"]["status"] != "running":
            self.nb.metadata.papermill["exception"] = True
            return
        cell = self.nb.cells[self.current]
        lines = [self.redact(f"{why.kind}: {why.says}"), *([self.redact(why.details)] if why.details else [])]
        if cell.cell_type == "code":
            name = f"Stopped({why.kind})"
            cell.outputs.append(
                new_output("error", ename=name, evalue=self.redact(why.says), traceback=lines)
            )
        self.cell_exception(cell, cell_index=self.current)
        self.cell_complete(cell, cell_index=self.current)

    def notebook_complete(self, **_: Any) -> None:
        """The run is over. Cells that did not run stay `pending` and `not run`."""
        self._close_streams()
        self.end_time = self.now()
        about = self.nb.metadata.papermill
        about["end_time"] = self.end_time.isoformat()
        about["duration"] = (self.end_time - self.start_time).total_seconds()
        about["exception"] = bool(about.get("exception"))
        self.nb.cells = [self._clean(cell) for cell in self.nb.cells]
        self.nb.metadata = self._walk(self.nb.metadata)
        self._ready.clear()
        self.save()

    # Outputs -----------------------------------------------------------------------------------------------------

    def stream(self, cell: NotebookNode, index: int, name: str, text: str) -> None:
        """A piece of stdout or stderr."""
        last = self._streams[-1] if self._streams else None
        if last is None or last.node.name != name or not cell.outputs or cell.outputs[-1] is not last.node:
            if last is not None and (not cell.outputs or cell.outputs[-1] is not last.node):
                self._close_streams()
            node = new_output("stream", name=name, text="")
            cell.outputs.append(node)
            last = StreamOutput(node, self.redact, lambda: self._side(index, name, "txt"))
            self._streams.append(last)
        last.add(text)
        self.touched(index)

    def admit(self, content: dict[str, Any], index: int) -> None:
        """Redact and cap, in place, the content of a message that is no stream."""
        for key in (*TEXT_FIELDS, "state"):
            if key in content:
                content[key] = self._walk(content[key])
        data = content.get("data")
        if not isinstance(data, dict):
            return
        for mime, value in data.items():
            text = value if isinstance(value, str) else ""
            limit = CAP if mime == "text/plain" else MIME_CAP
            if len(text) > limit:
                data[mime] = self._capped(mime, text, index)

    def touched(self, index: int | None) -> None:
        """This cell (None: any) is no longer as it was last written."""
        self._dirty = True
        if index is None:
            self._ready.clear()
        else:
            self._ready.pop(index, None)

    # Writing -----------------------------------------------------------------------------------------------------

    def autosave_cell(self, **_: Any) -> None:
        """Save when something changed since the last time."""
        if self._dirty:
            self.save()

    def save(self, **_: Any) -> None:
        """Write the notebook, redacted, whole or not at all."""
        for stream in self._streams:
            stream.settle()
        self._dirty = False
        if not self.output_path:
            return
        if self.store is not None:
            name = Path(self.output_path.removeprefix(SCHEME)).name
            self.store.write(name, self.rendered())
            if self.store.spooled and self.nb.metadata.get("opslib", {}).get("spooled") != self.store.spooled:
                self.nb.metadata.setdefault("opslib", NotebookNode())["spooled"] = self.store.spooled
                self.store.write(name, self.rendered())
        elif "://" in self.output_path:
            papermill_io.write(self.rendered().decode(), self.output_path)
        else:
            write_atomically(Path(self.output_path), self.rendered())
        self.last_save_time = self.now()

    def rendered(self) -> bytes:
        """The notebook's bytes, redacted."""
        cells = []
        for index, cell in enumerate(self.nb.cells):
            if index not in self._ready:
                self._ready[index] = _split(self._clean(cell))
            cells.append(self._ready[index])
        whole = {
            "cells": cells,
            "metadata": self._walk(self.nb.metadata),
            "nbformat": self.nb.nbformat,
            "nbformat_minor": self.nb.nbformat_minor,
        }
        return (json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(
            "utf-8", "replace"
        )

    def _clean(self, cell: NotebookNode) -> NotebookNode:
        """The cell with its source and metadata redacted; its outputs were, when they came in."""
        kept = {key: value for key, value in cell.items() if key in ("outputs", "execution_count")}
        return NotebookNode(
            {**{key: self._walk(value) for key, value in cell.items() if key not in kept}, **kept}
        )

    def _walk(self, value: Any, name: str = "") -> Any:
        if isinstance(value, str):
            return self._redactor.value(value, name)
        if isinstance(value, Mapping):
            pairs = ((self.redact(key), self._walk(item, key)) for key, item in value.items())
            return NotebookNode(pairs) if isinstance(value, NotebookNode) else dict(pairs)
        if isinstance(value, list | tuple):
            # Lines of a traceback or of a source belong together: a secret may stand in two of them.
            whole = "\n".join(value) if value and all(isinstance(item, str) for item in value) else ""
            if whole and (clean := self.redact(whole)) != whole:
                return clean.split("\n")
            return [item if whole else self._walk(item) for item in value]
        return value

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def _capped(self, mime: str, text: str, index: int) -> str:
        ending = {"text/html": "html", "image/svg+xml": "svg", "text/markdown": "md"}.get(mime, "txt")
        name, file = self._side(index, "output", ending)
        data = text.encode("utf-8", "replace")
        with file:
            file.write(data)
        note = (
            f"{len(data):,} bytes in all; the whole is in {name}, sha256 {hashlib.sha256(data).hexdigest()}"
        )
        return f"<p>{note}</p>" if mime == "text/html" else f"{text[:2000]}\n[… {note} …]"

    def _side(self, index: int, kind: str, ending: str) -> tuple[str, IO[bytes]]:
        """A new side file beside the notebook: its name relative to the notebook, and the file open to write."""
        for _ in range(2):
            folder = (
                self.store.folder
                if self.store
                else Path(self.output_path or "output.ipynb").absolute().parent
            )
            side = folder / "outputs"
            with contextlib.suppress(FileExistsError):
                try:
                    side.mkdir(exist_ok=True)
                    number = 1 + sum(1 for _ in side.glob(f"cell-{index:02d}-*"))
                    name = f"outputs/cell-{index:02d}-{kind}-{number}.{ending}"
                    return name, (folder / name).open("xb")
                except FileExistsError:
                    raise
                except OSError as error:
                    if not self.store:
                        raise
                    self.store.spool(error.strerror or str(error))
        raise FileExistsError(f"no free name for a side file of cell {index}")


def _binary(key: object) -> bool:
    return key in ("image/png", "image/jpeg", "application/pdf")


def _split(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The cell as nbformat writes it: text as a list of lines, so that a diff is readable."""
    result = dict(cell)
    result["source"] = str(cell["source"]).splitlines(keepends=True)
    if "outputs" in cell:
        result["outputs"] = [_split_output(output) for output in cell["outputs"]]
    return result


def _split_output(output: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(output)
    if isinstance(result.get("text"), str):
        result["text"] = result["text"].splitlines(keepends=True)
    if "data" in result:
        result["data"] = {
            mime: value.splitlines(keepends=True) if isinstance(value, str) and not _binary(mime) else value
            for mime, value in result["data"].items()
        }
    return result
