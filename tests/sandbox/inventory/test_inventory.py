"""The healthy platform: what PLATFORM.md says it is, and nothing that refers to what is not there."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter

import pytest

from opslib.sandbox import inventory
from opslib.sandbox.inventory import gitops
from opslib.sandbox.inventory.names import BACKENDS, SERVICES
from opslib.sandbox.workloads import catalogue
from opslib.sandbox.workloads.kube_state import quantity

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def objects() -> list[dict]:
    return inventory.objects(NOW)


def of(objects: list[dict], kind: str, namespace: str | None = "pss-nano") -> dict[str, dict]:
    return {
        o["metadata"]["name"]: o
        for o in objects
        if o["kind"] == kind and (namespace is None or o["metadata"].get("namespace") == namespace)
    }


def pod_specs(objects: list[dict]) -> list[dict]:
    kinds = ("Deployment", "StatefulSet", "ReplicaSet")
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] in kinds]


def test_there_are_17_services_with_their_companions(objects):
    names = {service.name for service in SERVICES}
    assert len(names) == 17
    assert set(of(objects, "Deployment")) == names
    for kind in ("HorizontalPodAutoscaler", "ServiceAccount", "Service", "ConfigMap"):
        assert names <= set(of(objects, kind)), kind
    assert names <= set(of(objects, "PodDisruptionBudget"))


def test_nothing_carries_the_label_app(objects):
    for o in objects:
        template = (o.get("spec") or {}).get("template") or {}
        for labels in (o["metadata"].get("labels"), (template.get("metadata") or {}).get("labels")):
            assert "app" not in (labels or {}), o["metadata"]["name"]


def test_names_and_uids_are_unique_and_fresh_on_every_call(objects):
    keys = Counter((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects)
    assert [key for key, count in keys.items() if count > 1] == []
    uids = {o["metadata"]["uid"] for o in objects}
    assert len(uids) == len(objects)
    assert not uids & {o["metadata"]["uid"] for o in inventory.objects(NOW)}


def test_quota_use_is_what_the_platform_computes(objects):
    """43 pods, 16.5 CPU and 40.5 GiB of requests at the HPAs' minimum (PLATFORM.md 1.11)."""
    default = {"cpu": "250m", "memory": "256Mi"}
    pods, cpu, memory = 0, 0.0, 0.0
    for kind in ("Deployment", "StatefulSet"):
        for o in of(objects, kind).values():
            count = o["spec"]["replicas"]
            pods += count
            for container in o["spec"]["template"]["spec"]["containers"]:
                asked = (container.get("resources") or {}).get("requests") or default
                cpu += count * quantity(asked["cpu"])
                memory += count * quantity(asked["memory"])
    assert (pods, cpu, memory / 2**30) == (43, 16.5, 40.5)


def test_each_deployment_runs_its_newest_revision_and_has_an_older_one_with_another_image(objects):
    for deployment in of(objects, "Deployment").values():
        uid = deployment["metadata"]["uid"]
        mine = [
            rs
            for rs in of(objects, "ReplicaSet").values()
            if rs["metadata"]["ownerReferences"][0]["uid"] == uid
        ]
        mine.sort(key=lambda rs: rs["metadata"]["creationTimestamp"])
        assert 2 <= len(mine) <= 3
        revisions = [rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for rs in mine]
        assert revisions == [str(n + 1) for n in range(len(mine))]
        assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revisions[-1]
        assert [rs["spec"]["replicas"] for rs in mine[:-1]] == [0] * (len(mine) - 1)
        newest = json.loads(json.dumps(mine[-1]["spec"]["template"]))
        newest["metadata"]["labels"].pop("pod-template-hash")
        assert newest == deployment["spec"]["template"]
        images = {rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in mine}
        assert len(images) == len(mine)
        assert "kubernetes.io/change-cause" not in deployment["metadata"]["annotations"]


def test_selectors_match_their_pod_templates(objects):
    for o in objects:
        if o["kind"] in ("Deployment", "StatefulSet", "ReplicaSet"):
            labels = o["spec"]["template"]["metadata"]["labels"]
            assert o["spec"]["selector"]["matchLabels"].items() <= labels.items(), o["metadata"]["name"]


