"""What people type in a P0: kubectl, unchanged, against the sandbox's API."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import KUBECTL, Cluster, deployment, pod

APPS = "/apis/apps/v1/namespaces"


@pytest.fixture
def web(cluster: Cluster, ns: str) -> str:
    """A namespace with a Deployment called web."""
    cluster.ok("POST", f"{APPS}/{ns}/deployments", deployment())
    return ns


def _replica_set(name: str, revision: int, image: str, owner: dict[str, Any]) -> dict[str, Any]:
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {"app": "web", "pod-template-hash": name}
    return {
        "metadata": {
            "name": f"web-{name}",
            "labels": labels,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [reference],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def test_get_in_every_form(cluster: Cluster, web: str) -> None:
    wide = cluster.kubectl("get", "deploy", "-n", web, "-o", "wide")
    assert wide.split("\n")[0].split() == (
        "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR".split()
    )
    assert "example/app:v1" in wide and "0/2" in wide
    assert cluster.kubectl("get", "deploy", "web", "-n", web, "-o", "jsonpath={.spec.replicas}") == "2"
    assert "progressDeadlineSeconds: 600" in cluster.kubectl("get", "deploy", "web", "-n", web, "-o", "yaml")
    assert web in cluster.kubectl("get", "deploy", "-A")
    assert "web" in cluster.kubectl("get", "deploy", "-n", web, "-l", "app=web,app in (web,x),!none")
    assert cluster.kubectl("get", "deploy", "-n", web, "-l", "app!=web") == ""
    assert "web" in cluster.kubectl("get", "deploy", "-n", web, "--field-selector", "metadata.name=web")
    assert "deployment.apps/web" in cluster.kubectl("get", "all", "-n", web)
    bad = cluster.kubectl_raw("get", "pods", "-n", web, "--field-selector", "spec.bogus=1")
    assert "field label not supported: spec.bogus" in bad.stderr
    missing = cluster.kubectl_raw("get", "deploy", "nope", "-n", web)
    assert missing.returncode == 1
    assert missing.stderr == 'Error from server (NotFound): deployments.apps "nope" not found\n'


def test_get_watch_prints_changes(cluster: Cluster, web: str) -> None:
    import os

    environment = {**os.environ, "KUBECONFIG": str(cluster.sandbox.kubeconfig), "HOME": str(cluster.path)}
    command = [str(KUBECTL), "get", "deploy", "-n", web, "-w", "-o", "jsonpath={.spec.replicas}{'\\n'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        cluster.kubectl("scale", "deploy/web", "-n", web, "--replicas=7")
        assert process.stdout.readline() == "7\n"
    finally:
        process.terminate()
        process.wait(10)


def test_describe_reads_deployment_pod_node_and_events(cluster: Cluster, web: str) -> None:
    uid = cluster.ok("POST", f"/api/v1/namespaces/{web}/pods", pod("one"))["metadata"]["uid"]
    event = {
        "metadata": {"generateName": "one."},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "one", "namespace": web, "uid": uid},
        "reason": "BackOff",
        "message": "Back-off pulling image",
        "type": "Warning",
        "firstTimestamp": "2026-11-22T00:00:00Z",
        "lastTimestamp": "2026-11-22T00:00:00Z",
        "source": {"component": "kubelet"},
    }
    cluster.ok("POST", f"/api/v1/namespaces/{web}/events", event)
    shown = cluster.kubectl("describe", "pod", "one", "-n", web)
    assert "Back-off pulling image" in shown and "kube-api-access-" in shown and "BestEffort" in shown
    shown = cluster.kubectl("describe", "deploy", "web", "-n", web)
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in shown
    assert "Active" in cluster.kubectl("describe", "ns", web)
    events = cluster.kubectl(
        "get", "events", "-n", web, "--field-selector", "involvedObject.name=one,type=Warning"
    )
    assert "BackOff" in events
    assert "Back-off pulling image" in cluster.kubectl("events", "-n", web, "--for", "pod/one")


def test_rollout_history_undo_restart_pause_resume_status(cluster: Cluster, web: str) -> None:
    owner = cluster.ok("GET", f"{APPS}/{web}/deployments/web")
    for name, revision, image in (("aaa", 1, "example/app:v0"), ("bbb", 2, "example/app:v1")):
        cluster.ok("POST", f"{APPS}/{web}/replicasets", _replica_set(name, revision, image, owner))
    cluster.kubectl("annotate", "deploy/web", "-n", web, "deployment.kubernetes.io/revision=2")
    history = cluster.kubectl("rollout", "history", "deploy/web", "-n", web)
    assert "1         <none>" in history and "2         <none>" in history
    detail = cluster.kubectl("rollout", "history", "deploy/web", "-n", web, "--revision=1")
    assert "example/app:v0" in detail
    assert "rolled back" in cluster.kubectl("rollout", "undo", "deploy/web", "-n", web)
    live = cluster.ok("GET", f"{APPS}/{web}/deployments/web")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example/app:v0"
    generation = live["metadata"]["generation"]

    cluster.kubectl("rollout", "restart", "deploy/web", "-n", web)
    cluster.kubectl("rollout", "pause", "deploy/web", "-n", web)
    assert cluster.ok("GET", f"{APPS}/{web}/deployments/web")["spec"]["paused"] is True
    refused = cluster.kubectl_raw("rollout", "undo", "deploy/web", "-n", web)
    assert "paused" in refused.stderr
    cluster.kubectl("rollout", "resume", "deploy/web", "-n", web)
    live = cluster.ok("GET", f"{APPS}/{web}/deployments/web")
    assert live["metadata"]["generation"] == generation + 3
    assert "kubectl.kubernetes.io/restartedAt" in live["spec"]["template"]["metadata"]["annotations"]

    status = {
        "observedGeneration": live["metadata"]["generation"],
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    }
    merge = "application/merge-patch+json"
    cluster.ok("PATCH", f"{APPS}/{web}/deployments/web/status", {"status": status}, merge)
    done = cluster.kubectl("rollout", "status", "deploy/web", "-n", web, "--timeout=10s")
    assert done == 'deployment "web" successfully rolled out\n'


def test_scale_set_label_annotate_patch_delete(cluster: Cluster, web: str) -> None:
    cluster.kubectl("scale", "deploy/web", "-n", web, "--replicas=5")
    wrong = cluster.kubectl_raw("scale", "deploy/web", "-n", web, "--current-replicas=1", "--replicas=9")
    assert wrong.returncode == 1 and "Expected replicas to be 1, was 5" in wrong.stderr
    cluster.kubectl("set", "image", "deploy/web", "-n", web, "app=example/app:v2")
    cluster.kubectl("set", "env", "deploy/web", "-n", web, "LEVEL=debug")
    cluster.kubectl("set", "resources", "deploy/web", "-n", web, "--limits=cpu=200m,memory=512Mi")
    cluster.kubectl("label", "deploy/web", "-n", web, "tier=front")
    cluster.kubectl("annotate", "deploy/web", "-n", web, "note=yes")
    cluster.kubectl("patch", "deploy/web", "-n", web, "-p", '{"spec":{"minReadySeconds":3}}')
    json_patch = (
        '[{"op":"test","path":"/spec/replicas","value":5},{"op":"replace","path":"/spec/replicas","value":4}]'
    )
    cluster.kubectl("patch", "deploy/web", "-n", web, "--type=json", "-p", json_patch)
    failed = cluster.kubectl_raw("patch", "deploy/web", "-n", web, "--type=json", "-p", json_patch)
    assert failed.returncode == 1 and "invalid" in failed.stderr
    live = cluster.ok("GET", f"{APPS}/{web}/deployments/web")
    (container,) = live["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "example/app:v2"
    assert container["env"] == [{"name": "LEVEL", "value": "debug"}]
    assert container["resources"]["requests"] == {"cpu": "200m", "memory": "512Mi"}
    assert (live["spec"]["minReadySeconds"], live["spec"]["replicas"]) == (3, 4)
    assert "deleted" in cluster.kubectl("delete", "deploy", "web", "-n", web)
    again = cluster.kubectl_raw("delete", "deploy", "web", "-n", web)
    assert 'deployments.apps "web" not found' in again.stderr


def test_apply_diff_prune_of_fields_and_dry_run(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    body = deployment(minReadySeconds=5)
    file.write_text(json.dumps(body))
    assert "created" in cluster.kubectl("apply", "-n", ns, "-f", str(file))
    assert "unchanged" in cluster.kubectl("apply", "-n", ns, "-f", str(file))
    assert cluster.kubectl_raw("diff", "-n", ns, "-f", str(file)).returncode == 0
    del body["spec"]["minReadySeconds"]
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "example/app:v9"
    file.write_text(json.dumps(body))
    difference = cluster.kubectl_raw("diff", "-n", ns, "-f", str(file))
    assert (
        difference.returncode == 1
        and "+        image: example/app:v9" in difference.stdout.replace("\t", " ")
    ) or ("example/app:v9" in difference.stdout)
    before = cluster.ok("GET", f"{APPS}/{ns}/deployments/web")
    tried = cluster.kubectl("apply", "-n", ns, "-f", str(file), "--dry-run=server", "-o", "json")
    assert json.loads(tried)["spec"]["template"]["spec"]["containers"][0]["image"] == "example/app:v9"
    assert cluster.ok("GET", f"{APPS}/{ns}/deployments/web") == before
    assert "configured" in cluster.kubectl("apply", "-n", ns, "-f", str(file))
    live = cluster.ok("GET", f"{APPS}/{ns}/deployments/web")
    assert live["spec"].get("minReadySeconds", 0) == 0
    body["spec"]["replics"] = 3
    file.write_text(json.dumps(body))
    refused = cluster.kubectl_raw("apply", "-n", ns, "-f", str(file))
    assert refused.returncode == 1 and 'unknown field "spec.replics"' in refused.stderr


def test_apply_server_side_with_conflicts(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    file.write_text(json.dumps(deployment()))
    assert "serverside-applied" in cluster.kubectl("apply", "--server-side", "-n", ns, "-f", str(file))
    cluster.kubectl("set", "image", "deploy/web", "-n", ns, "app=example/app:hotfix")
    refused = cluster.kubectl_raw("apply", "--server-side", "-n", ns, "-f", str(file))
    assert (
        'conflict with "kubectl-set" using apps/v1: .spec.template.spec.containers[name="app"].image'
        in refused.stderr
    )
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-n", ns, "-f", str(file))
    live = cluster.ok("GET", f"{APPS}/{ns}/deployments/web")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example/app:v1"
    assert "serverside-applied" in cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "-n", ns, "-f", str(file)
    )


def test_explain_and_api_resources(cluster: Cluster) -> None:
    assert "maxSurge" in cluster.kubectl("explain", "deployment.spec.strategy", "--recursive")
    listed = cluster.kubectl("api-resources", "-o", "name")
    assert "deployments.apps" in listed and "pods.metrics.k8s.io" in listed
    assert "apps/v1" in cluster.kubectl("api-versions")


def test_delete_of_a_pod_waits_for_the_kubelet(cluster: Cluster, ns: str) -> None:
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods", pod("slow"))
    bind = {"metadata": {"name": "slow"}, "target": {"kind": "Node", "name": "n1"}}
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods/slow/binding", bind)
    cluster.kubectl("delete", "pod", "slow", "-n", ns, "--wait=false")
    assert "Terminating" in cluster.kubectl("get", "pod", "slow", "-n", ns)
    held = cluster.ok("GET", f"/api/v1/namespaces/{ns}/pods/slow")
    assert held["metadata"]["deletionGracePeriodSeconds"] == 30
    cluster.ok("DELETE", f"/api/v1/namespaces/{ns}/pods/slow", {"gracePeriodSeconds": 0})
    deadline = time.monotonic() + 5
    while cluster.request("GET", f"/api/v1/namespaces/{ns}/pods/slow").status_code != 404:
        assert time.monotonic() < deadline


def test_wait_for_condition_and_delete(cluster: Cluster, web: str) -> None:
    condition = {"type": "Available", "status": "True", "lastUpdateTime": "2026-11-22T00:00:00Z"}
    condition["lastTransitionTime"] = condition["lastUpdateTime"]
    cluster.ok(
        "PATCH",
        f"{APPS}/{web}/deployments/web/status",
        {"status": {"conditions": [condition]}},
        "application/merge-patch+json",
    )
    assert "met" in cluster.kubectl(
        "wait", "deploy/web", "-n", web, "--for=condition=Available", "--timeout=10s"
    )
    assert "deleted" in cluster.kubectl("delete", "deploy/web", "-n", web)
    cluster.kubectl("wait", "deploy/web", "-n", web, "--for=delete", "--timeout=10s")


def test_commands_that_send_protobuf(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        return cluster.kubectl("-n", ns, *arguments)

    assert cluster.kubectl("auth", "can-i", "delete", "pods", "-n", ns) == "yes\n"
    refused = cluster.kubectl_raw("auth", "can-i", "delete", "pods", "-n", ns, user="observer")
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert "selfsubjectaccessreviews" in cluster.kubectl("auth", "can-i", "--list", "-n", ns, user="observer")
    assert "oncall-observer" in cluster.kubectl("auth", "whoami", user="observer")
    run("create", "deployment", "made", "--image=example/app:v1", "--replicas=3", "--port=80")
    live = cluster.ok("GET", f"{APPS}/{ns}/deployments/made")
    assert live["spec"]["replicas"] == 3 and live["spec"]["selector"] == {"matchLabels": {"app": "made"}}
    (container,) = live["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "example/app:v1" and container["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]
    run("create", "configmap", "c", "--from-literal=a=ü")
    assert cluster.ok("GET", f"/api/v1/namespaces/{ns}/configmaps/c")["data"] == {"a": "ü"}
    run("create", "secret", "generic", "s", "--from-literal=k=v")
    assert cluster.ok("GET", f"/api/v1/namespaces/{ns}/secrets/s")["data"] == {"k": "dg=="}
    run("create", "serviceaccount", "robot")
    assert run("create", "token", "robot").strip()
    run("create", "role", "r", "--verb=get,list", "--resource=pods", "--resource=deployments.apps")
    run("create", "rolebinding", "b", "--role=r", "--serviceaccount=x:y", "--user=me")
    bound = cluster.ok("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings/b")
    assert {s["kind"] for s in bound["subjects"]} == {"User", "ServiceAccount"} and bound["roleRef"][
        "name"
    ] == "r"
    run("autoscale", "deployment", "made", "--min=2", "--max=5", "--cpu=60%")
    scaler = cluster.ok("GET", f"/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers/made")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 5)
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    run("create", "job", "j", "--image=example/app:v1", "--", "date", "-u")
    job = cluster.ok("GET", f"/apis/batch/v1/namespaces/{ns}/jobs/j")
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["date", "-u"]
    run("create", "quota", "q", "--hard=pods=9,cpu=2")
    run("create", "poddisruptionbudget", "p", "--selector=app=made", "--min-available=50%")
    budget = cluster.ok("GET", f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets/p")
    assert budget["spec"] == {"minAvailable": "50%", "selector": {"matchLabels": {"app": "made"}}}
    run("create", "service", "clusterip", "svc", "--tcp=80:8080")
    ports = cluster.ok("GET", f"/api/v1/namespaces/{ns}/services/svc")["spec"]["ports"]
    assert ports == [{"name": "80-8080", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    cluster.kubectl("create", "namespace", f"{ns}-two")
    tried = run("create", "deployment", "dry", "--image=x:v1", "--dry-run=server", "-o", "name")
    assert tried == "deployment.apps/dry\n"


def test_protobuf_that_is_not_known_is_refused_whole(cluster: Cluster, ns: str) -> None:
    kind = "application/vnd.kubernetes.protobuf"
    path = f"/api/v1/namespaces/{ns}/configmaps"
    wrong = cluster.request("POST", path, b"not protobuf", kind)
    assert wrong.status_code == 400
    described = b"\x0a\x02v1\x12\x09ConfigMap"
    body = b"\x0a\x09\x0a\x01x" + b"\x7a\x01y"  # metadata cut short
    envelope = b"k8s\x00\x0a" + bytes([len(described)]) + described + b"\x12" + bytes([len(body)]) + body
    assert cluster.request("POST", path, envelope, kind).status_code == 400
    body = b"\x0a\x03\x0a\x01x" + b"\x7a\x01y"  # field 15 of a ConfigMap does not exist
    envelope = b"k8s\x00\x0a" + bytes([len(described)]) + described + b"\x12" + bytes([len(body)]) + body
    refused = cluster.request("POST", path, envelope, kind)
    assert refused.status_code == 415 and "field 15 of ConfigMap" in refused.json()["message"]
    assert cluster.request("GET", f"{path}/x").status_code == 404


def test_cordon_taint_and_drain(cluster: Cluster, ns: str) -> None:
    node = f"node-{ns}"
    cluster.ok("POST", "/api/v1/nodes", {"metadata": {"name": node}})
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods", pod("a"))
    bind = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}}
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods/a/binding", bind)
    cluster.kubectl("taint", "node", node, "dedicated=api:NoSchedule")
    cluster.kubectl("cordon", node)
    live = cluster.ok("GET", f"/api/v1/nodes/{node}")["spec"]
    assert live == {
        "taints": [{"key": "dedicated", "value": "api", "effect": "NoSchedule"}],
        "unschedulable": True,
    }
    assert "SchedulingDisabled" in cluster.kubectl("get", "node", node)
    drained = cluster.kubectl("drain", node, "--force", "--grace-period=0", "--timeout=20s")
    assert "drained" in drained
    assert cluster.request("GET", f"/api/v1/namespaces/{ns}/pods/a").status_code == 404
    cluster.kubectl("uncordon", node)
    assert "unschedulable" not in cluster.ok("GET", f"/api/v1/nodes/{node}")["spec"]
