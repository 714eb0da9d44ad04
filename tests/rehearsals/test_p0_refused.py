"""Confirmations that may not be used: refused with exit status 6, the platform untouched, and it is said what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .conftest import Look, Ran, Rehearsal
from .witness import Audit

pytestmark = pytest.mark.rehearsal


@contextmanager
def edited(path: Path, **fields: Any) -> Iterator[None]:
    """A file of the archive with other values, for a while."""
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), **fields}))
    try:
        yield
    finally:
        path.write_text(whole)


def refused(ran: Ran, *words: str) -> None:
    """Refused, and the cause names these."""
    assert ran.status == 6, (ran.body, ran.stderr)
    assert ran.body["outcome"] == "refused"
    assert ran.body["applied"] == []
    cause = ran.body["cause"]
    assert all(word in cause for word in words), cause
    assert "Next: " in cause, cause
    assert ran.of("outcome")[-1]["outcome"] == "refused"


def test_what_may_not_be_confirmed_is_refused(rehearsal: Rehearsal, look: Look, kubectl) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    assert observed.status == 5, observed.body
    broken = look("deployment", "api-gateway")
    audit = Audit(rehearsal.sandbox.path)
    (proposal,) = (rehearsal.evidence / "proposals").glob("*.json")

    with edited(proposal, at="2026-01-01T00:00:00.000Z"):
        refused(rehearsal.apply(observed), "expired at 2026-01-01", "observe again")

    elsewhere = "00000000-0000-4000-8000-000000000000"
    with edited(proposal, cluster_uid=elsewhere):
        refused(rehearsal.apply(observed), "for another cluster", elsewhere, "choose the context")

    rehearsal.environ["OPSLIB_CLUSTER_UID"] = elsewhere
    refused(rehearsal.apply(observed), "WrongCluster", elsewhere, "choose the context")
    del rehearsal.environ["OPSLIB_CLUSTER_UID"]

    rehearsal.environ["OPSLIB_CONTEXT"] = "observer"
    refused(rehearsal.apply(observed), "NotPermitted", "oncall-observer", "use a responder's identity")
    rehearsal.environ["OPSLIB_CONTEXT"] = "responder"

    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "opslib-deployment-api-gateway", "namespace": "pss-nano"},
        "spec": {
            "holderIdentity": "a colleague",
            "leaseDurationSeconds": 120,
            "acquireTime": now,
            "renewTime": now,
        },
    }
    kubectl("create", "-f", "-", stdin=json.dumps(lease))
    refused(rehearsal.apply(observed), "LeaseHeld", "a colleague", "wait for that run")
    kubectl("delete", "lease", "opslib-deployment-api-gateway", "-n", "pss-nano")

    assert look("deployment", "api-gateway")["spec"] == broken["spec"]
    assert audit.writes("oncall-responder") == audit.writes("oncall-observer") == []


def test_a_confirmation_for_what_has_changed_since_is_stale(
    rehearsal: Rehearsal, look: Look, kubectl
) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    # by hand, and nothing that Argo CD compares
    kubectl("rollout", "restart", "deployment/api-gateway", "-n", "pss-nano")
    kubectl("rollout", "status", "deployment/api-gateway", "-n", "pss-nano", "--timeout=40s")
    restarted = look("deployment", "api-gateway")["spec"]
    audit = Audit(rehearsal.sandbox.path)
    stale = rehearsal.apply(observed)
    refused(stale, observed.body["proposals"][0]["confirmation"], "as things stand now")
    assert look("deployment", "api-gateway")["spec"] == restarted
    assert audit.writes("oncall-responder") == []
    # what it proposes instead can be confirmed
    healed = rehearsal.apply(stale)
    assert healed.status == 0, healed.body


def test_a_confirmation_serves_once(rehearsal: Rehearsal, look: Look) -> None:
    rehearsal.break_("bad-release")
    observed = rehearsal.run()
    healed = rehearsal.apply(observed)
    assert healed.status == 0, healed.body
    served = look("deployment", "api-gateway")["spec"]
    audit = Audit(rehearsal.sandbox.path)
    refused(rehearsal.apply(observed), f"used already, by run {healed.id}", "observe again")
    typed = rehearsal.run("--approve", observed.body["proposals"][0]["confirmation"])
    refused(typed, f"used already, by run {healed.id}")
    assert look("deployment", "api-gateway")["spec"] == served
    assert audit.writes("oncall-responder") == []
