"""An observing run sends no write: by the API server's own audit log."""

from __future__ import annotations

import pytest

from .conftest import Rehearsal
from .witness import READING, REVIEWS, Audit, scraped

pytestmark = pytest.mark.rehearsal


@pytest.mark.parametrize("fault", ["", "bad-release"])
def test_an_observing_run_writes_nothing(rehearsal: Rehearsal, fault: str) -> None:
    if fault:
        rehearsal.break_(fault)
    else:
        scraped(rehearsal.environ["PROMETHEUS_URL"])
    audit = Audit(rehearsal.sandbox.path)
    ran = rehearsal.run()
    assert ran.status == (5 if fault else 0), ran.body
    mine = audit.events("oncall-responder")
    assert {"list", "create"} <= {each["verb"] for each in mine}, "the log does not show this run"
    others = [
        each
        for each in mine
        if each["verb"] not in READING
        and not (each["verb"] == "create" and each["objectRef"]["resource"] in REVIEWS)
    ]
    assert others == []
    # Kubernetes keeps Secrets from an observer; it does not even ask for them.
    assert [each for each in mine if each.get("objectRef", {}).get("resource") == "secrets"] == []
