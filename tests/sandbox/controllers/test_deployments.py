"""Deployments over the real API: rollouts, undo, scaling, stalls, as kubectl and people see them."""

from __future__ import annotations

import asyncio

import pytest

from opslib.sandbox.client import DEPLOYMENTS, PODS, REPLICASETS

pytestmark = pytest.mark.asyncio(loop_scope="module")


def image_patch(name: str, tag: str) -> dict:
    container = {"name": name, "image": f"test/{name}:{tag}"}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def conditions(obj: dict) -> dict[str, dict]:
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or []}


async def test_a_new_deployment_becomes_available(cluster, make_deployment):
    ns = await cluster.namespace("fresh")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web"))
    done = await cluster.rolled_out(ns, "web")
    assert conditions(done)["Available"]["reason"] == "MinimumReplicasAvailable"

    async def told():
        found = conditions(await cluster.get(DEPLOYMENTS, ns, "web"))["Progressing"]
        return found if found["reason"] == "NewReplicaSetAvailable" else None

    condition = await cluster.wait("the rollout to be complete", told)
    assert condition["message"].endswith("has successfully progressed.")
    pods = await cluster.pods(ns)
    assert len(pods) == 3
    assert len({p["status"]["podIP"] for p in pods}) == 3
    assert all(p["status"]["containerStatuses"][0]["imageID"].startswith("test/web@sha256:") for p in pods)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    sets, _ = await cluster.client.list(REPLICASETS, ns)
    assert [rs["metadata"]["labels"]["pod-template-hash"] for rs in sets] == [
        sets[0]["metadata"]["name"].removeprefix("web-")
    ]
    await cluster.manager.sink.flush()
    messages = [e["message"] for e in await cluster.events(ns, "ScalingReplicaSet")]
    assert messages == [f"Scaled up replica set {sets[0]['metadata']['name']} from 0 to 3"]


