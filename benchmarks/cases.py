"""What is measured: the commands, and where the numbers to reach come from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Case

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent  # not resolved: the environment's own folder
OPSLIB = str(BIN / "opslib")
RUNBOOK = "incident-response/p0-service-down"
NOTEBOOK = str(ROOT / "notebooks" / f"{RUNBOOK}.ipynb")

# The read-only commands of the old runbook's 'P0: Service Down', as they stand there (options 1 to 4 change things).
KUBECTL = (
    "get pods -n pss-nano",
    "get deployments -n pss-nano",
    "rollout history deployment/api-gateway -n pss-nano",
    "logs -l app=api-gateway -n pss-nano --tail=100",
    "get ingress -n pss-nano",
    "describe ingress api-gateway -n pss-nano",
    "rollout history deployment/api-gateway -n pss-nano",
)


def observing_runs(environ: Mapping[str, str], folder: Path) -> list[Case]:
    """P0 observed by opslib, by plain papermill on the same notebook, and by the old runbook's commands.

    Exit status 5 of `opslib run` means that it proposes a change; 0 would mean that it saw nothing wrong.
    """
    ours, plain = folder / "opslib", folder / "papermill"
    return [
        Case(
            "opslib run",
            [[OPSLIB, "run", RUNBOOK, "--evidence", "{round}"]],
            good=frozenset({5}),
            environ=environ,
            folder=ours,
        ),
        Case(
            "papermill",
            [[str(BIN / "papermill"), "--no-progress-bar", NOTEBOOK, "{round}/p0.ipynb"]],
            environ={**environ, "OPSLIB_EVIDENCE": str(plain / "evidence")},
            folder=plain,
        ),
        Case(
            "kubectl commands", [[str(BIN / "kubectl"), *line.split()] for line in KUBECTL], environ=environ
        ),
    ]


def starts() -> list[Case]:
    """How long `opslib --help` takes against an interpreter that does nothing."""
    return [
        Case("opslib --help", [[OPSLIB, "--help"]]),
        Case("python -c pass", [[sys.executable, "-c", "pass"]]),
    ]
