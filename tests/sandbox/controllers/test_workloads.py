"""StatefulSets, Jobs, Services, budgets, autoscalers, nodes and scheduling over the real API."""

from __future__ import annotations

import pytest

from opslib.sandbox.client import (
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    HPAS,
    JOBS,
    NODES,
    PDBS,
    PODS,
    SERVICES,
    STATEFULSETS,
    ApiError,
)
from opslib.sandbox.controllers.node import AWAY

pytestmark = pytest.mark.asyncio(loop_scope="module")


def conditions(obj: dict) -> dict[str, dict]:
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or []}


async def test_statefulset_pods_have_stable_names_and_update_from_the_last(cluster, make_deployment):
    ns = await cluster.namespace("stateful")
    body = make_deployment(ns, "db", replicas=3)
    body["spec"] |= {"serviceName": "db"}
    await cluster.client.create(STATEFULSETS, body)

    async def ready():
        s = await cluster.get(STATEFULSETS, ns, "db")
        return s if (s.get("status") or {}).get("readyReplicas") == 3 else None

    await cluster.wait("three ready pods", ready)
    pods = {p["metadata"]["name"]: p for p in await cluster.pods(ns)}
    assert sorted(pods) == ["db-0", "db-1", "db-2"]
    times = [pods[f"db-{n}"]["metadata"]["creationTimestamp"] for n in range(3)]
    assert times == sorted(times)
    uids = {name: p["metadata"]["uid"] for name, p in pods.items()}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "db", "image": "test/db:ok2"}]}}}}
    await cluster.client.patch(STATEFULSETS, ns, "db", patch, "strategic")
    code, _, err = await cluster.kubectl(
        "-n", ns, "rollout", "status", "statefulset/db", "--timeout=30s", seconds=40
    )
    assert code == 0, err
    after = {p["metadata"]["name"]: p["metadata"]["uid"] for p in await cluster.pods(ns)}
    assert set(after) == set(uids)
    assert not set(after.values()) & set(uids.values())
    status = (await cluster.get(STATEFULSETS, ns, "db"))["status"]
    assert status["currentRevision"] == status["updateRevision"]
    await cluster.client.patch(STATEFULSETS, ns, "db", {"spec": {"replicas": 1}})

    async def shrunk():
        return [p["metadata"]["name"] for p in await cluster.pods(ns)] == ["db-0"]

    await cluster.wait("the last pods to go", shrunk)


def job(ns: str, name: str, tag: str, **spec) -> dict:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "j", "image": f"test/j:{tag}"}]}}
    return {"metadata": {"name": name, "namespace": ns}, "spec": {"template": template, **spec}}


async def test_jobs_complete_or_fail_by_their_limits(cluster):
    ns = await cluster.namespace("jobs")
    await cluster.client.create(JOBS, job(ns, "good", "done", completions=3, parallelism=2))
    await cluster.client.create(JOBS, job(ns, "bad", "fail", backoffLimit=1))

    async def over():
        good, bad = await cluster.get(JOBS, ns, "good"), await cluster.get(JOBS, ns, "bad")
        return (good, bad) if "Complete" in conditions(good) and "Failed" in conditions(bad) else None

    good, bad = await cluster.wait("both jobs to end", over)
    assert good["status"]["succeeded"] == 3
    assert good["status"]["completionTime"]
    assert conditions(bad)["Failed"]["reason"] == "BackoffLimitExceeded"
    assert bad["status"]["failed"] == 2


