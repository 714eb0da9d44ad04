"""kill -9 in the middle of an apply: the journal tells how far it came, and nothing is applied twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Look, Ran, Rehearsal
from .witness import Audit, Started, holding, patches

pytestmark = pytest.mark.rehearsal

LEASE = "opslib-deployment-api-gateway"


def archived(rehearsal: Rehearsal, run: str) -> str:
    """The outcome that `opslib archive list` gives a run."""
    done = rehearsal.opslib("archive", "list", "--json")
    assert done.returncode == 0, done.stderr
    return next(str(each["outcome"]) for each in json.loads(done.stdout) if each["run"] == run)


def expire(kubectl, namespace: str = "pss-nano") -> None:
    """Let the dead run's lease be as old as it is a minute later."""
    old = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    kubectl("patch", "lease", LEASE, "-n", namespace, "--type=merge", "-p", json.dumps(old))


def applying(rehearsal: Rehearsal, observed: Ran, kubeconfig: Path | None = None) -> Started:
    environ = {**rehearsal.environ, **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})}
    return Started(["apply", observed.id, "--yes", "--json"], environ, rehearsal.evidence)


def test_killed_before_anything_was_sent(rehearsal: Rehearsal, look: Look, kubectl, tmp_path: Path) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    broken = look("deployment", "api-gateway")["spec"]
    audit = Audit(rehearsal.sandbox.path)
    through = tmp_path / "kubeconfig"
    with holding(rehearsal.sandbox.path, through, patches("applications"), answer=False) as proxy:
        runner = applying(rehearsal, observed, through)
        assert proxy.reached.wait(60)
        runner.kill()
    kinds = [entry["entry"] for entry in runner.entries()]
    assert kinds[-1] == "writing" and "intent" in kinds and "receipt" not in kinds
    assert [each["objectRef"]["resource"] for each in audit.writes("oncall-responder")] == ["leases"]
    assert archived(rehearsal, runner.id) == "interrupted (no end)"

    again = rehearsal.apply(observed)
    assert again.status == 6, again.body
    assert f"used already, by run {runner.id}" in again.body["cause"]
    assert "observe again" in again.body["cause"]
    assert look("deployment", "api-gateway")["spec"] == broken

    expire(kubectl)
    healed = rehearsal.apply(rehearsal.run())
    assert healed.status == 0, healed.body
    assert len(audit.writes("oncall-responder", "deployments")) == 1
    verified = rehearsal.opslib("archive", "verify")
    assert verified.returncode == 0, verified.stdout


def test_killed_after_it_arrived_and_before_the_answer(
    rehearsal: Rehearsal, look: Look, tmp_path: Path
) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    audit = Audit(rehearsal.sandbox.path)
    through = tmp_path / "kubeconfig"
    with holding(rehearsal.sandbox.path, through, patches("deployments"), answer=True) as proxy:
        runner = applying(rehearsal, observed, through)
        assert proxy.reached.wait(60)
        runner.kill()
    entries = runner.entries()
    assert [e["request"]["object"] for e in entries if e["entry"] == "writing"][
        -1
    ] == "deployment/api-gateway"
    assert "receipt" not in [entry["entry"] for entry in entries]
    marks = look("deployment", "api-gateway")["metadata"]["annotations"]
    assert runner.id in marks.values()

    again = rehearsal.apply(observed)
    # Its rollout is still going on, or over: refused, or looked up and verified; written again in no case.
    assert again.status in (0, 6), again.body
    assert f"run {runner.id}" in again.body["summary"] + again.body["cause"]
    assert "not applied again" in json.dumps(again.records)
    assert len(audit.writes("oncall-responder", "deployments")) == 1
    assert len(audit.writes("oncall-responder", "applications")) == 1


def test_killed_while_it_settled(rehearsal: Rehearsal, look: Look, kubectl) -> None:
    rehearsal.break_("bad-release")
    bad = look("deployment", "api-gateway")["spec"]["template"]
    observed = rehearsal.run()
    audit = Audit(rehearsal.sandbox.path)
    runner = applying(rehearsal, observed)
    runner.reaches("receipt")
    runner.kill()
    assert "finished" not in [entry["entry"] for entry in runner.entries()]
    assert archived(rehearsal, runner.id) == "interrupted (no end)"

    again = rehearsal.apply(observed)
    assert again.status == 6, again.body
    assert f"used already, by run {runner.id}" in again.body["cause"]
    assert len(audit.writes("oncall-responder", "deployments")) == 1

    kubectl("rollout", "status", "deployment/api-gateway", "-n", "pss-nano", "--timeout=30s")
    expire(kubectl)
    killed = Ran(0, {"run": runner.id, "notebook": str(runner.folder / "p0-service-down.ipynb")}, "")
    assert killed.notebook["metadata"]["opslib"]["outcome"].startswith("interrupted")
    undone = rehearsal.undo(killed)
    assert undone.status == 0, undone.body
    assert look("deployment", "api-gateway")["spec"]["template"] == bad


def test_two_applies_of_one_proposal_at_once_write_once(rehearsal: Rehearsal) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    audit = Audit(rehearsal.sandbox.path)
    pair = [applying(rehearsal, observed) for _ in range(2)]
    statuses = sorted(each.ended(90).returncode for each in pair)
    assert statuses == [0, 6]
    assert len(audit.writes("oncall-responder", "deployments")) == 1
