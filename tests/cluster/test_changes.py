"""Changes over the sandbox's real API: proposed, tried, guarded, applied, marked, undone to the byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from opslib.cluster import Cluster, NotApplicable
from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.leases import lease
from opslib.cluster.kinds import KINDS
from opslib.errors import LeaseHeld, NotPermitted, Refused, TargetChanged
from opslib.records.change import Mark, Settled
from tests.conftest import Kubectl

GATEWAY = "api-gateway"
APP = KINDS["application"].path("argocd", "pss-nano-production")
INGRESS = KINDS["ingress"].path("pss-nano", GATEWAY)


def apply(change: KubernetesChange, run: str = "run-1") -> tuple[Mapping[str, Any], Settled, list[Any]]:
    told: list[Any] = []
    with change.lease(run):
        receipt = change.apply(Mark(run, change.digest), told.append)
        settled = asyncio.run(change.settle(receipt, lambda _text: None, 60))
    return receipt, settled, told


def undo_of(cluster: Cluster, change: KubernetesChange, receipt: Mapping[str, Any]) -> KubernetesChange:
    """Through JSON, as another process would get it."""
    return cluster.revive(json.loads(json.dumps(change.undo_spec(receipt))))


@contextmanager
def unchanged(cluster: Cluster, *paths: str) -> Iterator[None]:
    """The specs at these paths are the same to the byte afterwards."""
    before = [json.dumps(cluster.api.get(path)["spec"], sort_keys=True) for path in paths]
    yield
    assert [json.dumps(cluster.api.get(path)["spec"], sort_keys=True) for path in paths] == before


def test_a_rollback_pauses_argo_marks_and_is_undone_to_the_byte(
    cluster: Cluster, healthy_sandbox: Any
) -> None:
    deployment = KINDS["deployment"].path("pss-nano", GATEWAY)
    with unchanged(cluster, deployment, APP):
        change = cluster.rollback(GATEWAY)
        assert '"image": "gcr.io/pss-nano/api-gateway:v2.7.2"' in change.diff()
        assert "spec.syncPolicy.automated" in change.diff()
        assert [e.kind for e in change.edits] == ["Application", "Deployment"]
        assert any("auto-sync of pss-nano-production is paused" in text for text in change.follow_ups)
        assert "5 pods" in change.risk.says
        assert change.mark_now() is None
        assert change.permitted().status == "ok"
        assert change.dry_run().status == "ok"
        assert cluster.rollback(GATEWAY).digest == change.digest

        receipt, settled, told = apply(change)
        assert settled.ok, settled.says
        assert [entry["object"] for entry in told] == [
            "application/pss-nano-production",
            "deployment/api-gateway",
        ]
        assert change.mark_now() == Mark("run-1", change.digest)
        assert set(cluster.pods(GATEWAY)["image"]) == {"gcr.io/pss-nano/api-gateway:v2.7.2"}
        assert not cluster.applications().iloc[0]["auto_sync"]
        newest = cluster.rollback_candidates(GATEWAY).iloc[0]
        assert not newest["candidate"] and "flip back" in newest["why"]

        undo = undo_of(cluster, change, receipt)
        assert [e.kind for e in undo.edits] == ["Deployment", "Application"]
        _, settled, _ = apply(undo, "run-2")
        assert settled.ok, settled.says
        assert change.mark_now() is None
    assert cluster.applications().iloc[0]["auto_sync"]


def test_a_mark_of_a_change_that_was_reverted_does_not_count(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    change = cluster.scale("cms-service", 3)
    apply(change)
    assert change.mark_now() == Mark("run-1", change.digest)
    kubectl("patch", "hpa", "cms-service", "-n", "pss-nano", "-p", '{"spec":{"minReplicas":2}}')
    assert change.mark_now() is None


def test_what_changed_meanwhile_is_not_overwritten(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    change = cluster.rollback("auth-service")
    kubectl("set", "env", "deployment/auth-service", "X=1", "-n", "pss-nano")
    before = cluster.deployment("auth-service")["spec"]["template"]
    assert change.dry_run().status == "rejected"
    told: list[Any] = []
    with change.lease("run-1"), pytest.raises(TargetChanged) as caught:
        change.apply(Mark("run-1", change.digest), told.append)
    assert not hasattr(caught.value, "receipt")
    assert told == []
    assert cluster.deployment("auth-service")["spec"]["template"] == before
    assert cluster.rollback("auth-service").digest != change.digest


def test_the_guard_stands_in_the_request_itself(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    """Somebody writes between our read and our write."""
    change = cluster.rollback("auth-service")

    def meanwhile(_entry: Any) -> None:
        kubectl("set", "env", "deployment/auth-service", "X=1", "-n", "pss-nano")

    with pytest.raises(TargetChanged):
        change.apply(Mark("run-1", change.digest), meanwhile)
    assert "opslib.io/run" not in (cluster.deployment("auth-service")["metadata"].get("annotations") or {})


def test_another_object_of_the_same_name_is_another_target(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    change = cluster.restart("cms-service")
    manifest = json.loads(kubectl("get", "deployment", "cms-service", "-n", "pss-nano", "-o", "json").stdout)
    kubectl("delete", "deployment", "cms-service", "-n", "pss-nano")
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        manifest["metadata"].pop(key, None)
    manifest.pop("status")
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    with pytest.raises(TargetChanged, match="made again"):
        change.apply(Mark("run-1", change.digest), lambda _entry: None)


def test_an_observer_may_not_and_is_told_so(observer: Cluster, healthy_sandbox: Any) -> None:
    change = observer.rollback(GATEWAY)
    asked = change.permitted()
    assert asked.status == "not permitted"
    assert "patch deployments.apps/api-gateway" in asked.says
    assert change.dry_run().status == "not permitted"
    with pytest.raises(NotPermitted):
        change.apply(Mark("run-1", change.digest), lambda _entry: None)
    with pytest.raises(NotPermitted), change.lease("me"):
        pass


def test_a_lease_is_held_by_one_and_taken_over_when_it_ended(cluster: Cluster, kubectl: Kubectl) -> None:
    change = cluster.restart(GATEWAY)
    with change.lease("run-1 by ada"):
        with pytest.raises(LeaseHeld, match="run-1 by ada"), cluster.restart(GATEWAY).lease("run-2"):
            pass
        with cluster.restart("cms-service").lease("run-2"):
            pass  # another target
        old = '{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}'
        kubectl(
            "patch", "lease", "opslib-deployment-api-gateway", "-n", "pss-nano", "--type=merge", "-p", old
        )
        with lease(cluster.api, "pss-nano", "opslib-deployment-api-gateway", "run-3"):
            holder = kubectl(
                "get",
                "lease",
                "opslib-deployment-api-gateway",
                "-n",
                "pss-nano",
                "-o",
                "jsonpath={.spec.holderIdentity}",
            )
            assert holder.stdout == "run-3"
    left = kubectl("get", "lease", "-n", "pss-nano", "-o", "name").stdout
    assert "opslib-deployment" not in left


def test_a_restart_s_digest_ignores_the_time(cluster: Cluster, healthy_sandbox: Any) -> None:
    first, second = cluster.restart("cms-service"), cluster.restart("cms-service")
    assert first.digest == second.digest
    old = set(cluster.pods("cms-service")["pod"])
    receipt, settled, _ = apply(first)
    assert settled.ok, settled.says
    assert not old & set(cluster.pods("cms-service")["pod"])
    undo = undo_of(cluster, first, receipt)
    _, settled, _ = apply(undo)
    assert settled.ok
    notes = cluster.deployment("cms-service")["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" not in notes


def test_scaling_goes_through_the_autoscaler(cluster: Cluster, healthy_sandbox: Any) -> None:
    """G7: `kubectl scale` would be walked back."""
    hpa = KINDS["horizontalpodautoscaler"].path("pss-nano", "reservation-service")
    with unchanged(cluster, hpa):
        change = cluster.scale("reservation-service", 3)
        assert [(e.kind, e.fields[0].pointer) for e in change.edits] == [
            ("HorizontalPodAutoscaler", "/spec/minReplicas")
        ]
        receipt, settled, _ = apply(change)
        assert settled.ok, settled.says
        assert cluster.pods("reservation-service")["ready"].sum() >= 3
        apply(undo_of(cluster, change, receipt))


def test_scaling_names_its_limits(cluster: Cluster) -> None:
    with pytest.raises(NotApplicable, match="at most 15"):
        cluster.scale(GATEWAY, 20)
    with pytest.raises(NotApplicable, match="as many replicas"):
        cluster.scale(GATEWAY, 5)
    raised = cluster.scale(GATEWAY, 20, raise_maximum=True)
    assert [f.pointer for f in raised.edits[-1].fields] == ["/spec/maxReplicas", "/spec/minReplicas"]
    # Argo CD owns the gateway's autoscaler and would take the change back (G6).
    assert raised.edits[0].kind == "Application"


def test_a_deployment_at_zero_is_brought_back_itself(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    """E3: at zero the autoscaler is switched off."""
    for name in ("cms-service", "dcs-service"):
        kubectl("scale", f"deployment/{name}", "--replicas=0", "-n", "pss-nano")
    change = cluster.scale_many({"cms-service": 2, "dcs-service": 2})
    assert [(e.kind, e.name) for e in change.edits] == [
        ("Deployment", "cms-service"),
        ("Deployment", "dcs-service"),
    ]
    receipt, settled, _ = apply(change)
    assert settled.ok, settled.says
    undo = undo_of(cluster, change, receipt)
    apply(undo)
    assert cluster.deployment("dcs-service")["spec"]["replicas"] == 0


def test_a_rollout_that_cannot_complete_says_why(
    cluster: Cluster, healthy_sandbox: Any, kubectl: Kubectl
) -> None:
    kubectl(
        "set",
        "image",
        "deployment/cms-service",
        "cms-service=gcr.io/pss-nano/cms-service:v0.0.1",
        "-n",
        "pss-nano",
    )
    change = cluster.restart("cms-service")
    with change.lease("run-1"):
        receipt = change.apply(Mark("run-1", change.digest), lambda _entry: None)
        settled = asyncio.run(change.settle(receipt, lambda _text: None, 4))
    assert not settled.ok
    assert "ErrImagePull" in settled.says or "ImagePullBackOff" in settled.says


def test_argo_is_paused_and_resumed_as_changes_of_their_own(cluster: Cluster, healthy_sandbox: Any) -> None:
    with pytest.raises(NotApplicable):
        cluster.resume_sync("pss-nano-production")
    with unchanged(cluster, APP):
        pause = cluster.pause_sync("pss-nano-production")
        receipt, _, _ = apply(pause)
        assert not cluster.applications().iloc[0]["auto_sync"]
        with pytest.raises(NotApplicable):
            cluster.pause_sync("pss-nano-production")
        apply(cluster.resume_sync("pss-nano-production"))
        assert cluster.applications().iloc[0]["auto_sync"]
        # The undo of the pause no longer fits: somebody resumed already.
        with pytest.raises(TargetChanged):
            undo_of(cluster, pause, receipt).apply(Mark("r", "d"), lambda _entry: None)


def test_maintenance_mode_comes_and_goes(cluster: Cluster, healthy_sandbox: Any, profile: Any) -> None:
    from opslib.edge import Edge

    edge = Edge(profile("responder"), cluster)
    with unchanged(cluster, INGRESS, APP):
        change = cluster.maintenance_mode(GATEWAY, message="Back <soon>", retry_after=120)
        assert change.dry_run().status == "ok"
        receipt, settled, _ = apply(change)
        assert settled.ok, settled.says
        during = edge.probe(GATEWAY, requests=4)
        assert set(during["served_by"]) == {"maintenance page"}
        assert set(during["status"]) == {503}
        assert during["body_head"].str.contains("Back &lt;soon&gt;").all()
        with pytest.raises(NotApplicable):
            cluster.maintenance_mode(GATEWAY)
        undo = undo_of(cluster, change, receipt)
        assert [e.action for e in undo.edits] == ["patch", "delete", "delete", "delete", "patch"]
        apply(undo)
        after = edge.probe(GATEWAY, requests=4)
        assert not after["failed"].any()
    assert "opslib-maintenance" not in set(cluster.deployments()["deployment"])


def test_an_undo_of_another_noun_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="database"):
        cluster.revive({"noun": "database", "version": 1})
