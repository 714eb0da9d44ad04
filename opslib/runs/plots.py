"""Plots for evidence: static PNG with a text alternative, drawn without pyplot (a third of a second less
a run).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's palette: told apart by people with any colour vision.
LINE, MARK, GRID = "#0072B2", "#D55E00", "#BBBBBB"
ROLLOUT_KINDS = ("Deployment", "StatefulSet")


def timeline(series: pd.DataFrame, changes: pd.DataFrame, title: str) -> tuple[bytes, str]:
    """The share of failed requests over time with the changes marked: PNG bytes, and the same in words.

    `series` has the columns at (UTC), error_ratio (0 to 1); `changes` has at, kind, name, revision. Either
    may be
    empty: the words say so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.add_subplot()
    known = series.dropna(subset=["error_ratio"]) if len(series) else series
    if len(known):
        axes.plot(known["at"], known["error_ratio"] * 100, color=LINE, linewidth=1.6)
        axes.fill_between(known["at"], known["error_ratio"] * 100, color=LINE, alpha=0.15)
    else:
        axes.text(0.5, 0.5, "no samples", transform=axes.transAxes, ha="center", color="#555555")
    shown = changes[changes["kind"].isin(ROLLOUT_KINDS)] if len(changes) else changes
    for row in shown.to_dict("records"):
        axes.axvline(row["at"], color=MARK, linestyle="--", linewidth=1.2)
        axes.annotate(
            _label(row),
            (row["at"], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -4),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=7,
            color=MARK,
        )
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_ylim(-2, 105)
    axes.set_ylabel("5xx, % of requests")
    axes.set_xlabel("UTC")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue(), in_words(known, shown, title)


def in_words(series: pd.DataFrame, changes: pd.DataFrame, title: str) -> str:
    """What the plot shows, for a screen reader, a terminal and a search."""
    if not len(series):
        said = ["no samples of the error ratio"]
    else:
        last, top = series.iloc[-1], series.iloc[int(series["error_ratio"].to_numpy().argmax())]
        said = [
            f"{len(series)} samples; highest {top['error_ratio']:.1%} at {top['at']:%H:%M:%S}Z;"
            f" now {last['error_ratio']:.1%}"
        ]
    marks = [f"{row['at']:%H:%M:%S}Z {_label(row)}" for row in changes.to_dict("records")]
    return f"{title}: {said[0]}; rollouts: {', '.join(marks) or 'none'}"


def _label(row: dict[object, object]) -> str:
    revision = row.get("revision")
    number = (
        f" r{int(float(str(revision)))}"
        if revision is not None and str(revision) not in ("nan", "<NA>", "")
        else ""
    )
    return f"{row['name']}{number}"
