"""Numbers and spans of time as people write them."""

from __future__ import annotations

from typing import Any


def amount(value: Any, unit: str = "") -> str:
    """A value with its unit; a ratio is shown in percent."""
    if value is None:
        return "no value"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value} {unit}".strip()
    if unit == "ratio":
        return f"{value * 100:.4g} %"
    if unit == "seconds":
        return span(float(value))
    shown = f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.4g}"
    return f"{shown} {unit}".strip()


def span(seconds: float) -> str:
    """Seconds in the unit people would use: 40 ms, 3.2 s, 2 min 5 s, 1 h 3 min, 5 d 2 h."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
