"""Quota, limits, defaults, validation, eviction: what is refused, and in which words."""

from __future__ import annotations

import time
from typing import Any

from .conftest import MERGE, Cluster, deployment, pod

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"


def _quota(cluster: Cluster, ns: str, **hard: str) -> None:
    names = {k.replace("_", "."): v for k, v in hard.items()}
    body = {"metadata": {"name": "pss-nano-quota"}, "spec": {"hard": names}}
    cluster.ok("POST", f"{CORE}/{ns}/resourcequotas", body)


def _used(cluster: Cluster, ns: str) -> dict[str, str]:
    quota = cluster.ok("GET", f"{CORE}/{ns}/resourcequotas/pss-nano-quota")
    return dict(quota["status"]["used"])


def test_quota_refuses_and_counts(cluster: Cluster, ns: str) -> None:
    _quota(cluster, ns, pods="2", services="1", requests_cpu="1", limits_memory="1Gi")
    resources = {"requests": {"cpu": "300m"}, "limits": {"memory": "256Mi", "cpu": "1"}}

    def body(name: str) -> dict[str, Any]:
        made = pod(name)
        made["spec"]["containers"][0]["resources"] = resources
        return made

    bare = cluster.request("POST", f"{CORE}/{ns}/pods", pod("bare"))
    assert bare.status_code == 403
    assert bare.json()["message"] == (
        'pods "bare" is forbidden: failed quota: pss-nano-quota: must specify limits.memory for: app; '
        "requests.cpu for: app"
    )
    for name in ("a", "b"):
        cluster.ok("POST", f"{CORE}/{ns}/pods", body(name))
    assert _used(cluster, ns) == {
        "pods": "2",
        "services": "0",
        "requests.cpu": "600m",
        "limits.memory": "512Mi",
    }
    full = cluster.request("POST", f"{CORE}/{ns}/pods", body("c"))
    assert full.json()["message"] == (
        'pods "c" is forbidden: exceeded quota: pss-nano-quota, requested: pods=1, used: pods=2, limited: pods=2'
    )
    assert full.json()["code"] == 403 and full.json()["reason"] == "Forbidden"
    cluster.ok("DELETE", f"{CORE}/{ns}/pods/a")
    cluster.ok("PATCH", f"{CORE}/{ns}/pods/b/status", {"status": {"phase": "Failed"}}, MERGE)
    assert _used(cluster, ns)["pods"] == "0"
    cluster.ok("POST", f"{CORE}/{ns}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}})
    assert _used(cluster, ns)["services"] == "1"
    cluster.ok(
        "PATCH", f"{CORE}/{ns}/resourcequotas/pss-nano-quota", {"spec": {"hard": {"services": "9"}}}, MERGE
    )
    status = cluster.ok("GET", f"{CORE}/{ns}/resourcequotas/pss-nano-quota")["status"]
    assert status["hard"]["services"] == "9"
    shown = cluster.kubectl("describe", "quota", "-n", ns)
    assert "services" in shown and "pods" in shown


def test_limit_range_defaults_and_bounds(cluster: Cluster, ns: str) -> None:
    container = {
        "type": "Container",
        "max": {"cpu": "4", "memory": "8Gi"},
        "min": {"cpu": "50m", "memory": "64Mi"},
        "default": {"cpu": "500m", "memory": "512Mi"},
        "defaultRequest": {"cpu": "250m", "memory": "256Mi"},
    }
    whole = {"type": "Pod", "max": {"cpu": "8", "memory": "16Gi"}}
    body = {"metadata": {"name": "pss-nano-limits"}, "spec": {"limits": [container, whole]}}
    cluster.ok("POST", f"{CORE}/{ns}/limitranges", body)
    made = cluster.ok("POST", f"{CORE}/{ns}/pods", pod("a"))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container app; cpu, memory limit for container app"
    )
    big = pod("b")
    big["spec"]["containers"][0]["resources"] = {
        "limits": {"cpu": "5", "memory": "32Mi"},
        "requests": {"cpu": "1"},
    }
    refused = cluster.request("POST", f"{CORE}/{ns}/pods", big).json()["message"]
    assert "maximum cpu usage per Container is 4, but limit is 5" in refused
    assert refused.startswith('pods "b" is forbidden: ')


