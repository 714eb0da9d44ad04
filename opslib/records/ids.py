"""Names of runs: ULIDs, which sort by the time they were made."""

from __future__ import annotations

import re

from ulid import ULID

PATTERN = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def new_id() -> str:
    """A new run id: 26 characters, sortable by time."""
    return str(ULID())


def is_id(text: str) -> bool:
    """Whether `text` is a whole run id."""
    return PATTERN.fullmatch(text) is not None