async def test_endpoints_follow_readiness(cluster, make_deployment):
    ns = await cluster.namespace("endpoints")
    service = {
        "metadata": {"name": "web", "namespace": ns},
        "spec": {
            "selector": {"app.kubernetes.io/name": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
    await cluster.client.create(SERVICES, service)
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")

    async def addresses():
        found = await cluster.get(ENDPOINTS, ns, "web")
        subsets = found.get("subsets") or [{}]
        return subsets[0] if len(subsets[0].get("addresses") or []) == 2 else None

    subset = await cluster.wait("two addresses", addresses)
    assert subset["ports"] == [{"name": "http", "port": 3000, "protocol": "TCP"}]
    name = (await cluster.pods(ns))[0]["metadata"]["name"]
    cluster.programs.health[name] = 500

    async def split():
        found = (await cluster.get(ENDPOINTS, ns, "web"))["subsets"][0]
        slices, _ = await cluster.client.list(ENDPOINTSLICES, ns)
        ready = {e["targetRef"]["name"]: e["conditions"]["ready"] for s in slices for e in s["endpoints"]}
        waiting = [a["targetRef"]["name"] for a in found.get("notReadyAddresses") or []]
        return waiting == [name] and ready.get(name) is False and sum(ready.values()) == 1

    await cluster.wait("the unready pod to be taken out", split)
    cluster.programs.health.pop(name)
    await cluster.client.patch(DEPLOYMENTS, ns, "web", {"spec": {"replicas": 0}})

    async def empty():
        found = await cluster.get(ENDPOINTS, ns, "web")
        slices, _ = await cluster.client.list(ENDPOINTSLICES, ns)
        return not found.get("subsets") and not any(s.get("endpoints") for s in slices)

    await cluster.wait("no endpoints", empty)


async def test_a_budget_counts_what_may_be_evicted(cluster, make_deployment):
    ns = await cluster.namespace("budget")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=3))
    await cluster.client.create(
        PDBS,
        {
            "metadata": {"name": "web", "namespace": ns},
            "spec": {
                "minAvailable": 2,
                "selector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
            },
        },
    )

    async def counted():
        status = (await cluster.get(PDBS, ns, "web")).get("status") or {}
        return status if status.get("currentHealthy") == 3 else None

    status = await cluster.wait("three healthy pods", counted)
    assert (status["disruptionsAllowed"], status["desiredHealthy"], status["expectedPods"]) == (1, 2, 3)


async def test_an_autoscaler_grows_with_load_and_keeps_off_a_target_of_zero(cluster, make_deployment):
    ns = await cluster.namespace("autoscale")
    body = make_deployment(ns, "web", replicas=2)
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "requests": {"cpu": "10m", "memory": "64Mi"}
    }
    await cluster.client.create(DEPLOYMENTS, body)
    hpa = {
        "metadata": {"name": "web", "namespace": ns},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
        },
    }
    await cluster.client.create(HPAS, hpa)

    async def grown():
        d = await cluster.get(DEPLOYMENTS, ns, "web")
        return d["spec"]["replicas"] == 5

    # every pod uses 20m of its 10m: 200 % of the requests, four times the target
    await cluster.wait("the largest size", grown)

    async def told():
        found = await cluster.get(HPAS, ns, "web")
        known = conditions(found)
        limited = known.get("ScalingLimited", {}).get("reason") == "TooManyReplicas"
        return found if limited and (found["status"].get("currentMetrics")) else None

    found = await cluster.wait("the limit to be told", told)
    assert conditions(found)["ScalingActive"]["reason"] == "ValidMetricFound"
    assert found["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 200
    await cluster.manager.sink.flush()
    sizes = [e["message"] for e in await cluster.events(ns, "SuccessfulRescale")]
    text = "reason: cpu resource utilization (percentage of request) above target"
    assert f"New size: 5; {text}" in sizes
    await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=0")

    async def disabled():
        found = conditions(await cluster.get(HPAS, ns, "web"))
        return found["ScalingActive"]["reason"] == "ScalingDisabled"

    await cluster.wait("the autoscaler to stand back", disabled)
    assert (await cluster.get(DEPLOYMENTS, ns, "web"))["spec"]["replicas"] == 0


async def test_an_autoscaler_pulls_a_size_back_between_its_limits(cluster, make_deployment):
    ns = await cluster.namespace("limits")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=1))
    hpa = {
        "metadata": {"name": "web", "namespace": ns},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3,
            "maxReplicas": 4,
        },
    }
    await cluster.client.create(HPAS, hpa)

    async def size(wanted: int):
        async def look():
            return (await cluster.get(DEPLOYMENTS, ns, "web"))["spec"]["replicas"] == wanted

        await cluster.wait(f"{wanted} replicas", look)

    await size(3)
    await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=6")
    await size(4)