def test_every_reference_to_a_config_map_secret_or_account_resolves(objects, tmp_path):
    maps, secrets = of(objects, "ConfigMap"), of(objects, "Secret")
    accounts = of(objects, "ServiceAccount")
    for spec in pod_specs([o for o in objects if o["metadata"].get("namespace") == "pss-nano"]):
        assert spec.get("serviceAccountName", "default") in {*accounts, "default"}
        for container in spec["containers"]:
            for source in container.get("envFrom", []):
                for key, known in (("configMapRef", maps), ("secretRef", secrets)):
                    if key in source:
                        assert source[key]["name"] in known
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {})
                for key, known in (("configMapKeyRef", maps), ("secretKeyRef", secrets)):
                    if key in reference:
                        assert reference[key]["key"] in known[reference[key]["name"]]["data"], entry


def test_every_image_is_in_the_registry(objects):
    for spec in pod_specs(objects):
        for container in spec["containers"]:
            assert catalogue.exists(container["image"]), container["image"]


def test_pods_run_already_and_those_of_the_gateway_are_on_different_nodes(objects):
    pods = of(objects, "Pod")
    gateway = [p for name, p in pods.items() if name.startswith("api-gateway-")]
    assert len(gateway) == 5 and len({p["spec"]["nodeName"] for p in gateway}) == 5
    nodes = of(objects, "Node", None)
    assert all(nodes[p["spec"]["nodeName"]]["metadata"]["labels"]["workload"] == "api" for p in gateway)
    every = [o for o in objects if o["kind"] == "Pod"]
    addresses = [p["status"]["podIP"] for p in every]
    assert len(set(addresses)) == len(addresses)
    wanted = sum(o["spec"]["replicas"] for o in objects if o["kind"] == "Deployment")
    assert len(every) == wanted


def test_nodes_are_those_of_the_three_pools(objects):
    nodes = of(objects, "Node", None)
    assert Counter(n["metadata"]["labels"]["workload"] for n in nodes.values()) == {
        "api": 9,
        "worker": 6,
        "cache": 9,
    }
    tainted = {n["metadata"]["labels"]["workload"] for n in nodes.values() if n["spec"].get("taints")}
    assert tainted == {"worker", "cache"}


def test_connections_of_all_pools_fit_the_database_at_the_minimum(objects):
    """The sum over all pods stays below 80 % of max_connections 200; the charts as committed exceed it."""
    total = sum(2 * b.connections for b in BACKENDS if b.connections)
    assert 0 < total <= 160


def test_git_has_what_argo_cd_tracks_and_leaves_replicas_to_the_hpa(tmp_path):
    pki = tmp_path / "pki"
    pki.mkdir()
    (pki / "edge-api.crt").write_text("certificate")
    (pki / "edge-api.key").write_text("key")
    made = inventory.objects(NOW, tmp_path)
    files = {path.name: json.loads(path.read_text()) for path in gitops.folder(tmp_path).glob("*.json")}
    assert set(files) == {
        f"{kind}-api-gateway.json"
        for kind in (
            "configmap",
            "deployment",
            "horizontalpodautoscaler",
            "ingress",
            "poddisruptionbudget",
            "service",
            "serviceaccount",
        )
    }
    deployment = files["deployment-api-gateway.json"]
    assert "replicas" not in deployment["spec"] and "uid" not in deployment["metadata"]
    live = of(made, "Deployment")["api-gateway"]
    notes = live["metadata"]["annotations"]
    assert (
        notes["argocd.argoproj.io/tracking-id"] == "pss-nano-production:apps/Deployment:pss-nano/api-gateway"
    )
    assert deployment["spec"]["template"] == live["spec"]["template"]
    assert "api-gateway-tls" in of(made, "Secret")


def test_observers_may_read_no_secret_and_change_nothing(objects):
    roles = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ClusterRole"}
    for rule in roles["opslib-observer"]["rules"]:
        assert "secrets" not in rule["resources"]
        if set(rule["verbs"]) - {"get", "list", "watch"}:
            assert all(resource.endswith("reviews") for resource in rule["resources"])


def test_a_few_services_can_be_chosen_and_unknown_ones_are_refused():
    few = inventory.objects(NOW, services_only=["api-gateway", "auth-service"])
    assert set(of(few, "Deployment")) == {"api-gateway", "auth-service"}
    with pytest.raises(ValueError, match="no such service: nothing"):
        inventory.objects(NOW, services_only=["nothing"])