def test_a_pod_gets_its_defaults(cluster: Cluster, ns: str) -> None:
    made = cluster.ok("POST", f"{CORE}/{ns}/pods", pod("a"))
    spec = made["spec"]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["serviceAccountName"]) == (
        "Always",
        "ClusterFirst",
        "default",
    )
    assert spec["terminationGracePeriodSeconds"] == 30 and spec["priority"] == 0
    assert [t["tolerationSeconds"] for t in spec["tolerations"]] == [300, 300]
    (container,) = spec["containers"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    refused = cluster.request("POST", f"{CORE}/{ns}/pods", pod("x", serviceAccountName="nobody"))
    assert refused.json()["message"] == (
        f'pods "x" is forbidden: error looking up service account {ns}/nobody: serviceaccount "nobody" not found'
    )


def test_generation_counts_specs_and_not_statuses(cluster: Cluster, ns: str) -> None:
    path = f"{APPS}/{ns}/deployments"
    made = cluster.ok("POST", path, deployment())
    assert (
        made["metadata"]["generation"] == 1 and made["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == "25%"
    )
    labelled = cluster.ok("PATCH", f"{path}/web", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 1
    status = cluster.ok("PATCH", f"{path}/web/status", {"status": {"replicas": 2}}, MERGE)
    assert status["metadata"]["generation"] == 1 and status["status"]["replicas"] == 2
    scaled = cluster.ok("PATCH", f"{path}/web/scale", {"spec": {"replicas": 3}}, MERGE)
    assert scaled["kind"] == "Scale" and scaled["status"]["selector"] == "app=web"
    live = cluster.ok("GET", f"{path}/web")
    assert live["metadata"]["generation"] == 2 and live["spec"]["replicas"] == 3
    same = cluster.ok("PATCH", f"{path}/web", {"spec": {"replicas": 3}}, MERGE)
    assert same["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


def test_invalid_objects_are_refused_in_kubernetes_words(cluster: Cluster, ns: str) -> None:
    path = f"{APPS}/{ns}/deployments"

    def message(body: Any, method: str = "POST", where: str = path, kind: str = "application/json") -> str:
        answer = cluster.request(method, where, body, kind)
        assert answer.status_code in (400, 422), answer.text
        return str(answer.json()["message"])

    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    assert "`selector` does not match template `labels`" in message(body)
    body = deployment(name="Bad_Name")
    assert 'Deployment.apps "Bad_Name" is invalid: ' in message(body)
    body = deployment(replicas=-1)
    assert message(body) == (
        'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    )
    body = deployment(replicas="two")
    assert message(body) == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
        "field DeploymentSpec.spec.replicas of type int32"
    )
    body = deployment()
    del body["spec"]["template"]["spec"]["containers"][0]["image"]
    assert "spec.template.spec.containers[0].image: Required value" in message(body)
    cluster.ok("POST", path, deployment())
    changed = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    assert "field is immutable" in message(changed, "PATCH", f"{path}/web", MERGE)
    cluster.ok("POST", f"{CORE}/{ns}/pods", pod("p"))
    moved = {"spec": {"hostname": "x"}}
    assert "pod updates may not change fields other than" in message(
        moved, "PATCH", f"{CORE}/{ns}/pods/p", MERGE
    )
    body = {
        "metadata": {"name": "h"},
        "spec": {"minReplicas": 5, "maxReplicas": 2, "scaleTargetRef": {"name": "w"}},
    }
    body["spec"]["scaleTargetRef"]["kind"] = "Deployment"  # type: ignore[index]
    autoscalers = f"/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
    assert "must be greater than or equal to `minReplicas`" in message(body, where=autoscalers)
    strict = cluster.request(
        "POST", path, {**deployment("s"), "bogus": 1}, params={"fieldValidation": "Strict"}
    )
    assert strict.status_code == 400
    assert strict.json()["message"].endswith('strict decoding error: unknown field "bogus"')
    warned = cluster.request("POST", path, {**deployment("w"), "bogus": 1})
    assert warned.status_code == 201 and warned.headers["Warning"] == '299 - "unknown field \\"bogus\\""'
    assert "bogus" not in warned.json()
    elsewhere = cluster.request("POST", f"{CORE}/nowhere/pods", pod("p"))
    assert elsewhere.status_code == 404 and elsewhere.json()["message"] == 'namespaces "nowhere" not found'


def test_eviction_honours_a_budget(cluster: Cluster, ns: str) -> None:
    cluster.ok("POST", f"{CORE}/{ns}/pods", pod("web"))
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.ok("PATCH", f"{CORE}/{ns}/pods/web/status", {"status": ready}, MERGE)
    budgets = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    cluster.ok("POST", budgets, {"metadata": {"name": "web-pdb"}, "spec": spec})
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}
    cluster.ok("PATCH", f"{budgets}/web-pdb/status", {"status": {**status, "expectedPods": 1}}, MERGE)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": ns}}
    refused = cluster.request("POST", f"{CORE}/{ns}/pods/web/eviction", body)
    assert refused.status_code == 429
    assert refused.json()["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert refused.json()["details"]["causes"][0]["message"] == (
        "The disruption budget web-pdb needs 1 healthy pods and has 1 currently"
    )
    cluster.ok("PATCH", f"{budgets}/web-pdb/status", {"status": {"disruptionsAllowed": 1}}, MERGE)
    assert cluster.request("POST", f"{CORE}/{ns}/pods/web/eviction", body).status_code == 201
    spent = cluster.ok("GET", f"{budgets}/web-pdb")["status"]
    assert spent["disruptionsAllowed"] == 0 and "web" in spent["disruptedPods"]


def test_dry_run_writes_nothing(cluster: Cluster, ns: str) -> None:
    path = f"{APPS}/{ns}/deployments"
    before = cluster.ok("GET", path)["metadata"]["resourceVersion"]
    made = cluster.ok("POST", path, deployment(), params={"dryRun": "All"})
    assert made["metadata"]["uid"]
    assert cluster.request("GET", f"{path}/web").status_code == 404
    assert cluster.ok("GET", path)["metadata"]["resourceVersion"] == before
    cluster.ok("POST", path, deployment())
    patched = cluster.ok("PATCH", f"{path}/web", {"spec": {"replicas": 9}}, MERGE, params={"dryRun": "All"})
    assert patched["spec"]["replicas"] == 9
    scaled = cluster.ok(
        "PATCH", f"{path}/web/scale", {"spec": {"replicas": 8}}, MERGE, params={"dryRun": "All"}
    )
    assert scaled["spec"]["replicas"] == 8
    assert cluster.ok("GET", f"{path}/web")["spec"]["replicas"] == 2
    wrong = cluster.request("POST", path, deployment("x"), params={"dryRun": "Some"})
    assert wrong.status_code == 422


def _until(check: Any) -> None:
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _owned(cluster: Cluster, ns: str, policy: str) -> dict[str, bool]:
    """Delete a Deployment by a policy; whether it, its ReplicaSet and pod are there afterwards."""
    top = cluster.ok("POST", f"{APPS}/{ns}/deployments", deployment())

    def owner(kind: str, obj: dict[str, Any]) -> list[dict[str, Any]]:
        meta = obj["metadata"]
        reference = {"apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"]}
        return [{**reference, "controller": True, "blockOwnerDeletion": True}]

    middle = deployment("rs")
    middle["kind"] = "ReplicaSet"
    middle["metadata"]["ownerReferences"] = owner("Deployment", top)
    made = cluster.ok("POST", f"{APPS}/{ns}/replicasets", middle)
    leaf = pod("leaf")
    leaf["metadata"]["ownerReferences"] = owner("ReplicaSet", made)
    cluster.ok("POST", f"{CORE}/{ns}/pods", leaf)
    cluster.ok("DELETE", f"{APPS}/{ns}/deployments/web", {"propagationPolicy": policy})
    places = {
        "deployment": f"{APPS}/{ns}/deployments/web",
        "replicaset": f"{APPS}/{ns}/replicasets/rs",
        "pod": f"{CORE}/{ns}/pods/leaf",
    }

    def there() -> dict[str, bool]:
        return {k: cluster.request("GET", v).status_code == 200 for k, v in places.items()}

    _until(lambda: not there()["deployment"])
    if policy != "Orphan":
        _until(lambda: not there()["pod"])
    return there()


def test_garbage_collection_policies(cluster: Cluster) -> None:
    for policy in ("Background", "Foreground"):
        found = _owned(cluster, cluster.namespace(f"gc-{policy.lower()}"), policy)
        assert found == {"deployment": False, "replicaset": False, "pod": False}
    ns = cluster.namespace("gc-orphan")
    assert _owned(cluster, ns, "Orphan") == {"deployment": False, "replicaset": True, "pod": True}
    assert "ownerReferences" not in cluster.ok("GET", f"{APPS}/{ns}/replicasets/rs")["metadata"]
    bad = cluster.request("DELETE", f"{APPS}/{ns}/replicasets/rs", {"propagationPolicy": "Sideways"})
    assert bad.status_code == 422


def test_finalizers_and_preconditions(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/configmaps"
    made = cluster.ok("POST", path, {"metadata": {"name": "c", "finalizers": ["example.com/hold"]}})
    wrong = cluster.request("DELETE", f"{path}/c", {"preconditions": {"uid": "nope"}})
    assert wrong.status_code == 409
    held = cluster.ok("DELETE", f"{path}/c", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert held["metadata"]["deletionTimestamp"]
    assert cluster.ok("GET", f"{path}/c")["metadata"]["finalizers"] == ["example.com/hold"]
    cluster.ok("PATCH", f"{path}/c", {"metadata": {"finalizers": None}}, MERGE)
    assert cluster.request("GET", f"{path}/c").status_code == 404


def test_a_namespace_takes_its_content_with_it(cluster: Cluster, ns: str) -> None:
    cluster.ok("POST", f"{APPS}/{ns}/deployments", deployment())
    cluster.ok("POST", f"{CORE}/{ns}/configmaps", {"metadata": {"name": "held", "finalizers": ["x.com/y"]}})
    gone = cluster.ok("DELETE", f"/api/v1/namespaces/{ns}")
    assert gone["status"]["phase"] == "Terminating"
    refused = cluster.request("POST", f"{CORE}/{ns}/pods", pod("x"))
    assert refused.status_code == 403 and "because it is being terminated" in refused.json()["message"]
    cluster.ok("PATCH", f"{CORE}/{ns}/configmaps/held", {"metadata": {"finalizers": None}}, MERGE)
    _until(lambda: cluster.request("GET", f"/api/v1/namespaces/{ns}").status_code == 404)
    assert cluster.request("DELETE", "/api/v1/namespaces/kube-system").status_code == 403