async def test_rollout_keeps_the_minimum_available_and_undo_reuses_the_old_set(cluster, make_deployment):
    ns = await cluster.namespace("rolling")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=4))
    await cluster.rolled_out(ns, "web")
    first = (await cluster.pods(ns))[0]["metadata"]["labels"]["pod-template-hash"]

    lowest, most = [99], [0]
    stop = asyncio.Event()

    async def observe():
        while not stop.is_set():
            status = (await cluster.get(DEPLOYMENTS, ns, "web")).get("status") or {}
            lowest[0] = min(lowest[0], status.get("availableReplicas", 0))
            sets, _ = await cluster.client.list(REPLICASETS, ns)
            most[0] = max(most[0], sum(rs["spec"]["replicas"] for rs in sets))
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(observe())
    code, out, err = await cluster.kubectl("-n", ns, "set", "image", "deployment/web", "web=test/web:ok2")
    assert code == 0, err
    code, out, err = await cluster.kubectl(
        "-n", ns, "rollout", "status", "deployment/web", "--timeout=30s", seconds=40
    )
    stop.set()
    await watcher
    assert (code, out.strip().splitlines()[-1]) == (0, 'deployment "web" successfully rolled out'), err
    # 25 % of 4: at most one more and one fewer
    assert lowest[0] >= 3
    assert most[0] == 5
    code, history, _ = await cluster.kubectl("-n", ns, "rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.strip().splitlines()[2:]] == ["1", "2"]

    code, out, err = await cluster.kubectl("-n", ns, "rollout", "undo", "deployment/web")
    assert (code, out.strip()) == (0, "deployment.apps/web rolled back"), err
    done = await cluster.rolled_out(ns, "web")
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    sets, _ = await cluster.client.list(REPLICASETS, ns)
    assert len(sets) == 2
    back = next(rs for rs in sets if rs["metadata"]["labels"]["pod-template-hash"] == first)
    notes = back["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/revision"] == "3"
    assert notes["deployment.kubernetes.io/revision-history"] == "1"


async def test_an_image_that_does_not_exist_stalls_the_rollout_and_the_old_pods_serve(
    cluster, make_deployment
):
    ns = await cluster.namespace("stalled")
    await cluster.client.create(
        DEPLOYMENTS, make_deployment(ns, "web", replicas=2, progressDeadlineSeconds=60)
    )
    await cluster.rolled_out(ns, "web")
    await cluster.client.patch(DEPLOYMENTS, ns, "web", image_patch("web", "missing"), "strategic")

    async def stalled():
        found = conditions(await cluster.get(DEPLOYMENTS, ns, "web"))
        return found if found["Progressing"]["reason"] == "ProgressDeadlineExceeded" else None

    found = await cluster.wait("the progress deadline to pass", stalled)
    assert found["Progressing"]["status"] == "False"
    assert found["Progressing"]["message"].endswith("has timed out progressing.")
    assert found["Available"]["status"] == "True"
    waiting = [
        p["status"]["containerStatuses"][0]["state"]["waiting"]
        for p in await cluster.pods(ns)
        if "waiting" in p["status"]["containerStatuses"][0]["state"]
    ]
    assert {w["reason"] for w in waiting} <= {"ErrImagePull", "ImagePullBackOff"}
    await cluster.manager.sink.flush()
    texts = {e["message"] for e in await cluster.events(ns, "Failed")}
    assert "Error: ErrImagePull" in texts
    code, _, err = await cluster.kubectl("-n", ns, "rollout", "status", "deployment/web")
    assert code == 1
    assert 'deployment "web" exceeded its progress deadline' in err


async def test_scaling_in_the_middle_of_a_rollout_is_shared_out(cluster, make_deployment):
    ns = await cluster.namespace("proportional")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=4))
    await cluster.rolled_out(ns, "web")
    await cluster.client.patch(DEPLOYMENTS, ns, "web", image_patch("web", "unready"), "strategic")

    async def stuck():
        d = await cluster.get(DEPLOYMENTS, ns, "web")
        return d["status"].get("updatedReplicas") == 2

    await cluster.wait("two new pods", stuck)
    code, _, err = await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=8")
    assert code == 0, err

    async def shared():
        sets, _ = await cluster.client.list(REPLICASETS, ns)
        sizes = sorted(rs["spec"]["replicas"] for rs in sets)
        return sizes if sum(sizes) == 10 else None

    # 8 + 25 % = 10 pods, shared 3 : 2 as before
    assert await cluster.wait("the new size to be shared out", shared) == [4, 6]


async def test_a_paused_deployment_does_not_roll_out_until_resumed(cluster, make_deployment):
    ns = await cluster.namespace("paused")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=1))
    await cluster.rolled_out(ns, "web")
    code, _, err = await cluster.kubectl("-n", ns, "rollout", "pause", "deployment/web")
    assert code == 0, err
    await cluster.client.patch(DEPLOYMENTS, ns, "web", image_patch("web", "ok2"), "strategic")

    async def noted():
        d = await cluster.get(DEPLOYMENTS, ns, "web")
        observed = d["status"]["observedGeneration"] == d["metadata"]["generation"]
        return observed and conditions(d)["Progressing"]["reason"] == "DeploymentPaused"

    await cluster.wait("the pause to be noted", noted)
    assert len((await cluster.client.list(REPLICASETS, ns))[0]) == 1
    await cluster.kubectl("-n", ns, "rollout", "resume", "deployment/web")
    await cluster.rolled_out(ns, "web")
    staying = [p for p in await cluster.pods(ns) if not p["metadata"].get("deletionTimestamp")]
    assert {p["spec"]["containers"][0]["image"] for p in staying} == {"test/web:ok2"}


