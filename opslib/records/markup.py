"""Small pieces of HTML, all escaped: readable in light and dark themes, without script, and on GitHub, which drops every style.

Status is never colour alone: each has its own sign and word. The colours stay apart for colour-blind readers
(after Okabe and Ito).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

ROWS_SHOWN = 30
CELL_SHOWN = 300

SIGNS = {"ok": "✔", "warning": "▲", "critical": "✖", "unknown": "?", "not installed": "–"}
_INK = {
    "ok": "#00735c",
    "warning": "#8a5a00",
    "critical": "#b3361b",
    "unknown": "#1f5fa8",
    "not installed": "#5f6368",
    "plain": "#5f6368",
}
_TINT = {
    "ok": "rgba(0,158,115,.10)",
    "warning": "rgba(230,159,0,.13)",
    "critical": "rgba(213,94,0,.13)",
    "unknown": "rgba(86,140,233,.13)",
    "not installed": "rgba(128,128,128,.10)",
    "plain": "rgba(128,128,128,.10)",
}


def text(value: Any) -> str:
    """Any value as escaped text."""
    return escape(str(value), quote=True)


def badge(status: str, word: str = "") -> str:
    """A sign and a word on the status' colour."""
    sign = SIGNS.get(status, "•")
    style = f"background:{_INK.get(status, _INK['plain'])};color:#fff;border-radius:4px;padding:1px 8px;white-space:nowrap"
    return f'<b style="{style}">{sign} {text(word or status)}</b>'


def panel(status: str, *parts: str) -> str:
    """A block with the status' colour at its left edge."""
    tone = status if status in _INK else "plain"
    style = f"border-left:4px solid {_INK[tone]};background:{_TINT[tone]};padding:8px 14px;margin:4px 0;border-radius:0 6px 6px 0"
    return f'<div style="{style}">{"".join(part for part in parts if part)}</div>'


def line(*parts: str) -> str:
    """One line of a panel; empty parts are left out."""
    kept = [part for part in parts if part]
    return f"<div>{' '.join(kept)}</div>" if kept else ""


def small(value: Any) -> str:
    """Secondary text."""
    return f'<small style="opacity:.75">{text(value)}</small>' if value not in ("", None) else ""


def bold(value: Any) -> str:
    """Text that carries the sentence."""
    return f"<b>{text(value)}</b>"


def code(value: Any) -> str:
    """A word a person may type."""
    return f"<code>{text(value)}</code>"


def bullets(items: Iterable[Any]) -> str:
    """A list of sentences."""
    rows = "".join(f"<li>{text(item)}</li>" for item in items)
    return f'<ul style="margin:2px 0 4px 0;padding-left:22px">{rows}</ul>' if rows else ""


def details(summary: str, body: str, *, opened: bool = False) -> str:
    """A part that can be folded; `summary` and `body` are HTML."""
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{body}</details>" if body else ""


def pre(value: str) -> str:
    """Preformatted text: commands, logs."""
    return f'<pre style="{_PRE}">{text(value)}</pre>' if value else ""


_PRE = "margin:4px 0;padding:8px 10px;background:rgba(128,128,128,.12);border-radius:4px;overflow-x:auto;white-space:pre-wrap;font-family:monospace"


def diff(value: str) -> str:
    """A unified diff; + and - say what colour says."""
    if not value:
        return ""
    inks = {"+": _TINT["ok"].replace(".10", ".22"), "-": _TINT["critical"].replace(".13", ".24")}
    lines = []
    for row in value.splitlines():
        ink = "" if row.startswith(("+++", "---")) else inks.get(row[:1], "")
        lines.append(
            f'<span style="background:{ink};display:inline-block;width:100%">{text(row)}</span>'
            if ink
            else text(row)
        )
    return f'<pre style="{_PRE}">' + "\n".join(lines) + "</pre>"


def pairs(items: Mapping[str, str]) -> str:
    """A two-column table: label and HTML value; empty values are left out."""
    cell = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;border:0;background:none"
    rows = "".join(
        f'<tr style="background:none"><td style="{cell};white-space:nowrap;opacity:.75">{text(label)}</td><td style="{cell}">{value}</td></tr>'
        for label, value in items.items()
        if value
    )
    return f'<table style="border-collapse:collapse;border:0;margin:4px 0">{rows}</table>' if rows else ""


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]], strong: int = -1) -> str:
    """A table of HTML cells; row number `strong` is marked."""
    cell = "text-align:left;vertical-align:top;padding:4px 10px;border:1px solid rgba(128,128,128,.35)"
    head = "".join(
        f'<th style="{cell};background:rgba(128,128,128,.15)">{text(column)}</th>' for column in columns
    )
    body = []
    for number, row in enumerate(rows):
        tint = f";background:{_TINT['ok']}" if number == strong else ""
        body.append("<tr>" + "".join(f'<td style="{cell}{tint}">{value}</td>' for value in row) + "</tr>")
    style = "border-collapse:collapse;margin:4px 0;font-size:90%"
    return f'<div style="overflow-x:auto"><table style="{style}"><tr>{head}</tr>{"".join(body)}</table></div>'


def data_table(table: Mapping[str, Any] | None) -> str:
    """The rows of a record's table, folded; says how many there are beyond those shown."""
    if not table:
        return ""
    columns, rows, total = table.get("columns", []), table.get("rows", []), table.get("total", 0)
    if not rows:
        return small(f"no rows: {table['unknown']}" if table.get("unknown") else "no rows")
    shown = [[cell_text(cell) for cell in row] for row in rows[:ROWS_SHOWN]]
    more = small(f"{total - len(shown)} more rows are not shown") if total > len(shown) else ""
    return details(small(f"{total} row{'s' if total != 1 else ''}"), grid(columns, shown) + more)


def cell_text(value: Any) -> str:
    """One cell, escaped, cut to a readable length."""
    if value is None:
        return '<span style="opacity:.6">–</span>'
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text(shown if len(shown) <= CELL_SHOWN else shown[: CELL_SHOWN - 1] + "…")
