"""Every row of the registry's table, by every verb that it claims."""

from __future__ import annotations

from typing import Any

import pytest

from opslib.sandbox.api.registry import BUILTIN, Resource

from .conftest import APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE, Cluster
from .samples import sample

STORED = [r for r in BUILTIN if "list" in r.verbs and r.kind != "ComponentStatus"]


def _id(row: Resource) -> str:
    return f"{row.api_version}/{row.plural}"


def _base(row: Resource, ns: str) -> str:
    root = f"/apis/{row.group}/{row.version}" if row.group else f"/api/{row.version}"
    return f"{root}/namespaces/{ns}/{row.plural}" if row.namespaced else f"{root}/{row.plural}"


@pytest.mark.parametrize("row", STORED, ids=_id)
def test_every_verb_of_every_resource(cluster: Cluster, ns: str, row: Resource) -> None:
    body = sample(row.group, row.version, row.kind, row.plural, f"x-{ns}")
    name, base = body["metadata"]["name"], _base(row, ns)
    start = cluster.ok("GET", base)
    assert start["kind"] == row.list_kind and start["apiVersion"] == row.api_version
    rv = start["metadata"]["resourceVersion"]

    made = cluster.ok("POST", base, body)
    assert (made["kind"], made["apiVersion"]) == (row.kind, row.api_version)
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]
    again = cluster.request("POST", base, body)
    assert again.status_code == 409 and again.json()["reason"] == "AlreadyExists"

    got = cluster.ok("GET", f"{base}/{name}")
    # a quota's status is counted right after its creation
    assert got["metadata"]["uid"] == made["metadata"]["uid"]
    listed = cluster.ok("GET", base, params={"fieldSelector": f"metadata.name={name}"})
    assert [i["metadata"]["name"] for i in listed["items"]] == [name]
    table = cluster.ok("GET", base, headers={"Accept": TABLE})
    assert table["kind"] == "Table"
    row_cells = next(r["cells"] for r in table["rows"] if r["object"]["metadata"]["name"] == name)
    assert len(row_cells) == len(table["columnDefinitions"])

    for kind, patch in (
        (MERGE, {"metadata": {"labels": {"one": "1"}}}),
        (STRATEGIC, {"metadata": {"labels": {"two": "2"}}}),
        (JSON_PATCH, [{"op": "add", "path": "/metadata/labels/three", "value": "3"}]),
    ):
        patched = cluster.ok("PATCH", f"{base}/{name}", patch, kind)
    labels = patched["metadata"]["labels"]
    assert (labels["one"], labels["two"], labels["three"]) == ("1", "2", "3")

    applied = {k: body[k] for k in ("apiVersion", "kind")} | {
        "metadata": {"name": name, "labels": {"four": "4"}},
    }
    after = cluster.ok("PATCH", f"{base}/{name}", applied, APPLY, params={"fieldManager": "test"})
    assert after["metadata"]["labels"]["four"] == "4" and after["metadata"]["labels"]["one"] == "1"

    current = cluster.ok("GET", f"{base}/{name}")
    current["metadata"].setdefault("annotations", {})["x"] = "y"
    updated = cluster.ok("PUT", f"{base}/{name}", current)
    assert updated["metadata"]["annotations"]["x"] == "y"
    stale = cluster.request("PUT", f"{base}/{name}", current)
    assert stale.status_code == 409 and stale.json()["reason"] == "Conflict"

    tried = cluster.ok("DELETE", f"{base}/{name}", params={"dryRun": "All"})
    assert tried and cluster.ok("GET", f"{base}/{name}")
    cluster.ok("DELETE", f"{base}/{name}")
    # a namespace goes when it is empty, a moment later
    gone = _until_gone(cluster, f"{base}/{name}")
    assert gone["reason"] == "NotFound" and gone["code"] == 404
    plural = f"{row.plural}.{row.group}" if row.group else row.plural
    assert gone["message"] == f'{plural} "{name}" not found'

    events = []
    for event in cluster.watch(
        base, resourceVersion=rv, timeoutSeconds=20, fieldSelector=f"metadata.name={name}"
    ):
        events.append(event)
        if event["type"] == "DELETED":
            break
    kinds = [e["type"] for e in events]
    assert kinds[0] == "ADDED" and kinds[-1] == "DELETED" and set(kinds[1:-1]) == {"MODIFIED"}
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions))
    assert all(e["object"]["kind"] == row.kind for e in events)