async def test_recreate_ends_all_old_pods_before_new_ones_start(cluster, make_deployment):
    ns = await cluster.namespace("recreate")
    await cluster.client.create(
        DEPLOYMENTS, make_deployment(ns, "web", replicas=2, strategy={"type": "Recreate"})
    )
    await cluster.rolled_out(ns, "web")
    await cluster.client.patch(DEPLOYMENTS, ns, "web", image_patch("web", "ok2"), "strategic")
    mixed = []

    async def done():
        images = {p["spec"]["containers"][0]["image"] for p in await cluster.pods(ns)}
        mixed.append(len(images) > 1)
        d = await cluster.get(DEPLOYMENTS, ns, "web")
        return images == {"test/web:ok2"} and d["status"].get("availableReplicas") == 2

    await cluster.wait("the new pods", done)
    assert not any(mixed)


async def test_history_is_cut_to_its_limit(cluster, make_deployment):
    ns = await cluster.namespace("history")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=1, revisionHistoryLimit=1))
    for tag in ("ok2", "ok3", "ok4"):
        await cluster.rolled_out(ns, "web")
        await cluster.client.patch(DEPLOYMENTS, ns, "web", image_patch("web", tag), "strategic")
    await cluster.rolled_out(ns, "web")

    async def cut():
        sets, _ = await cluster.client.list(REPLICASETS, ns)
        revisions = sorted(rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for rs in sets)
        return revisions == ["3", "4"]

    await cluster.wait("old sets to be deleted", cut)


async def test_restart_replaces_every_pod(cluster, make_deployment):
    ns = await cluster.namespace("restart")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")
    before = {p["metadata"]["uid"] for p in await cluster.pods(ns)}
    code, _, err = await cluster.kubectl("-n", ns, "rollout", "restart", "deployment/web")
    assert code == 0, err
    await cluster.rolled_out(ns, "web")

    async def replaced():
        uids = {p["metadata"]["uid"] for p in await cluster.pods(ns)}
        return len(uids) == 2 and not uids & before

    await cluster.wait("the old pods to be gone", replaced)


async def test_a_deleted_pod_is_replaced_and_a_relabelled_one_released(cluster, make_deployment):
    ns = await cluster.namespace("claims")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")
    gone, kept = [p["metadata"]["name"] for p in await cluster.pods(ns)]
    await cluster.client.delete(PODS, ns, gone)
    body = {"metadata": {"labels": {"app.kubernetes.io/name": "quarantine"}}}
    await cluster.client.patch(PODS, ns, kept, body)

    async def replaced():
        pods = await cluster.pods(ns)
        names = {p["metadata"]["name"] for p in pods}
        free = next((p for p in pods if p["metadata"]["name"] == kept), None)
        return len(names) == 3 and gone not in names and free and not free["metadata"].get("ownerReferences")

    await cluster.wait("two new pods and a free one", replaced)
    await cluster.rolled_out(ns, "web")


async def test_refused_pods_are_told_on_the_set_and_the_deployment(cluster, make_deployment):
    from opslib.sandbox.client import Resource

    quotas = Resource("", "v1", "resourcequotas", "ResourceQuota")
    ns = await cluster.namespace("quota")
    await cluster.client.create(
        quotas, {"metadata": {"name": "small", "namespace": ns}, "spec": {"hard": {"pods": "1"}}}
    )
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))

    async def told():
        return conditions(await cluster.get(DEPLOYMENTS, ns, "web")).get("ReplicaFailure")

    failure = await cluster.wait("the refusal to be told", told)
    assert failure["reason"] == "FailedCreate"
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in failure["message"]
    await cluster.manager.sink.flush()
    events = await cluster.events(ns, "FailedCreate")
    assert any(e["message"].startswith('Error creating: pods "web-') for e in events)
    await cluster.client.patch(quotas, ns, "small", {"spec": {"hard": {"pods": "5"}}})
    done = await cluster.rolled_out(ns, "web", 30)

    async def cleared():
        return "ReplicaFailure" not in conditions(await cluster.get(DEPLOYMENTS, ns, "web"))

    await cluster.wait("the failure to be cleared", cleared)
    assert done["status"]["availableReplicas"] == 2
