"""A rehearsal: break the sandbox, run the runbook through our engine, look at everything it left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox

MIME = "application/vnd.opslib.record+json"
P0 = "incident-response/p0-service-down"


@dataclass(frozen=True)
class Ran:
    """One run as it ended: exit status, the line for programs, the evidence."""

    status: int
    body: dict[str, Any]
    stderr: str

    @property
    def id(self) -> str:
        return str(self.body["run"])

    @property
    def folder(self) -> Path:
        return Path(self.body["notebook"]).parent

    @property
    def notebook(self) -> dict[str, Any]:
        return json.loads(Path(self.body["notebook"]).read_text())

    @property
    def records(self) -> list[dict[str, Any]]:
        return records(self.notebook)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == kind]

    @property
    def causes(self) -> set[str]:
        return {record["name"] for record in self.of("finding") if record["cause"]}

    @property
    def choice(self) -> str | None:
        return self.of("decision")[-1]["choice"]

    def options(self) -> dict[str, dict[str, Any]]:
        return {option["label"]: option for option in self.of("decision")[-1]["options"]}

    @property
    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]


def records(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of an evidence notebook, in order."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]


class Rehearsal:
    """The commands of a rehearsal on one sandbox, with an archive of its own."""

    def __init__(self, sandbox: Sandbox, environ: dict[str, str], evidence: Path) -> None:
        self.sandbox, self.evidence = sandbox, evidence
        self.environ = {**environ, "OPSLIB_EVIDENCE": str(evidence)}

    def opslib(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "opslib.cli", *words],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=timeout,
            check=False,
        )

    def break_(self, *faults: str) -> None:
        for fault in faults:
            done = self.opslib("sandbox", "break", fault, "--name", self.sandbox.name)
            assert done.returncode == 0, f"{fault}: {done.stdout}{done.stderr}"

    def heal(self) -> None:
        done = self.opslib("sandbox", "heal", "--name", self.sandbox.name)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"

    def run(self, *words: str, **parameters: object) -> Ran:
        given = [part for name, value in parameters.items() for part in ("-p", name, str(value))]
        return self._ran(self.opslib("run", P0, *given, *words, "--json"))

    def apply(self, ran: Ran) -> Ran:
        return self._ran(self.opslib("apply", ran.id, "--yes", "--json"))

    def undo(self, ran: Ran) -> Ran:
        return self._ran(self.opslib("undo", ran.id, "--yes", "--json"))

    @staticmethod
    def _ran(done: subprocess.CompletedProcess[str]) -> Ran:
        lines = done.stdout.strip().splitlines()
        assert lines, f"no line for programs; exit status {done.returncode}\n{done.stderr}"
        return Ran(done.returncode, json.loads(lines[-1]), done.stderr)


@pytest.fixture
def rehearsal(healthy_sandbox: Sandbox, sandbox_env: dict[str, str], tmp_path: Path) -> Rehearsal:
    """A healthy sandbox and an empty archive."""
    return Rehearsal(healthy_sandbox, sandbox_env, tmp_path / "evidence")


Look = Callable[..., Any]


@pytest.fixture
def look(kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> Look:
    """An object of the platform as JSON, by kubectl and not by our own code."""

    def read(*words: str) -> Any:
        where = () if "-n" in words else ("-n", "pss-nano")
        return json.loads(kubectl("get", *words, *where, "-o", "json").stdout)

    return read
