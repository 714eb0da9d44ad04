"""Log lines as the services write them: winston on the console, levels in lower case and coloured.

Source: PLATFORM.md 1.6 (winston's console transport) and defect B4 (`grep ERROR` finds none of these).
"""

from __future__ import annotations

import datetime as dt

COLOURS = {"error": 31, "warn": 33, "info": 32, "debug": 34}
RANK = {"error": 0, "warn": 1, "info": 2, "debug": 3}


def winston(now: dt.datetime, level: str, message: str) -> str:
    """One line: `2026-11-22 14:02:11 [LEVEL]: message`, the level coloured with ANSI escapes."""
    stamp = now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{stamp} [\x1b[{COLOURS[level]}m{level}\x1b[39m]: {message}"


def shows(threshold: str, level: str) -> bool:
    """Whether LOG_LEVEL=threshold lets a line of this level through."""
    return RANK[level] <= RANK.get(threshold, RANK["info"])
