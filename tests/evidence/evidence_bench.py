"""Small runbooks, run by the real runner with real kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FRONT = """---
title: A small runbook
severity: P2
owner: tests
reviewed: 2026-11-01
review_every: 90 days
symptoms: [none]
reads: ["kubernetes: pods"]
changes: []
alerts: [SmallAlert]
parameters:
  count: {minimum: 1, maximum: 9}
---"""
PARAMETERS = """# parameters
incident: str = ""  # incident this run belongs to
count: int = 3  # how many
service: str = "api-gateway"  # which service
approve: str = ""  # changes confirmed"""
HEALTHY = """from IPython.display import display
display({"text/plain": "healthy", "application/vnd.opslib.record+json": {"schema": "opslib.record/1",
  "kind": "outcome", "name": "outcome", "outcome": "healthy", "summary": "all is well"}}, raw=True)"""


def notebook(*cells: str, front: str = FRONT, parameters: str | None = PARAMETERS) -> dict[str, Any]:
    """A runbook with a heading before each code cell."""
    made = [{"cell_type": "raw", "id": "front", "metadata": {}, "source": front}]
    if parameters is not None:
        made.append(code("parameters", parameters, ["parameters"]))
    for number, source in enumerate(cells):
        heading = {"cell_type": "markdown", "id": f"m{number}", "metadata": {}, "source": f"## Step {number}"}
        made += [heading, code(f"c{number}", source)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def code(name: str, source: str, tags: list[str] | None = None) -> dict[str, Any]:
    """A code cell."""
    metadata = {"tags": tags} if tags else {}
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


@dataclass
class Bench:
    """One archive and a folder of runbooks."""

    folder: Path
    evidence: Path

    def write(self, *cells: str, name: str = "small", **kwargs: Any) -> Path:
        """Write a runbook."""
        path = self.folder / "tests" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook(*cells, **kwargs)))
        return path

    def run(self, *cells: str, **kwargs: Any) -> Any:
        """Run a runbook of these cells in this process."""
        from opslib.evidence import runner

        path = self.write(*cells)
        return runner.run(runner.Request(str(path), evidence=str(self.evidence), **kwargs))

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start the command line in a process of its own."""
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OPSLIB_NOTEBOOKS": str(self.folder), **environ}
        return subprocess.Popen(
            [sys.executable, "-m", "opslib.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=self.folder,
        )

    def opslib(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run the command line: exit status, stdout, stderr."""
        process = self.start(*arguments, **environ)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def read(path: Path) -> dict[str, Any]:
    """A notebook that must be whole: valid by nbformat's own schema."""
    import nbformat

    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return dict(found)


def states(nb: dict[str, Any]) -> list[str]:
    """What the notebook says of its code cells, after the parameters'."""
    return [
        cell["metadata"]["opslib"]["status"]
        for cell in nb["cells"]
        if cell["cell_type"] == "code"
        and not {"parameters", "injected-parameters"} & set(cell["metadata"]["tags"])
    ]


def text(nb: dict[str, Any]) -> str:
    """All stream text of a notebook."""
    outputs = [output for cell in nb["cells"] for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")
