"""One stream output of a cell: redacted as a whole, and capped with its full text in a side file.

A secret can be split over two prints, so text is redacted together with what came before it; text is only let go of
where cutting makes no difference to the redaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import IO

from nbformat import NotebookNode

Redact = Callable[[str], str]

WINDOW = 64_000  # characters kept raw, to be redacted together with what follows
AROUND = 4_000  # characters on each side of a cut that must redact alike with and without it
CAP = 200_000  # characters of one output that stay in the notebook; the rest goes to a side file
HEAD = 60_000  # of a capped output, what is kept of its beginning
TAIL = 12_000  # and of its end


class StreamOutput:
    """Collects the pieces of one stdout or stderr output and keeps `node.text` what people may see of them."""

    def __init__(self, node: NotebookNode, redact: Redact, side: Callable[[], tuple[str, IO[bytes]]]) -> None:
        self.node = node
        self._redact = redact
        self._open = side
        self._done = ""  # redacted and final, as long as it is not capped
        self._raw = ""
        self._size = 0
        self._side: IO[bytes] | None = None
        self._name = ""
        self._hash = hashlib.sha256()
        self._last = ""
        self._stale = False

    def add(self, text: str) -> None:
        """One more piece."""
        self._raw += text
        self._stale = True
        while len(self._raw) > 2 * WINDOW:
            self._commit(self._cut())

    def settle(self) -> None:
        """Bring `node.text` up to date."""
        if not self._stale:
            return
        self._stale = False
        rest = self._redact(self._raw)
        if self._side is None:
            self.node.text = self._done + rest
        else:
            tail = (self._last + rest)[-TAIL:]
            self.node.text = f"{self._done}\n[… cut here; the whole text is in {self._name} …]\n{tail}"

    def close(self) -> None:
        """The output is complete: the side file, if any, gets the rest, and the note its size and hash."""
        if self._side is None and len(self._done) + len(self._raw) <= CAP:
            self.settle()
            return
        self._commit(len(self._raw))
        if self._side is None:  # only redaction made it shorter than the cap
            self.settle()
            return
        self._side.close()
        note = (
            f"[… {self._size:,} bytes in all; the whole text is in {self._name}, "
            f"sha256 {self._hash.hexdigest()} …]"
        )
        self.node.text = f"{self._done}\n{note}\n{self._last}"
        self._stale = False

    def _commit(self, cut: int) -> None:
        text = self._redact(self._raw[:cut])
        self._raw = self._raw[cut:]
        if self._side is None and len(self._done) + len(text) <= CAP:
            self._done += text
            return
        if self._side is None:
            self._name, self._side = self._open()
            whole, self._done = self._done + text, (self._done + text)[:HEAD]
            text = whole
        data = text.encode("utf-8", "replace")
        self._side.write(data)
        self._hash.update(data)
        self._size += len(data)
        self._last = (self._last + text)[-TAIL:]

    def _cut(self) -> int:
        raw = self._raw
        for anchor in range(WINDOW, WINDOW // 2, -AROUND):
            cut = raw.rfind("\n", 0, anchor) + 1 or anchor
            left, right = raw[max(0, cut - AROUND) : cut], raw[cut : cut + AROUND]
            if self._redact(left + right) == self._redact(left) + self._redact(right):
                return cut
        return WINDOW
