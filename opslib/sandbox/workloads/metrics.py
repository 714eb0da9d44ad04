"""Counters and histograms in Prometheus' text format, able to start where an earlier life ended."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

Labels = tuple[tuple[str, str], ...]


def labels(**pairs: str) -> Labels:
    return tuple(sorted(pairs.items()))


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def sample(name: str, pairs: Labels, value: float, extra: str = "") -> str:
    """One line of the exposition format; `extra` is a rendered further label such as le="0.5"."""
    inner = ",".join(f'{key}="{escape(text)}"' for key, text in pairs)
    if extra:
        inner = f"{inner},{extra}" if inner else extra
    number = int(value) if float(value).is_integer() else value
    return f"{name}{{{inner}}} {number}" if inner else f"{name} {number}"


class Counter:
    """A monotone counter by labels."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.values: dict[Labels, float] = {}

    def add(self, pairs: Labels, amount: float = 1.0) -> None:
        self.values[pairs] = self.values.get(pairs, 0.0) + amount

    def at_least(self, pairs: Labels, value: float) -> None:
        self.values[pairs] = max(self.values.get(pairs, 0.0), value)

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} counter"
        for pairs, value in sorted(self.values.items()):
            yield sample(self.name, pairs, value)

    def dump(self) -> list[object]:
        return [[list(pairs), value] for pairs, value in self.values.items()]

    def load(self, saved: list[list[object]]) -> None:
        for pairs, value in saved:
            key = tuple((str(k), str(v)) for k, v in pairs)  # type: ignore[attr-defined]
            self.at_least(key, float(str(value)))


class Histogram:
    """A cumulative histogram by labels, with fixed buckets in seconds."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...]) -> None:
        self.name, self.text, self.buckets = name, text, buckets
        # by labels: one count a bucket plus the one above all, then the sum
        self.values: dict[Labels, list[float]] = {}

    def observe(self, pairs: Labels, seconds: float) -> None:
        row = self.values.get(pairs)
        if row is None:
            row = self.values[pairs] = [0.0] * (len(self.buckets) + 2)
        row[bisect.bisect_left(self.buckets, seconds)] += 1
        row[-1] += seconds

    def at_least(self, pairs: Labels, row: list[float]) -> None:
        old = self.values.get(pairs)
        self.values[pairs] = list(row) if old is None else [max(a, b) for a, b in zip(old, row, strict=True)]

    def rows(self, pairs: Labels) -> Iterable[str]:
        row, total = self.values[pairs], 0.0
        for limit, count in zip(self.buckets, row, strict=False):
            total += count
            yield sample(f"{self.name}_bucket", pairs, total, f'le="{limit:g}"')
        total += row[-2]
        yield sample(f"{self.name}_bucket", pairs, total, 'le="+Inf"')
        yield sample(f"{self.name}_sum", pairs, round(row[-1], 6))
        yield sample(f"{self.name}_count", pairs, total)

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        for pairs in sorted(self.values):
            yield from self.rows(pairs)

    def dump(self) -> list[object]:
        return [[list(pairs), row] for pairs, row in self.values.items()]

    def load(self, saved: list[list[object]]) -> None:
        for pairs, row in saved:
            key = tuple((str(k), str(v)) for k, v in pairs)  # type: ignore[attr-defined]
            numbers = [float(x) for x in row]  # type: ignore[attr-defined]
            if len(numbers) == len(self.buckets) + 2:
                self.at_least(key, numbers)


def save(path: Path, families: Iterable[Counter | Histogram]) -> None:
    """Keep the counters in a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({family.name: family.dump() for family in families}))
    temporary.replace(path)


def restore(path: Path, families: Iterable[Counter | Histogram]) -> None:
    """Take up the counters of an earlier life; a damaged or missing file leaves them as they are."""
    try:
        saved: Mapping[str, list[list[object]]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    for family in families:
        family.load(saved.get(family.name, []))
