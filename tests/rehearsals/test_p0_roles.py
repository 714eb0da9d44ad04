"""The generated Roles are enough and not more: who has them can do P0 end to end, and an observer can only look."""

from __future__ import annotations

from pathlib import Path

import pytest

from opslib import settings
from opslib.cluster import Cluster

from .conftest import Look, Rehearsal
from .witness import Audit, scraped

pytestmark = pytest.mark.rehearsal

EVERYBODY = "system:authenticated"  # the sandbox's developer is in no other group
ALONE = "rehearsal:nobody"


def test_the_generated_roles_carry_p0(rehearsal: Rehearsal, look: Look, kubectl, tmp_path: Path) -> None:
    rehearsal.break_("bad-release")
    scraped(rehearsal.environ["PROMETHEUS_URL"])
    kubectl("delete", "rolebinding", "developer", "-n", "pss-nano")
    rehearsal.environ["OPSLIB_CONTEXT"] = "developer"
    bad = look("deployment", "api-gateway")["spec"]["template"]

    def grant(observers: str, responders: str) -> None:
        printed = rehearsal.opslib("roles", "--observers", observers, "--responders", responders)
        assert printed.returncode == 0, printed.stderr
        kubectl("apply", "-f", "-", stdin=printed.stdout)

    def may() -> set[str]:
        """What the access reviews say of the ways out that this fault does not need, and of taking them back."""
        cluster = Cluster(settings.load(environ=rehearsal.environ, start=tmp_path))
        ways = [
            cluster.maintenance_mode("api-gateway"),
            cluster.scale("api-gateway", 12, raise_maximum=True),
            cluster.restart("payment-service"),
        ]
        wrote = [
            {"edit": edit.to_json(), "uid": "1", "now": {field.pointer: field.after for field in edit.fields}}
            for edit in ways[0].edits
        ]
        ways.append(cluster.revive(ways[0].undo_spec({"edits": wrote})))
        return {way.permitted().status for way in ways}

    grant(EVERYBODY, ALONE)
    assert may() == {"not permitted"}
    audit = Audit(rehearsal.sandbox.path)
    observed = rehearsal.run()
    assert observed.status == 5, observed.body
    assert [each for each in observed.of("check") if each["status"] == "unknown"] == []
    denied = {
        (each["objectRef"]["resource"], each["objectRef"].get("namespace"))
        for each in audit.events("developer")
        if each["responseStatus"]["code"] == 403
    }
    # It would count what other namespaces ask of the nodes, and asks for all Applications before Argo CD's own.
    assert denied <= {("pods", None), ("applications", None)}
    assert "not permitted" in observed.of("proposal")[-1]["permitted"]
    refused = rehearsal.apply(observed)
    assert refused.status == 6 and "NotPermitted" in refused.body["cause"], refused.body
    assert audit.writes("developer") == []

    grant(ALONE, EVERYBODY)
    assert may() == {"ok"}
    healed = rehearsal.apply(observed)
    assert healed.status == 0, healed.body
    undone = rehearsal.undo(healed)
    assert undone.status == 0, undone.body
    assert look("deployment", "api-gateway")["spec"]["template"] == bad
    doctor = rehearsal.opslib("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "may observe and apply" in doctor.stdout
