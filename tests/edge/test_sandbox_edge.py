"""The sandbox's ingress, found through the Ingress' status."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from opslib.edge import Edge
from opslib.errors import NotFound
from tests.conftest import Kubectl


def test_the_healthy_platform_answers(edge: Edge, healthy_sandbox: object) -> None:
    probe = edge.probe("api-gateway")
    assert not probe["failed"].any()
    assert set(probe["served_by"]) == {"application"}
    row = edge.tls("api-gateway").iloc[0]
    assert row["host"] == "api.pss-nano.com" and row["hostname_ok"] and row["chain_trusted"]
    assert row["days"] > 1 and not row["problem"]


def test_a_service_that_no_ingress_names_has_no_host(edge: Edge) -> None:
    with pytest.raises(NotFound):
        edge.probe("auth-service")


def test_without_endpoints_the_ingress_answers_for_itself(
    edge: Edge, healthy_sandbox: object, kubectl: Kubectl
) -> None:
    kubectl("scale", "deployment/api-gateway", "--replicas=0", "-n", "pss-nano")
    kubectl(
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=api-gateway",
        "-n",
        "pss-nano",
        "--timeout=30s",
    )
    probe = edge.probe("api-gateway", requests=3)
    assert set(probe["served_by"]) == {"ingress: no ready endpoint"}
    assert probe["failed"].all()


def test_an_unknown_host_is_a_failure(edge: Edge) -> None:
    edge._addresses["nobody.pss-nano.com"] = edge.address_of("api.pss-nano.com")
    edge = Edge(edge.profile, None)
    assert edge.address_of("nobody.pss-nano.com").port == 443


def test_the_symptom_has_two_witnesses(edge: Edge, healthy_sandbox: object) -> None:
    symptom = edge.symptom("api-gateway")
    since = datetime.now(UTC)
    for _ in range(3):
        measured = symptom.measure(since)
    assert measured.value == 0.0
    assert measured.samples is not None and measured.samples >= 36
