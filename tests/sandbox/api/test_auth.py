"""Tokens, RBAC, reviews, audit: the texts and codes of a genuine server."""

from __future__ import annotations

import json

from .conftest import MERGE, Cluster, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"
OBSERVERS = {"kind": "Group", "name": "opslib:observers"}


def _grant(cluster: Cluster, ns: str) -> None:
    rules = [
        {
            "apiGroups": ["", "apps"],
            "resources": ["pods", "pods/log", "deployments"],
            "verbs": ["get", "list"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    ]
    cluster.ok("POST", f"{RBAC}/namespaces/{ns}/roles", {"metadata": {"name": "observer"}, "rules": rules})
    binding = {
        "metadata": {"name": "observer"},
        "subjects": [OBSERVERS],
        "roleRef": {"kind": "Role", "name": "observer"},
    }
    cluster.ok("POST", f"{RBAC}/namespaces/{ns}/rolebindings", binding)


def test_no_token_a_wrong_token_and_no_rights(cluster: Cluster, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/pods"
    anonymous = cluster.request("GET", path, user="")
    assert anonymous.status_code == 403
    assert anonymous.json()["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace '
        f'"{ns}"'
    )
    wrong = cluster.request("GET", path, headers={"Authorization": "Bearer wrong"}, user="")
    assert wrong.status_code == 401 and wrong.json()["reason"] == "Unauthorized"
    assert wrong.json()["message"] == "Unauthorized"
    denied = cluster.request("GET", "/api/v1/nodes/n1", user="oncall-observer")
    assert denied.json()["message"] == (
        'nodes "n1" is forbidden: User "oncall-observer" cannot get resource "nodes" in API group "" at the cluster '
        "scope"
    )
    assert denied.json()["details"] == {"name": "n1", "kind": "nodes"}
    path = cluster.request("GET", "/metrics", user="oncall-observer").json()["message"]
    assert path == 'forbidden: User "oncall-observer" cannot get path "/metrics"'


def test_roles_allow_exactly_what_they_say(cluster: Cluster, ns: str) -> None:
    _grant(cluster, ns)
    base = f"/api/v1/namespaces/{ns}"
    for name in ("one", "two"):
        cluster.ok("POST", f"{base}/configmaps", {"metadata": {"name": name}})
    user = "oncall-observer"
    assert cluster.request("GET", f"{base}/pods", user=user).status_code == 200
    assert cluster.request("GET", f"{base}/configmaps/one", user=user).status_code == 200
    assert cluster.request("GET", f"{base}/configmaps/two", user=user).status_code == 403
    assert cluster.request("GET", f"{base}/configmaps", user=user).status_code == 403
    assert cluster.request("GET", f"{base}/secrets", user=user).status_code == 403
    assert cluster.request("GET", "/api/v1/pods", user=user).status_code == 403
    refused = cluster.request("POST", f"{base}/pods", pod("x"), user=user)
    assert refused.status_code == 403 and "cannot create resource" in refused.json()["message"]
    deploy = f"/apis/apps/v1/namespaces/{ns}/deployments/web"
    scale = cluster.request("PATCH", f"{deploy}/scale", {"spec": {"replicas": 1}}, MERGE, user=user)
    assert scale.status_code == 404  # allowed, and not there
    whole = cluster.request("PATCH", deploy, {"spec": {"replicas": 1}}, MERGE, user=user)
    assert whole.status_code == 403
    dry = cluster.request("PATCH", deploy, {}, MERGE, user=user, params={"dryRun": "All"})
    assert dry.status_code == 403  # a dry run asks for the same right


def test_reviews(cluster: Cluster, ns: str) -> None:
    _grant(cluster, ns)
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def may(verb: str, resource: str, name: str = "", group: str = "", sub: str = "") -> bool:
        attributes = {"namespace": ns, "verb": verb, "resource": resource, "name": name, "group": group}
        body = {"spec": {"resourceAttributes": {**attributes, "subresource": sub}}}
        answer = cluster.ok("POST", path, body, user="oncall-observer")
        assert ("reason" in answer["status"]) is answer["status"]["allowed"]
        return bool(answer["status"]["allowed"])

    assert may("list", "pods") and may("patch", "deployments", "web", "apps", "scale")
    assert not may("delete", "pods") and not may("patch", "deployments", "web", "apps")
    me = cluster.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, user="oncall-observer")
    assert me["status"]["userInfo"]["username"] == "oncall-observer"
    assert "opslib:observers" in me["status"]["userInfo"]["groups"]
    body = {"spec": {"namespace": ns}}
    rules = cluster.ok(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body, user="oncall-observer"
    )
    assert any("pods" in r["resources"] for r in rules["status"]["resourceRules"])
    subject = {"user": "oncall-observer", "groups": ["opslib:observers"]}
    body = {"spec": {**subject, "resourceAttributes": {"namespace": ns, "verb": "get", "resource": "pods"}}}
    review = cluster.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert review["status"]["allowed"] is True
    token = cluster.token("oncall-observer")
    review = cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert review["status"]["authenticated"] is True


def test_service_account_tokens_carry_its_rights(cluster: Cluster, ns: str) -> None:
    _grant(cluster, ns)
    binding = {
        "metadata": {"name": "sa"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": ns}],
        "roleRef": {"kind": "Role", "name": "observer"},
    }
    cluster.ok("POST", f"{RBAC}/namespaces/{ns}/rolebindings", binding)
    made = cluster.ok("POST", f"/api/v1/namespaces/{ns}/serviceaccounts/default/token", {"spec": {}})
    headers = {"Authorization": f"Bearer {made['status']['token']}"}
    assert (
        cluster.request("GET", f"/api/v1/namespaces/{ns}/pods", headers=headers, user="").status_code == 200
    )
    refused = cluster.request("GET", f"/api/v1/namespaces/{ns}/secrets", headers=headers, user="")
    assert f"system:serviceaccount:{ns}:default" in refused.json()["message"]


def test_kubectl_sees_what_it_may_not_do(cluster: Cluster, ns: str) -> None:
    _grant(cluster, ns)
    refused = cluster.kubectl_raw("delete", "pod", "x", "-n", ns, user="observer")
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        'Error from server (Forbidden): pods "x" is forbidden: User "oncall-observer"'
    )


def test_every_request_is_in_the_audit_log(cluster: Cluster, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.ok("POST", path, pod("audited"), params={"dryRun": "All"})
    cluster.request("GET", path + "/nope", user="oncall-observer")
    lines = (cluster.path / "kube" / "audit.jsonl").read_text().splitlines()
    mine = [json.loads(line) for line in lines if f"/namespaces/{ns}/pods" in line]
    created = next(e for e in mine if e["verb"] == "create")
    assert created["requestURI"] == path + "?dryRun=All"
    assert created["responseStatus"]["code"] == 201 and created["user"]["username"] == "admin"
    assert created["objectRef"] == {"resource": "pods", "namespace": ns, "apiVersion": "v1"}
    denied = next(e for e in mine if e["verb"] == "get")
    assert denied["responseStatus"]["code"] == 403 and denied["user"]["username"] == "oncall-observer"
    assert denied["objectRef"]["name"] == "nope" and denied["requestReceivedTimestamp"].endswith("Z")
