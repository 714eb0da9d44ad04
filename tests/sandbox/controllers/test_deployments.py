"""Deployments over the real API: rollouts, undo, scaling, stalls, as kubectl and people see them."""

from __future__ import annotations

import pytest

from opslib.sandbox.client import DEPLOYMENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_new_deployment_becomes_available(cluster, make_deployment):
    ns = await cluster.namespace("fresh")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web"))
    done = await cluster.rolled_out(ns, "web")
    conditions = {c["type"]: c for c in done["status"]["conditions"]}
    assert conditions["Available"]["reason"] == "MinimumReplicasAvailable"

    async def told():
        d = await cluster.get(DEPLOYMENTS, ns, "web")
        return next((c for c in d["status"]["conditions"] if c["reason"] == "NewReplicaSetAvailable"), None)

    condition = await cluster.wait("the rollout to be complete", told)
    assert condition["message"].endswith("has successfully progressed.")
    pods = await cluster.pods(ns)
    assert len(pods) == 3
    assert len({p["status"]["podIP"] for p in pods}) == 3
    assert all(p["status"]["containerStatuses"][0]["imageID"].startswith("test/web@sha256:") for p in pods)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