def _until_gone(cluster: Cluster, path: str) -> dict[str, Any]:
    for _ in range(100):
        answer = cluster.request("GET", path)
        if answer.status_code == 404:
            return dict(answer.json())
    raise AssertionError(f"{path} is still there")


@pytest.mark.parametrize("row", [r for r in STORED if r.subresource("status")], ids=_id)
def test_status_is_written_only_by_its_subresource(cluster: Cluster, ns: str, row: Resource) -> None:
    body = sample(row.group, row.version, row.kind, row.plural, f"s-{ns}")
    name, base = body["metadata"]["name"], _base(row, ns)
    cluster.ok("POST", base, body)
    condition = {
        "conditions": [{"type": "T", "status": "True", "lastTransitionTime": "2026-11-22T00:00:00Z"}]
    }
    status: dict[str, Any] = {
        "persistentvolumes": {"message": "m"},
        "cronjobs": {"lastScheduleTime": "2026-11-22T00:00:00Z"},
        "resourcequotas": {"used": {"configmaps": "7"}},
        "ingresses": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
        "horizontalpodautoscalers": {"desiredReplicas": 2, "currentReplicas": 2},
    }.get(row.plural, condition)
    key = next(iter(status))
    kind = MERGE
    main = cluster.ok("PATCH", f"{base}/{name}", {"status": status}, kind)
    assert (main.get("status") or {}).get(key) != status[key]
    written = cluster.ok(
        "PATCH", f"{base}/{name}/status", {"status": status, "metadata": {"labels": {"no": "1"}}}, kind
    )
    first = written["status"][key]
    assert first == status[key] or first[0]["type"] == "T"
    assert "no" not in (written["metadata"].get("labels") or {}) or row.kind == "Node"
    kept = cluster.ok("PATCH", f"{base}/{name}", {"metadata": {"labels": {"z": "1"}}}, kind)
    assert kept["status"][key] == written["status"][key] or row.kind == "ResourceQuota"
    cluster.ok("DELETE", f"{base}/{name}")


def test_what_is_not_in_the_table_is_answered_with_kubernetes_own_errors(cluster: Cluster, ns: str) -> None:
    missing = cluster.request("GET", "/apis/apps/v1/nonsense")
    assert missing.status_code == 404
    assert missing.json()["message"] == "the server could not find the requested resource"
    assert cluster.request("GET", "/apis/nonsense.example.com/v1/x").status_code == 404
    assert cluster.request("POST", f"/api/v1/namespaces/{ns}/pods/x/nonsense", {}).status_code == 404
    wrong = cluster.request("POST", "/api/v1/componentstatuses", {})
    assert wrong.status_code == 405 and wrong.json()["reason"] == "MethodNotAllowed"
    assert cluster.request("DELETE", "/api/v1/namespaces").status_code == 405
    form = cluster.request("GET", "/api/v1/nodes", headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert form.status_code == 406
    body = cluster.request("POST", f"/api/v1/namespaces/{ns}/pods", b"x", "text/plain")
    assert body.status_code == 415 and body.json()["reason"] == "UnsupportedMediaType"


def test_discovery_lists_exactly_the_table(cluster: Cluster) -> None:
    found = set()
    groups = cluster.ok("GET", "/apis")["groups"]
    paths = ["/api/v1"] + [f"/apis/{v['groupVersion']}" for g in groups for v in g["versions"]]
    for path in paths:
        document = cluster.ok("GET", path)
        for item in document["resources"]:
            if "/" not in item["name"]:
                found.add((document["groupVersion"], item["name"], item["namespaced"]))
    assert {(r.api_version, r.plural, r.namespaced) for r in BUILTIN} <= found
    v1 = {r["name"]: r for r in cluster.ok("GET", "/api/v1")["resources"]}
    assert v1["pods"]["shortNames"] == ["po"] and v1["pods"]["categories"] == ["all"]
    assert "shortNames" not in v1["pods/log"]
    assert cluster.ok("GET", "/version")["gitVersion"].startswith("v1.32.")
    for path in ("/healthz", "/readyz", "/livez"):
        assert cluster.request("GET", path, user="").text == "ok"
