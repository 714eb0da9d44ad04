"""The state: kept over a restart and a kill, read, replaced, imported; and custom resources."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from .conftest import APPLY, MERGE, STRATEGIC, TABLE, Cluster, deployment, pod

CORE = "/api/v1/namespaces"
APPLICATION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "applications.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"plural": "applications", "kind": "Application", "shortNames": ["app", "apps"]},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Sync Status", "type": "string", "jsonPath": ".status.sync.status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["project"],
                                "properties": {
                                    "project": {"type": "string"},
                                    "revisions": {"type": "integer", "minimum": 0},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def test_state_survives_stop_and_kill(own_cluster: Cluster) -> None:
    ns = own_cluster.namespace("keep")
    own_cluster.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", APPLICATION)
    own_cluster.ok("POST", f"/apis/apps/v1/namespaces/{ns}/deployments", deployment())
    url = own_cluster.url
    uid = own_cluster.ok("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    before = own_cluster.ok("GET", f"/apis/apps/v1/namespaces/{ns}/deployments/web")
    own_cluster.stop()
    own_cluster.start()
    assert own_cluster.url == url  # the same port
    assert own_cluster.ok("GET", f"/apis/apps/v1/namespaces/{ns}/deployments/web") == before
    assert own_cluster.ok("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"] == uid
    assert own_cluster.ok("GET", "/apis/argoproj.io/v1alpha1/applications")["kind"] == "ApplicationList"

    own_cluster.ok("POST", f"{CORE}/{ns}/configmaps", {"metadata": {"name": "late"}})
    store = own_cluster.path / "kube" / "store.json"
    deadline = time.monotonic() + 10
    while '"late"' not in store.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    own_cluster.stop(signal.SIGKILL)
    own_cluster.start()
    assert own_cluster.ok("GET", f"{CORE}/{ns}/configmaps/late")
    newer = own_cluster.ok("POST", f"{CORE}/{ns}/configmaps", {"metadata": {"name": "later"}})
    assert int(newer["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])


def test_read_change_and_replace_the_state(own_cluster: Cluster) -> None:
    ns = own_cluster.namespace("snap")
    own_cluster.ok("POST", f"{CORE}/{ns}/pods", pod("kept"))
    saved = own_cluster.ok("GET", "/sandbox/v1/state")
    kept = own_cluster.ok("GET", f"{CORE}/{ns}/pods/kept")
    own_cluster.ok("DELETE", f"{CORE}/{ns}/pods/kept")
    own_cluster.ok("POST", f"{CORE}/{ns}/pods", pod("new"))
    own_cluster.ok("PUT", "/sandbox/v1/state", saved)
    assert own_cluster.ok("GET", f"{CORE}/{ns}/pods/kept") == kept
    assert own_cluster.request("GET", f"{CORE}/{ns}/pods/new").status_code == 404
    after = own_cluster.ok("GET", f"{CORE}/{ns}/pods")["metadata"]["resourceVersion"]
    assert int(after) > saved["rv"]
    refused = own_cluster.request("GET", "/sandbox/v1/state", user="oncall-observer")
    assert refused.status_code == 403
    assert own_cluster.request("PUT", "/sandbox/v1/state", {"x": 1}).status_code == 400


def test_import_keeps_what_is_given(cluster: Cluster, ns: str) -> None:
    old = "2026-10-01T00:00:00Z"
    web = deployment()
    web["metadata"] |= {"namespace": ns, "uid": f"uid-{ns}", "creationTimestamp": old, "generation": 8}
    web["status"] = {"replicas": 2, "readyReplicas": 2}
    running = pod("p", nodeName="n1", serviceAccountName="nobody-yet")
    running["metadata"] |= {"namespace": ns, "creationTimestamp": old}
    running["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": f"uid-{ns}"}
    ]
    running["status"] = {"phase": "Running", "podIP": "10.4.0.9"}
    cluster.ok("POST", "/sandbox/v1/import", {"items": [web, running]})
    got = cluster.ok("GET", f"/apis/apps/v1/namespaces/{ns}/deployments/web")
    meta = got["metadata"]
    assert (meta["uid"], meta["creationTimestamp"], meta["generation"]) == (f"uid-{ns}", old, 8)
    assert got["status"]["readyReplicas"] == 2 and got["spec"]["strategy"]["type"] == "RollingUpdate"
    shown = cluster.kubectl("get", "pod", "p", "-n", ns, "-o", "wide")
    assert "Running" in shown and "10.4.0.9" in shown and "n1" in shown
    unknown = cluster.request(
        "POST", "/sandbox/v1/import", [{"apiVersion": "x/v1", "kind": "Y", "metadata": {}}]
    )
    assert unknown.status_code == 400 and "import its CRD first" in unknown.json()["message"]
    assert cluster.request("POST", "/sandbox/v1/import", [], user="oncall-responder").status_code == 403


def test_custom_resources(own_cluster: Cluster) -> None:
    cluster, ns = own_cluster, own_cluster.namespace("argo")
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{ns}/applications"
    assert cluster.request("GET", path).status_code == 404
    cluster.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", APPLICATION)
    cluster.kubectl("wait", "--for=condition=Established", "crd/applications.argoproj.io", "--timeout=10s")
    body: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "gateway"},
        "spec": {"project": "default", "free": {"any": {"thing": 1}}, "unknown": True},
        "status": {"sync": {"status": "Synced"}},
    }
    made = cluster.ok("POST", path, body)
    assert (
        "status" not in made and "unknown" not in made["spec"] and made["spec"]["free"]["any"]["thing"] == 1
    )
    assert made["metadata"]["generation"] == 1
    strict = cluster.request("POST", path, body, params={"fieldValidation": "Strict"})
    assert strict.status_code == 400 and 'unknown field "spec.unknown"' in strict.json()["message"]
    sync = {"status": {"sync": {"status": "OutOfSync"}}}
    changed = cluster.ok("PATCH", f"{path}/gateway/status", sync, MERGE)
    assert changed["status"]["sync"]["status"] == "OutOfSync" and changed["metadata"]["generation"] == 1
    table = cluster.ok("GET", path, headers={"Accept": TABLE})
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Sync Status", "Age"]
    assert table["rows"][0]["cells"][:2] == ["gateway", "OutOfSync"]
    assert "OutOfSync" in cluster.kubectl("get", "app", "-n", ns)
    assert cluster.request("PATCH", f"{path}/gateway", {}, STRATEGIC).status_code == 415
    wrong = cluster.request("PATCH", f"{path}/gateway", {"spec": {"revisions": -1}}, MERGE)
    assert wrong.status_code == 422
    assert "should be greater than or equal to 0" in wrong.json()["message"]
    wrong = cluster.request("PATCH", f"{path}/gateway", {"spec": {"project": 7}}, MERGE)
    assert wrong.json()["message"].startswith(
        'Application.argoproj.io "gateway" is invalid: spec.project: Invalid value'
    )
    stale = cluster.ok("GET", f"{path}/gateway")
    del stale["metadata"]["resourceVersion"]
    unconditional = cluster.request("PUT", f"{path}/gateway", stale)
    assert (
        unconditional.status_code == 422
        and "must be specified for an update" in unconditional.json()["message"]
    )
    applied = {k: body[k] for k in ("apiVersion", "kind")} | {
        "metadata": {"name": "gateway"},
        "spec": {"revisions": 3},
    }
    merged = cluster.ok("PATCH", f"{path}/gateway", applied, APPLY, params={"fieldManager": "me"})
    assert merged["spec"]["revisions"] == 3 and merged["spec"]["project"] == "default"
    assert "project" in cluster.kubectl("explain", "applications.spec")
    cluster.kubectl("delete", "crd", "applications.argoproj.io")
    assert cluster.request("GET", path).status_code == 404


def test_five_thousand_pods(own_cluster: Cluster) -> None:
    ns = own_cluster.namespace("many")
    pods = []
    for number in range(5000):
        made = pod(f"p{number:04}", nodeName=f"n{number % 24}")
        made["metadata"]["namespace"] = ns
        pods.append(made)
    own_cluster.ok("POST", "/sandbox/v1/import", pods)
    assert len(own_cluster.ok("GET", f"{CORE}/{ns}/pods")["items"]) == 5000
    one = own_cluster.ok("GET", f"{CORE}/{ns}/pods", params={"fieldSelector": "spec.nodeName=n3"})
    assert len(one["items"]) == 209
    assert own_cluster.process is not None
    with open(f"/proc/{own_cluster.process.pid}/status") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert resident < 300_000, f"{resident} kB"


def test_the_official_python_client(own_cluster: Cluster) -> None:
    from kubernetes import client, config, watch

    configuration = client.Configuration()
    config.load_kube_config(str(own_cluster.sandbox.kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as api:
        core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
        core.create_namespace({"metadata": {"name": "py"}})
        made = apps.create_namespaced_deployment("py", deployment())
        assert made.spec.replicas == 2 and made.metadata.generation == 1
        apps.patch_namespaced_deployment_scale("web", "py", {"spec": {"replicas": 4}})
        assert apps.read_namespaced_deployment_scale("web", "py").spec.replicas == 4
        dry = apps.patch_namespaced_deployment("web", "py", {"spec": {"replicas": 9}}, dry_run="All")
        assert dry.spec.replicas == 9
        listed = apps.list_namespaced_deployment("py", label_selector="app=web")
        assert listed.items[0].spec.replicas == 4
        stream = watch.Watch().stream(apps.list_namespaced_deployment, "py", timeout_seconds=10)
        event = next(iter(stream))
        assert event["type"] == "ADDED" and event["object"].metadata.name == "web"
        autoscaling = client.AutoscalingV2Api(api)
        body = {
            "metadata": {"name": "web"},
            "spec": {
                "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [
                    _utilization("cpu", 70),
                    _utilization("memory", 80),
                ],
            },
        }
        autoscaling.create_namespaced_horizontal_pod_autoscaler("py", body)
        old = client.AutoscalingV1Api(api)
        hpa = old.patch_namespaced_horizontal_pod_autoscaler("web", "py", {"spec": {"minReplicas": 2}})
        assert hpa.spec.target_cpu_utilization_percentage == 70
        now = autoscaling.read_namespaced_horizontal_pod_autoscaler("web", "py")
        assert [m.resource.name for m in now.spec.metrics] == ["memory", "cpu"] or (
            [m.resource.name for m in now.spec.metrics] == ["cpu", "memory"]
        )
        assert now.spec.min_replicas == 2 and not now.metadata.annotations
        try:
            apps.read_namespaced_deployment("nope", "py")
        except client.ApiException as error:
            assert error.status == 404 and json.loads(error.body)["reason"] == "NotFound"
        else:
            raise AssertionError
        core.delete_namespace("py")


def _utilization(name: str, percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": name, "target": target}}
