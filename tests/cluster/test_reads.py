"""Reads of the healthy platform and of some of its troubles, over the sandbox's real API."""

from __future__ import annotations

import inspect
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from opslib.cluster import COLUMNS, Cluster
from opslib.errors import NotFound, NotPermitted
from tests.cluster.conftest import Profiles
from tests.conftest import Kubectl

PLAIN = [
    "deployments", "pods", "recent_changes", "endpoints", "ingresses", "hpas", "quotas", "pdbs", "nodes", "events",
    "applications",
]  # fmt: skip
OF_GATEWAY = ["pods", "revisions", "rollback_candidates", "logs", "log_messages"]


@pytest.mark.parametrize("read", PLAIN)
def test_every_read_has_its_documented_columns(observer: Cluster, read: str) -> None:
    data = getattr(observer, read)()
    assert list(data.columns) == COLUMNS[read]
    assert (inspect.getdoc(getattr(Cluster, read)) or "").count("Columns") == 1


@pytest.mark.parametrize("read", OF_GATEWAY)
def test_reads_of_one_deployment(observer: Cluster, read: str) -> None:
    data = getattr(observer, read)("api-gateway")
    assert list(data.columns) == COLUMNS[read]
    assert len(data)


def test_the_gateway_is_found_by_its_own_selector(cluster: Cluster) -> None:
    """No pod carries an `app` label (G1)."""
    pods = cluster.pods("api-gateway")
    assert len(pods) == 5
    assert pods["ready"].all()
    assert set(pods["deployment"]) == {"api-gateway"}
    assert pods["started"].dt.tz is not None


def test_a_deployment_without_pods_is_not_a_healthy_one(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("scale", "deployment/cms-service", "--replicas=0", "-n", "pss-nano")
    try:
        kubectl(
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=cms-service",
            "-n",
            "pss-nano",
            "--timeout=30s",
        )
        with pytest.raises(NotFound, match="wants 0 replicas"):
            cluster.pods("cms-service")
        with pytest.raises(NotFound):
            cluster.logs("cms-service")
    finally:
        kubectl("scale", "deployment/cms-service", "--replicas=2", "-n", "pss-nano")


def test_an_unknown_deployment_is_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFound) as caught:
        cluster.pods("gateway")
    assert "gateway" in str(caught.value) and caught.value.next


def test_what_may_not_be_read_is_said(profile: Profiles) -> None:
    developer = Cluster(profile("developer"))
    assert len(developer.pods("api-gateway")) == 5
    for read in ("nodes", "hpas", "applications"):
        with pytest.raises(NotPermitted) as caught:
            getattr(developer, read)()
        assert caught.value.next
    assert not developer.can("list", "hpa")
    # Whether Argo CD would take a change back must not be a guess.
    with pytest.raises(NotPermitted):
        developer.rollback("api-gateway")


def test_who_and_where(cluster: Cluster, observer: Cluster, kubectl: Kubectl) -> None:
    uid = kubectl("get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert cluster.cluster_uid() == uid
    assert cluster.name == "pss-nano-sandbox"
    assert cluster.identity().user == "oncall-responder"
    assert cluster.can("patch", "deployments", "api-gateway")
    assert not observer.can("patch", "deployments", "api-gateway")
    assert not cluster.can("get", "secrets")


def test_the_owner_of_the_gateway_is_named(cluster: Cluster) -> None:
    assert cluster.owner_of("deployment", "api-gateway") == "pss-nano-production"
    assert cluster.owner_of("deployment", "auth-service") == ""
    gateway = cluster.deployments().set_index("deployment").loc["api-gateway"]
    assert gateway["owner"] == "pss-nano-production"
    application = cluster.applications().iloc[0]
    assert application["auto_sync"] and application["self_heal"]


def test_revisions_tell_what_differs(cluster: Cluster) -> None:
    rows = cluster.revisions("api-gateway")
    assert rows["current"].sum() == 1
    assert list(rows["revision"]) == sorted(rows["revision"], reverse=True)
    before = rows[~rows["current"]].iloc[0]
    assert "spec.containers[api-gateway].image" in before["template_differs_from_current"]
    assert not before["same_images_as_current"]


def test_two_ingresses_for_one_host_are_seen(cluster: Cluster, kubectl: Kubectl) -> None:
    """A10: the chart's and the raw manifest claim the same host and path."""
    second = json.loads(kubectl("get", "ingress", "api-gateway", "-n", "pss-nano", "-o", "json").stdout)
    second["metadata"] = {"name": "second", "namespace": "pss-nano"}
    kubectl("create", "-f", "-", stdin=json.dumps(second))
    try:
        rules = cluster.ingresses("api.pss-nano.com")
        assert set(rules["ingress"]) == {"api-gateway", "second"}
        assert (rules["claims"] == 2).all()
    finally:
        kubectl("delete", "ingress", "second", "-n", "pss-nano")


def test_headroom_knows_that_ten_gateways_need_ten_nodes(cluster: Cluster) -> None:
    """A4: nine api nodes and required anti-affinity."""
    rows = cluster.headroom("api-gateway", 10).set_index("limit")
    assert rows.loc["nodes", "allows"] == 9
    assert rows.loc["nodes", "ok"] is False or not rows.loc["nodes", "ok"]
    assert rows.loc["autoscaler", "ok"]


def test_logs_have_levels_and_times(cluster: Cluster) -> None:
    lines = cluster.logs("reservation-service", minutes=60)
    assert isinstance(lines["at"].dtype, pd.DatetimeTZDtype)
    assert "info" in set(lines["level"])
    assert not lines["message"].str.contains("\x1b").any()


def test_ten_reads_at_once_share_one_client(observer: Cluster) -> None:
    with ThreadPoolExecutor(10) as pool:
        frames = list(pool.map(lambda read: getattr(observer, read)(), PLAIN))
    assert [list(data.columns) for data in frames] == [COLUMNS[read] for read in PLAIN]


def test_a_rollout_and_a_setting_are_among_the_recent_changes(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("set", "env", "deployment/marketing-service", "OFFER=1", "-n", "pss-nano")
    kubectl("patch", "configmap", "cms-service", "-n", "pss-nano", "-p", '{"data":{"LOG_LEVEL":"debug"}}')
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            changes = cluster.recent_changes(1)
            rollouts = changes[(changes["kind"] == "Deployment") & (changes["name"] == "marketing-service")]
            if len(rollouts):
                break
            time.sleep(0.2)
        assert "env[OFFER]" in rollouts.iloc[0]["what"]
        settings = changes[(changes["kind"] == "ConfigMap") & (changes["name"] == "cms-service")]
        assert len(settings)
        assert changes["at"].is_monotonic_decreasing
    finally:
        kubectl("set", "env", "deployment/marketing-service", "OFFER-", "-n", "pss-nano")
        kubectl("patch", "configmap", "cms-service", "-n", "pss-nano", "-p", '{"data":{"LOG_LEVEL":"info"}}')