async def test_why_a_pod_cannot_be_scheduled_is_told_and_retried(cluster, make_deployment):
    ns = await cluster.namespace("crowded")
    body = make_deployment(ns, "web", replicas=7)
    term = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    body["spec"]["template"]["spec"]["affinity"] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    }
    await cluster.client.create(DEPLOYMENTS, body)

    async def pending():
        pods = [p for p in await cluster.pods(ns) if "PodScheduled" in conditions(p)]
        stuck = [p for p in pods if conditions(p)["PodScheduled"]["status"] == "False"]
        placed = [p for p in pods if p["spec"].get("nodeName")]
        return stuck[0] if len(stuck) == 1 and len(placed) == 6 else None

    pod = await cluster.wait("one pod to stay pending", pending)
    condition = conditions(pod)["PodScheduled"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == (
        "0/6 nodes are available: 6 node(s) didn't match pod anti-affinity rules. preemption: 0/6 nodes are "
        "available: 6 No preemption victims found for incoming pod."
    )
    node = {
        "metadata": {"name": "node-6", "labels": {"kubernetes.io/hostname": "node-6"}},
        "spec": {},
        "status": (await cluster.get(NODES, None, "node-0"))["status"],
    }
    await cluster.client.create(NODES, node)
    await cluster.client.patch(NODES, None, "node-6", {"status": node["status"]}, subresource="status")
    await cluster.rolled_out(ns, "web")
    await cluster.client.delete(DEPLOYMENTS, ns, "web")

    async def gone():
        return not await cluster.pods(ns)

    await cluster.wait("the pods to go", gone)
    await cluster.client.delete(NODES, None, "node-6")


async def test_a_cordoned_node_is_tainted_and_takes_no_pods(cluster, make_deployment):
    ns = await cluster.namespace("cordon")
    try:
        for number in range(5):
            code, _, err = await cluster.kubectl("cordon", f"node-{number}")
            assert code == 0, err
        await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
        await cluster.rolled_out(ns, "web")
        assert {p["spec"]["nodeName"] for p in await cluster.pods(ns)} == {"node-5"}

        async def tainted():
            taints = (await cluster.get(NODES, None, "node-0"))["spec"].get("taints") or []
            return [t["key"] for t in taints] == ["node.kubernetes.io/unschedulable"]

        await cluster.wait("the taint", tainted)
    finally:
        for number in range(5):
            await cluster.kubectl("uncordon", f"node-{number}")

    async def clean():
        return not (await cluster.get(NODES, None, "node-0"))["spec"].get("taints")

    await cluster.wait("the taint to go", clean)


async def test_drain_respects_the_budget(cluster, make_deployment):
    ns = await cluster.namespace("drain")
    body = make_deployment(ns, "web", replicas=2)
    body["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-1"}
    await cluster.client.create(DEPLOYMENTS, body)
    await cluster.rolled_out(ns, "web")
    selector = {"matchLabels": {"app.kubernetes.io/name": "web"}}
    await cluster.client.create(
        PDBS,
        {"metadata": {"name": "web", "namespace": ns}, "spec": {"minAvailable": 2, "selector": selector}},
    )

    async def counted():
        return ((await cluster.get(PDBS, ns, "web")).get("status") or {}).get("currentHealthy") == 2

    await cluster.wait("the budget to count", counted)
    name = (await cluster.pods(ns))[0]["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": ns},
    }
    with pytest.raises(ApiError) as refused:
        await cluster.client.request("POST", PODS.path(ns, name, "eviction"), eviction)
    assert refused.value.code == 429
    await cluster.client.patch(PDBS, ns, "web", {"spec": {"minAvailable": 1}})

    async def allowed():
        return (await cluster.get(PDBS, ns, "web"))["status"]["disruptionsAllowed"] == 1

    await cluster.wait("the budget to allow one", allowed)
    await cluster.client.request("POST", PODS.path(ns, name, "eviction"), eviction)

    async def replaced():
        names = [p["metadata"]["name"] for p in await cluster.pods(ns)]
        return name not in names and len(names) == 2

    await cluster.wait("the evicted pod to be replaced", replaced)


async def test_a_machine_that_goes_away_loses_its_pods_and_comes_back(cluster, make_deployment):
    ns = await cluster.namespace("away")
    body = make_deployment(ns, "web", replicas=1)
    body["spec"]["template"]["spec"]["tolerations"] = [
        {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 30,
        }
    ]
    await cluster.client.create(DEPLOYMENTS, body)
    await cluster.rolled_out(ns, "web")
    old = (await cluster.pods(ns))[0]
    node = old["spec"]["nodeName"]
    await cluster.client.patch(NODES, None, node, {"metadata": {"annotations": {AWAY: "stopped"}}})

    async def unknown():
        ready = conditions(await cluster.get(NODES, None, node))["Ready"]
        return ready if ready["status"] == "Unknown" else None

    ready = await cluster.wait("the node to be unknown", unknown)
    assert ready["message"] == "Kubelet stopped posting node status."

    async def moved():
        pods = await cluster.pods(ns)
        fresh = [p for p in pods if p["metadata"]["uid"] != old["metadata"]["uid"]]
        return fresh and fresh[0]["spec"].get("nodeName") not in (None, node)

    await cluster.wait("a new pod elsewhere", moved)
    left = await cluster.get(PODS, ns, old["metadata"]["name"])
    assert left["metadata"]["deletionTimestamp"]  # nobody there to confirm it
    await cluster.client.patch(NODES, None, node, {"metadata": {"annotations": {AWAY: None}}})

    async def recovered():
        found = await cluster.get(NODES, None, node)
        names = [p["metadata"]["name"] for p in await cluster.pods(ns)]
        return (
            conditions(found)["Ready"]["status"] == "True"
            and not found["spec"].get("taints")
            and old["metadata"]["name"] not in names
        )

    await cluster.wait("the node to be back and the old pod gone", recovered)
