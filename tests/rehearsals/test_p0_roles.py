"""The generated Roles are enough and not more: who has them can do P0 end to end, and an observer can only look."""

from __future__ import annotations

import pytest

from .conftest import Look, Rehearsal
from .witness import Audit

pytestmark = pytest.mark.rehearsal

EVERYBODY = "system:authenticated"  # the sandbox's developer is in no other group
ALONE = "rehearsal:nobody"


def test_the_generated_roles_carry_p0(rehearsal: Rehearsal, look: Look, kubectl) -> None:
    rehearsal.break_("bad-release")
    kubectl("delete", "rolebinding", "developer", "-n", "pss-nano")
    rehearsal.environ["OPSLIB_CONTEXT"] = "developer"
    bad = look("deployment", "api-gateway")["spec"]["template"]

    def grant(observers: str, responders: str) -> None:
        printed = rehearsal.opslib("roles", "--observers", observers, "--responders", responders)
        assert printed.returncode == 0, printed.stderr
        kubectl("apply", "-f", "-", stdin=printed.stdout)

    grant(EVERYBODY, ALONE)
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
    healed = rehearsal.apply(observed)
    assert healed.status == 0, healed.body
    undone = rehearsal.undo(healed)
    assert undone.status == 0, undone.body
    assert look("deployment", "api-gateway")["spec"]["template"] == bad
    doctor = rehearsal.opslib("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "may observe and apply" in doctor.stdout


def test_the_generated_roles_carry_maintenance_mode(rehearsal: Rehearsal, kubectl) -> None:
    rehearsal.break_("same-image")
    kubectl("delete", "rolebinding", "developer", "-n", "pss-nano")
    rehearsal.environ["OPSLIB_CONTEXT"] = "developer"
    printed = rehearsal.opslib("roles", "--observers", ALONE, "--responders", EVERYBODY)
    kubectl("apply", "-f", "-", stdin=printed.stdout)
    observed = rehearsal.run()
    assert observed.choice == "maintenance mode", observed.of("decision")
    paged = rehearsal.apply(observed)
    assert paged.status == 0, paged.body
    undone = rehearsal.undo(paged)
    assert undone.status == 0, undone.body
