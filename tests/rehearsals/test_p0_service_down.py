"""P0, service down: what it finds, what it proposes, what it changes, and that the platform is healthy again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from .conftest import Look, Ran, Rehearsal
from .witness import scraped

pytestmark = pytest.mark.rehearsal

SCHEMA = Path(__file__).resolve().parents[2] / "opslib" / "records" / "record.schema.json"
# fault(s), causes that must be found, the way out that must be chosen
HEALED = {
    "bad release": (["bad-release"], {"bad-release-api-gateway"}, "rollback"),
    "bad config": (["bad-config"], {"pods-crash-api-gateway"}, "rollback"),
    "image missing": (["image-missing"], {"image-cannot-be-pulled-api-gateway"}, "rollback"),
    "all backends down": (["all-backends-down"], {"all-backends-down"}, "scale up"),
    "argo reverts": (["argo-reverts"], {"bad-release-api-gateway"}, "rollback"),
    "backend release": (["backend-bad-release"], {"bad-release-reservation-service"}, "rollback"),
    "under capacity": (["under-capacity"], {"saturated-api-gateway"}, "scale up"),
    "no prometheus": (["prometheus-down", "bad-release"], {"bad-release-api-gateway"}, "rollback"),
    "two at once": (
        ["bad-release", "backend-image-missing"],
        {"bad-release-api-gateway", "image-cannot-be-pulled-payment-service"},
        "rollback",
    ),
}
# Nothing in the runbook restores these: users get a page until a person has repaired the cause.
PAGE = {
    "quota": (["quota-exhausted"], {"quota-exceeded-api-gateway"}),
    "nodes": (["node-shortage"], {"no-node-fits-api-gateway"}),
    "same image": (["same-image"], {"bad-release-api-gateway"}),
    "configmap": (["bad-configmap"], {"pods-crash-api-gateway"}),
    "missing secret": (["missing-secret"], {"configuration-is-missing-api-gateway"}),
}


def ended(ran: Ran) -> str:
    return f"{ran.status} {ran.body['outcome']}: {ran.body['cause']}\n{ran.body['summary']}\n{ran.stderr[-2000:]}"


@pytest.mark.parametrize("case", HEALED)
def test_found_proposed_healed(rehearsal: Rehearsal, look: Look, case: str) -> None:
    faults, causes, way_out = HEALED[case]
    before = look("deployments")
    rehearsal.break_(*faults)
    broken, as_broken = specs(look("deployments")), changeable(look)

    observed = rehearsal.run()
    assert observed.status == 5, ended(observed)
    assert causes <= observed.causes, observed.of("finding")
    assert observed.choice == way_out, observed.of("decision")
    assert specs(look("deployments")) == broken, "an observing run changed a Deployment"

    healed = rehearsal.apply(observed)
    assert healed.status == 0, ended(healed)
    assert healed.body["outcome"] == "mitigated"
    assert [change["name"] for change in healed.body["applied"]] == [
        change["name"] for change in observed.body["proposals"]
    ]
    after = {item["metadata"]["name"]: item for item in look("deployments")["items"]}
    for item in before["items"]:
        name = item["metadata"]["name"]
        assert after[name]["status"].get("readyReplicas", 0) >= 1, f"{name} has no ready pod"
    verification = healed.of("verification")[-1]
    assert verification["status"] == "ok"
    for record in (*observed.records, *healed.records):
        validate(record, json.loads(SCHEMA.read_text()))
    assert rehearsal.opslib("archive", "verify").returncode == 0

    undone = rehearsal.undo(healed)
    assert undone.status == 0, ended(undone)
    assert changeable(look) == as_broken, "the undo did not bring the old state back"


@pytest.mark.parametrize("case", PAGE)
def test_when_nothing_restores_service_users_get_a_page(rehearsal: Rehearsal, case: str) -> None:
    faults, causes = PAGE[case]
    rehearsal.break_(*faults)
    observed = rehearsal.run()
    assert observed.status == 5, ended(observed)
    assert causes <= observed.causes, observed.of("finding")
    assert observed.choice == "maintenance mode", observed.of("decision")
    rollback = observed.options()["rollback"]
    assert not rollback["viable"]
    assert rollback["reasons_against"]
    paged = rehearsal.apply(observed)
    assert paged.status == 0, ended(paged)
    undone = rehearsal.undo(paged)
    assert undone.status == 0, ended(undone)


def specs(listed: dict[str, Any]) -> dict[str, Any]:
    """What a person or a runbook can change of the Deployments: template and replicas."""
    return {
        item["metadata"]["name"]: (item["spec"], item["metadata"].get("annotations"))
        for item in listed["items"]
    }


def changeable(look: Look) -> dict[str, Any]:
    """What the changes of P0 set, by object: templates, replicas where no autoscaler rules, autoscalers' bounds, Argo CD's sync."""
    found: dict[str, Any] = {}
    for item in look("deployments")["items"]:
        replicas = item["spec"]["replicas"]
        found[item["metadata"]["name"]] = (item["spec"]["template"], replicas if replicas == 0 else "some")
    for item in look("hpa")["items"]:
        found[f"hpa {item['metadata']['name']}"] = (
            item["spec"].get("minReplicas"),
            item["spec"]["maxReplicas"],
        )
    found["argo"] = look("application", "pss-nano-production", "-n", "argocd")["spec"]["syncPolicy"]
    return found


def test_undo_brings_the_bad_release_and_argo_back(rehearsal: Rehearsal, look: Look) -> None:
    rehearsal.break_("bad-release")
    broken = look("deployment", "api-gateway")["spec"]["template"]
    healed = rehearsal.apply(rehearsal.run())
    assert (
        look("application", "pss-nano-production", "-n", "argocd")["spec"]["syncPolicy"].get("automated")
        is None
    )
    assert any("paused" in follow["name"] for follow in healed.of("follow_up"))
    undone = rehearsal.undo(healed)
    assert undone.status == 0, ended(undone)
    assert look("deployment", "api-gateway")["spec"]["template"] == broken
    assert look("application", "pss-nano-production", "-n", "argocd")["spec"]["syncPolicy"]["automated"][
        "selfHeal"
    ]


def test_nothing_wrong_is_healthy_and_proposes_nothing(rehearsal: Rehearsal) -> None:
    scraped(rehearsal.environ["PROMETHEUS_URL"])
    ran = rehearsal.run()
    assert ran.status == 0, ended(ran)
    assert ran.body["outcome"] == "healthy"
    assert ran.body["proposals"] == []
    assert not ran.of("finding")


def test_without_prometheus_a_healthy_platform_is_not_called_healthy(rehearsal: Rehearsal) -> None:
    rehearsal.break_("prometheus-down")
    ran = rehearsal.run()
    assert ran.status == 4, ended(ran)
    assert ran.body["outcome"] == "needs a person"
    assert any(check["status"] == "unknown" and "5xx" in check["name"] for check in ran.of("check"))


def test_what_one_fault_hides_is_found_when_that_one_is_healed(rehearsal: Rehearsal) -> None:
    rehearsal.break_("bad-release", "all-backends-down")
    first = rehearsal.run()
    assert first.status == 5, ended(first)
    assert first.causes == {"all-backends-down"}
    one = rehearsal.apply(first)
    assert one.status == 4, ended(one)
    assert one.body["outcome"] == "not mitigated"
    second = rehearsal.run()
    assert second.status == 5, ended(second)
    assert "bad-release-api-gateway" in second.causes
    two = rehearsal.apply(second)
    assert two.status == 0, ended(two)
