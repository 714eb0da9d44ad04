"""The page beside the notebook: verdict first, code folded, nothing that runs or is fetched, fit for a phone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError
from opslib.evidence.inert import inert
from opslib.evidence.runfile import RunFile
from opslib.records.model import MIME, Kind

TEMPLATES = Path(__file__).parent / "template"
GOOD = ("healthy", "mitigated")
BAD = ("failed", "not mitigated", "interrupted", "unreadable")
FACES = ("image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/plain")

_lock = threading.Lock()
_exporter: Any = None


def warm() -> None:
    """Import and compile what `page` needs; the runner does it while the kernel works."""
    from opslib.records import model

    now = model.stamp(model.now())
    output = {"output_type": "stream", "name": "stdout", "text": "x"}
    code = {"cell_type": "code", "id": "a", "metadata": {}, "source": "x = 'a'", "outputs": [output]}
    words = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": "# a\n`b`\n```bash\nls\n```"}
    small = {"cells": [code, words], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    with contextlib.suppress(EvidenceError):  # the real page will say it
        page(json.dumps(small).encode(), RunFile("", "", started=now, ended=now))


def page(notebook: bytes, about: RunFile) -> str:
    """The HTML page of a finished run. Raises EvidenceError when the notebook cannot be shown."""
    import nbformat

    try:
        nb = nbformat.from_dict(_joined(json.loads(notebook)))
        verdict = _take_verdict(nb, about)
        body, _ = _export().from_notebook_node(
            nb,
            resources={
                "about": about,
                "verdict": verdict,
                "facts": _facts(about),
                "tone": tone(about.outcome),
                "style": (TEMPLATES / "report" / "style.css").read_text(encoding="utf-8"),
                "first_line": _first_line,
                "face": _face,
            },
        )
    except Exception as error:  # nbconvert, jinja2 and mistune have no common error
        raise EvidenceError(
            f"the page could not be made: {type(error).__name__}: {error}",
            target=about.run,
            next="the notebook beside it is whole; `opslib archive show` reads it",
        ) from error
    return str(body)


def tone(outcome: str) -> str:
    """good, bad or wait: how an outcome is coloured."""
    return "good" if outcome in GOOD else "bad" if outcome.startswith(BAD) else "wait"


def _export() -> Any:
    global _exporter
    with _lock:
        if _exporter is None:
            from nbconvert.exporters.html import HTMLExporter
            from nbconvert.exporters.templateexporter import TemplateExporter
            from nbconvert.filters.highlight import Highlight2HTML

            class PageExporter(HTMLExporter):  # type: ignore[misc,unused-ignore]
                """nbconvert's, without its second parse of the whole page, which costs more than all the rest."""

                def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> Any:
                    self.register_filter(
                        "highlight_code", Highlight2HTML(pygments_lexer="ipython3", parent=self)
                    )
                    return TemplateExporter.from_notebook_node(self, nb, resources, **kw)

            _exporter = PageExporter(
                template_name="report",
                extra_template_basedirs=[str(TEMPLATES)],
                filters={"inert": inert},
                preprocessors=[],
                default_preprocessors=[],
            )
        return _exporter


def _take_verdict(nb: Any, about: RunFile) -> Any:
    """The run's own verdict, moved to the head of the page; None when it does not tell how the run ended."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            record = output.get("data", {}).get(MIME, {})
            if record.get("kind") == Kind.RUN and record.get("outcome") == about.outcome:
                cell.outputs.remove(output)
                return output
    return None


def _face(output: Mapping[str, Any]) -> str:
    from nbconvert.filters.ansi import ansi2html
    from nbconvert.filters.markdown import markdown2html

    data = output.get("data", {})
    kind = next((mime for mime in FACES if mime in data), "")
    value = data.get(kind, "")
    text = value if isinstance(value, str) else "".join(value)
    if kind in ("image/png", "image/jpeg"):
        alt = "plot"
        return inert(f'<img alt="{alt}" src="data:{kind};base64,{"".join(text.split())}">')
    if kind == "image/svg+xml":
        return "<p>(a vector image; see the notebook)</p>"
    if kind == "text/html":
        return inert(text)
    if kind == "text/markdown":
        return inert(str(markdown2html(text)))
    return f"<pre>{ansi2html(text)}</pre>" if kind else ""


def _facts(about: RunFile) -> list[tuple[str, str]]:
    seconds = ""
    if about.started and about.ended:
        span = dt.datetime.fromisoformat(about.ended) - dt.datetime.fromisoformat(about.started)
        seconds = f"{span.total_seconds():.1f} s"
    pairs = [
        ("Runbook", about.runbook),
        ("Incident", about.incident),
        ("Platform", about.profile),
        ("Began (UTC)", about.started),
        ("Took", seconds),
        ("Exit status", "" if about.exit_status is None else str(about.exit_status)),
        ("Run", about.run),
        (
            "Parameters",
            ", ".join(f"{name}={value}" for name, value in about.parameters.items() if value != ""),
        ),
        ("Made with", ", ".join(f"{name} {version}" for name, version in about.versions.items())),
    ]
    return [(name, value) for name, value in pairs if value]


def _first_line(cell: Mapping[str, Any]) -> str:
    return next((line for line in cell["source"].splitlines() if line.strip()), "")


def _joined(notebook: Mapping[str, Any]) -> dict[str, Any]:
    cells = []
    for cell in notebook["cells"]:
        body = {**cell, "source": "".join(cell["source"])}
        outputs = body.get("outputs")
        if outputs is not None:
            body["outputs"] = [
                {**output, "text": "".join(output["text"])} if "text" in output else output
                for output in outputs
            ]
        cells.append(body)
    return {**notebook, "cells": cells}
