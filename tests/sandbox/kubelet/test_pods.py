"""Pods over the real API: how they start, fail, restart and end, as a responder sees it."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from opslib.sandbox.client import CONFIGMAPS, DEPLOYMENTS, EVENTS, PODS, SECRETS, ApiError
from opslib.sandbox.clock import parse_stamp

pytestmark = pytest.mark.asyncio(loop_scope="module")


def pod(namespace: str, name: str, tag: str = "ok", policy: str = "Always", **container) -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 5,
            "containers": [
                {
                    "name": "main",
                    "image": f"test/main:{tag}",
                    "ports": [{"name": "http", "containerPort": 3000}],
                    **container,
                }
            ],
        },
    }


async def state_of(cluster, ns: str, name: str) -> dict:
    found = await cluster.get(PODS, ns, name)
    statuses = (found.get("status") or {}).get("containerStatuses") or [{}]
    return statuses[0]


async def until_ready(cluster, ns: str, name: str) -> dict:
    async def ready():
        found = await cluster.get(PODS, ns, name)
        statuses = (found.get("status") or {}).get("containerStatuses") or [{}]
        return found if statuses[0].get("ready") else None

    return await cluster.wait(f"pod {name} to be ready", ready)


async def events_of(cluster, ns: str, name: str) -> list[tuple[str, str]]:
    await cluster.manager.sink.flush()
    found, _ = await cluster.client.list(EVENTS, ns)
    return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["name"] == name]


async def test_a_pod_starts_with_a_complete_status_and_events(cluster):
    ns = await cluster.namespace("start")
    await cluster.client.create(PODS, pod(ns, "one"))
    found = await until_ready(cluster, ns, "one")
    status = found["status"]
    assert status["phase"] == "Running"
    assert status["hostIP"] == "127.0.0.1"
    assert status["podIP"].startswith("10.4.")
    assert status["qosClass"] == "BestEffort"
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    container = status["containerStatuses"][0]
    assert container["containerID"].startswith("containerd://")
    assert container["started"] is True
    assert container["restartCount"] == 0
    reasons = [reason for reason, _ in await events_of(cluster, ns, "one")]
    assert {"Scheduled", "Pulling", "Pulled", "Created", "Started"} <= set(reasons)


async def test_a_crashing_container_backs_off_and_keeps_its_last_words(cluster):
    ns = await cluster.namespace("crash")
    await cluster.client.create(PODS, pod(ns, "one", "crash"))

    async def looping():
        found = await state_of(cluster, ns, "one")
        waiting = (found.get("state") or {}).get("waiting") or {}
        enough = found.get("restartCount", 0) >= 2
        return found if enough and waiting.get("reason") == "CrashLoopBackOff" else None

    found = await cluster.wait("the second back-off", looping)
    uid = (await cluster.get(PODS, ns, "one"))["metadata"]["uid"]
    message = found["state"]["waiting"]["message"]
    assert message == f"back-off 20s restarting failed container=main pod=one_{ns}({uid})"
    last = found["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (1, "Error")
    assert (await cluster.get(PODS, ns, "one"))["status"]["phase"] == "Running"
    code, out, err = await cluster.kubectl("-n", ns, "logs", "one")
    assert code == 0, err
    assert out.startswith("starting crash, attempt ")
    assert len(out.splitlines()) <= 2  # one instance only
    code, out, err = await cluster.kubectl("-n", ns, "logs", "one", "--previous")
    assert code == 0, err
    assert out.splitlines()[-1] == "Error: GREETING is required"
    assert ("BackOff", f"Back-off restarting failed container main in pod one_{ns}({uid})") in (
        await events_of(cluster, ns, "one")
    )


async def test_restart_policies_end_pods_as_kubernetes_does(cluster):
    ns = await cluster.namespace("policies")
    await cluster.client.create(PODS, pod(ns, "done", "done", "Never"))
    await cluster.client.create(PODS, pod(ns, "failed", "fail", "Never"))

    async def over():
        phases = {p["metadata"]["name"]: p["status"]["phase"] for p in await cluster.pods(ns)}
        return phases if phases == {"done": "Succeeded", "failed": "Failed"} else None

    await cluster.wait("both pods to end", over)
    done = await cluster.get(PODS, ns, "done")
    assert done["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    ready = next(c for c in done["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    failed = await cluster.get(PODS, ns, "failed")
    assert failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


@pytest.mark.parametrize(
    ("name", "container", "message"),
    [
        ("map", {"envFrom": [{"configMapRef": {"name": "absent"}}]}, 'configmap "absent" not found'),
        ("secret", {"envFrom": [{"secretRef": {"name": "absent"}}]}, 'secret "absent" not found'),
        (
            "key",
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "have", "key": "no"}}}]},
            "couldn't find key no in Secret {ns}/have",
        ),
    ],
)
async def test_missing_configuration_is_named_and_the_pod_recovers(cluster, name, container, message):
    ns = await cluster.namespace(f"config-{name}")
    await cluster.client.create(
        SECRETS, {"metadata": {"name": "have", "namespace": ns}, "stringData": {"yes": "1"}}
    )
    await cluster.client.create(PODS, pod(ns, "one", **container))

    async def told():
        waiting = ((await state_of(cluster, ns, "one")).get("state") or {}).get("waiting") or {}
        return waiting if waiting.get("reason") == "CreateContainerConfigError" else None

    waiting = await cluster.wait("the configuration error", told)
    assert waiting["message"] == message.format(ns=ns)
    assert ("Failed", f"Error: {message.format(ns=ns)}") in await events_of(cluster, ns, "one")
    body = {"metadata": {"name": "absent", "namespace": ns}}
    await cluster.client.create(CONFIGMAPS, {**body, "data": {"A": "1"}})
    await cluster.client.create(SECRETS, {**body, "stringData": {"A": "1"}})
    await cluster.client.patch(SECRETS, ns, "have", {"stringData": {"no": "1"}})
    await until_ready(cluster, ns, "one")


async def test_environment_comes_from_all_its_sources(cluster):
    ns = await cluster.namespace("env")
    await cluster.client.create(
        CONFIGMAPS, {"metadata": {"name": "map", "namespace": ns}, "data": {"LEVEL": "warn", "PORT": "1"}}
    )
    await cluster.client.create(
        SECRETS, {"metadata": {"name": "sec", "namespace": ns}, "stringData": {"password": "hunter2"}}
    )
    env = [
        {"name": "PORT", "value": "3000"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "password"}}},
        {"name": "URL", "value": "db://user:$(PASSWORD)@host/$(UNKNOWN)/$$(PORT)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {
            "name": "OPTIONAL",
            "valueFrom": {"configMapKeyRef": {"name": "map", "key": "none", "optional": True}},
        },
        {
            "name": "MEMORY",
            "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        },
    ]
    container = {
        "env": env,
        "envFrom": [{"prefix": "X_", "configMapRef": {"name": "map"}}, {"configMapRef": {"name": "map"}}],
        "resources": {"limits": {"memory": "256Mi"}},
    }
    await cluster.client.create(PODS, pod(ns, "one", **container))
    found = await until_ready(cluster, ns, "one")
    code, out, err = await cluster.kubectl("-n", ns, "exec", "one", "--", "env")
    assert code == 0, err
    seen = dict(line.split("=", 1) for line in out.splitlines())
    wanted = {
        "LEVEL": "warn",
        "X_LEVEL": "warn",
        "PORT": "3000",
        "PASSWORD": "hunter2",
        "URL": "db://user:hunter2@host/$(UNKNOWN)/$(PORT)",
        "NODE": found["spec"]["nodeName"],
        "IP": found["status"]["podIP"],
        "MEMORY": "256",
        "HOSTNAME": "one",
    }
    assert wanted.items() <= seen.items()
    assert "OPTIONAL" not in seen


async def test_liveness_failures_restart_the_container(cluster):
    ns = await cluster.namespace("liveness")
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5, "failureThreshold": 2}
    await cluster.client.create(PODS, pod(ns, "sick", livenessProbe=probe))
    await until_ready(cluster, ns, "sick")
    cluster.programs.health["sick"] = 503

    async def restarted():
        return (await state_of(cluster, ns, "sick")).get("restartCount", 0) >= 1

    await cluster.wait("the restart", restarted)
    cluster.programs.health.pop("sick")
    found = await until_ready(cluster, ns, "sick")
    last = found["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 143
    told = await events_of(cluster, ns, "sick")
    assert ("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503") in told
    assert ("Killing", "Container main failed liveness probe, will be restarted") in told


async def test_readiness_follows_the_probe_and_a_startup_probe_holds_it_back(cluster):
    ns = await cluster.namespace("readiness")
    container = {
        "startupProbe": {"tcpSocket": {"port": 3000}, "periodSeconds": 2},
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 3000},
            "periodSeconds": 2,
            "failureThreshold": 1,
        },
    }
    cluster.programs.health["moody"] = 503
    await cluster.client.create(PODS, pod(ns, "moody", **container))

    async def started():
        found = await state_of(cluster, ns, "moody")
        return found if found.get("started") else None

    found = await cluster.wait("the startup probe to pass", started)
    assert found["ready"] is False
    cluster.programs.health["moody"] = 200
    await until_ready(cluster, ns, "moody")
    cluster.programs.health["moody"] = 500

    async def unready():
        found = await cluster.get(PODS, ns, "moody")
        ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
        return ready if ready["status"] == "False" else None

    ready = await cluster.wait("the pod to be unready", unready)
    assert ready["message"] == "containers with unready status: [main]"
    assert (await state_of(cluster, ns, "moody"))["restartCount"] == 0


async def test_memory_above_the_limit_is_an_oom_kill(cluster):
    ns = await cluster.namespace("oom")
    container = {"resources": {"limits": {"memory": "100Mi"}}}
    cluster.programs.memory["hungry"] = 200 * 1024**2
    await cluster.client.create(PODS, pod(ns, "hungry", **container))

    async def killed():
        found = await state_of(cluster, ns, "hungry")
        ends = [
            (found.get("state") or {}).get("terminated"),
            (found.get("lastState") or {}).get("terminated"),
        ]
        return next((end for end in ends if end), None)

    end = await cluster.wait("the kill", killed)
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


async def test_init_containers_run_first_and_one_that_fails_holds_the_pod(cluster):
    ns = await cluster.namespace("init")
    good, bad = pod(ns, "good"), pod(ns, "bad")
    good["spec"]["initContainers"] = [{"name": "prepare", "image": "test/init:done"}]
    bad["spec"]["initContainers"] = [{"name": "prepare", "image": "test/init:fail"}]
    await cluster.client.create(PODS, good)
    await cluster.client.create(PODS, bad)
    found = await until_ready(cluster, ns, "good")
    init = found["status"]["initContainerStatuses"][0]["state"]["terminated"]
    assert (init["exitCode"], init["reason"]) == (0, "Completed")
    started = found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert parse_stamp(init["finishedAt"]) <= parse_stamp(started)

    async def held():
        found = await cluster.get(PODS, ns, "bad")
        statuses = found["status"].get("initContainerStatuses") or [{}]
        waiting = (statuses[0].get("state") or {}).get("waiting") or {}
        return found if waiting.get("reason") == "CrashLoopBackOff" else None

    found = await cluster.wait("the failing init container to back off", held)
    assert found["status"]["phase"] == "Pending"
    assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


async def test_deletion_is_graceful_and_force_is_at_once(cluster):
    ns = await cluster.namespace("deletion")
    slow = pod(ns, "slow", lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "sleep 30"]}}})
    slow["spec"]["terminationGracePeriodSeconds"] = 60
    await cluster.client.create(PODS, slow)
    await cluster.client.create(PODS, pod(ns, "forced"))
    await until_ready(cluster, ns, "slow")
    await until_ready(cluster, ns, "forced")
    await cluster.client.delete(PODS, ns, "slow")
    assert (await cluster.get(PODS, ns, "slow"))["metadata"]["deletionTimestamp"]
    await asyncio.sleep(cluster.clock.scaled(10))
    assert (await cluster.get(PODS, ns, "slow"))["status"]["phase"] == "Running"
    await cluster.client.delete(PODS, ns, "forced", grace=0)
    with pytest.raises(ApiError) as missing:
        await cluster.get(PODS, ns, "forced")
    assert missing.value.code == 404

    async def gone():
        return not await cluster.pods(ns)

    await cluster.wait("the slow pod to be gone", gone)
    assert ("Killing", "Stopping container main") in await events_of(cluster, ns, "slow")


async def test_a_restarted_platform_takes_running_pods_over(cluster, make_deployment):
    ns = await cluster.namespace("takeover")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")
    before = {p["metadata"]["uid"]: p["status"]["containerStatuses"][0] for p in await cluster.pods(ns)}
    name = (await cluster.pods(ns))[0]["metadata"]["name"]
    await cluster.stop()
    await cluster.start()

    async def taken():
        running = [cluster.kubelet.container(uid, "web") for uid in before]
        return all(running) and running

    running = await cluster.wait("the containers to run again", taken)
    now = dt.datetime.now(dt.UTC)
    assert all(r.restarts == 0 and now - r.started_at > dt.timedelta(seconds=0) for r in running)
    await asyncio.sleep(0.5)
    after = {p["metadata"]["uid"]: p["status"]["containerStatuses"][0] for p in await cluster.pods(ns)}
    assert after == before
    code, out, err = await cluster.kubectl("-n", ns, "logs", name)
    assert (code, out) == (0, "starting ok, attempt 0\n"), err


async def test_everything_survives_a_killed_api(cluster, make_deployment):
    import signal

    ns = await cluster.namespace("outage")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")
    await asyncio.sleep(1.5)  # the store saves every second
    await cluster.stop_api(signal.SIGKILL)
    await cluster.start_api()
    code, _, err = await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=3")
    assert code == 0, err
    await cluster.rolled_out(ns, "web", 30)


async def test_a_replaced_state_is_taken_over(cluster, make_deployment):
    ns = await cluster.namespace("restored")
    await cluster.client.create(DEPLOYMENTS, make_deployment(ns, "web", replicas=2))
    await cluster.rolled_out(ns, "web")
    saved = await cluster.client.request("GET", "/sandbox/v1/state")
    before = {p["metadata"]["uid"] for p in await cluster.pods(ns)}
    for p in await cluster.pods(ns):
        await cluster.client.delete(PODS, ns, p["metadata"]["name"])
    await cluster.client.patch(DEPLOYMENTS, ns, "web", {"spec": {"replicas": 5}})
    await cluster.rolled_out(ns, "web")
    await cluster.client.request("PUT", "/sandbox/v1/state", saved)

    async def back():
        uids = {p["metadata"]["uid"] for p in await cluster.pods(ns)}
        held = {uid for uid, w in cluster.kubelet.workers.items() if w.pod["metadata"]["namespace"] == ns}
        return uids == before == held and all(cluster.kubelet.container(uid, "web") for uid in before)

    await cluster.wait("the old pods to run again", back)
    await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=3")
    await cluster.rolled_out(ns, "web")
