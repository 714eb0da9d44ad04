"""Watches: nothing missed, nothing repeated, bookmarks, 410; lists in pieces; concurrent writers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from .conftest import MERGE, TABLE, Cluster, pod

CORE = "/api/v1/namespaces"


def _config(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"l": name}}, "data": data}


def test_a_thousand_changes_are_seen_once_each(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/configmaps"
    rv = cluster.ok("GET", path)["metadata"]["resourceVersion"]
    stream = cluster.watch(path, resourceVersion=rv, timeoutSeconds=60)

    def write(number: int) -> None:
        cluster.ok("POST", path, _config(f"c{number}"))
        cluster.ok("PATCH", f"{path}/c{number}", {"data": {"n": "1"}}, MERGE)
        cluster.ok("DELETE", f"{path}/c{number}")

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(write, n) for n in range(334)]:
            future.result()
    seen: dict[str, list[str]] = {}
    versions = []
    for event in stream:
        seen.setdefault(event["object"]["metadata"]["name"], []).append(event["type"])
        versions.append(int(event["object"]["metadata"]["resourceVersion"]))
        if len(versions) == 1002:
            break
    assert versions == sorted(set(versions))
    assert len(seen) == 334 and set(map(tuple, seen.values())) == {("ADDED", "MODIFIED", "DELETED")}
    # a second watch over the same history sees the same
    replay = cluster.watch(path, resourceVersion=rv, timeoutSeconds=60)
    assert [int(next(replay)["object"]["metadata"]["resourceVersion"]) for _ in versions] == versions


def test_a_hundred_writers_lose_no_update(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/configmaps/counter"
    cluster.ok("POST", f"{CORE}/{ns}/configmaps", _config("counter", n="0"))
    token, url, ca = cluster.token(), cluster.url + path, str(cluster.path / "pki" / "ca.crt")

    def add(_: int) -> int:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        conflicts = 0
        while True:
            live = session.get(url, verify=ca).json()
            live["data"]["n"] = str(int(live["data"]["n"]) + 1)
            answer = session.put(url, json=live, verify=ca)
            if answer.status_code == 200:
                return conflicts
            assert answer.status_code == 409
            conflicts += 1

    with ThreadPoolExecutor(16) as pool:
        conflicts = sum(pool.map(add, range(100)))
    assert cluster.ok("GET", path)["data"]["n"] == "100"
    assert conflicts > 0


def test_initial_events_end_with_a_bookmark(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/pods"
    cluster.ok("POST", path, pod("a"))
    stream = cluster.watch(
        path,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
        timeoutSeconds=20,
    )
    assert next(stream)["type"] == "ADDED"
    mark = next(stream)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    cluster.ok("POST", path, pod("b"))
    assert next(stream)["object"]["metadata"]["name"] == "b"
    refused = cluster.request("GET", path, params={"watch": "1", "sendInitialEvents": "true"})
    assert refused.status_code == 422


def test_selectors_turn_changes_into_added_and_deleted(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/configmaps"
    stream = cluster.watch(path, labelSelector="l=x", resourceVersion="0", timeoutSeconds=20)
    cluster.ok("POST", path, _config("y"))
    cluster.ok("PATCH", f"{path}/y", {"metadata": {"labels": {"l": "x"}}}, MERGE)
    cluster.ok("PATCH", f"{path}/y", {"data": {"n": "1"}}, MERGE)
    cluster.ok("PATCH", f"{path}/y", {"metadata": {"labels": {"l": "z"}}}, MERGE)
    assert [next(stream)["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


def test_field_selectors_of_pods(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/pods"
    for name in ("a", "b"):
        cluster.ok("POST", path, pod(name))
    bind = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
    cluster.ok("POST", f"{path}/a/binding", bind)
    cluster.ok("PATCH", f"{path}/b/status", {"status": {"phase": "Failed"}}, MERGE)

    def names(selector: str) -> list[str]:
        items = cluster.ok("GET", path, params={"fieldSelector": selector})["items"]
        return [i["metadata"]["name"] for i in items]

    assert names("spec.nodeName=n1") == ["a"]
    assert names("spec.nodeName=") == ["b"]
    assert names("status.phase!=Pending") == ["b"]
    assert names("status.phase=Pending,metadata.name=a") == ["a"]
    assert names(f"metadata.namespace={ns}") == ["a", "b"]


def test_a_table_watch_sends_columns_once(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/pods"
    cluster.ok("POST", path, pod("a"))
    cluster.ok("POST", path, pod("b"))
    stream = cluster.request(
        "GET", path, params={"watch": "1", "timeoutSeconds": "20"}, headers={"Accept": TABLE}, stream=True
    ).iter_lines()
    first, second = json.loads(next(stream)), json.loads(next(stream))
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][:4] == ["b", "0/1", "Pending", "0"]


def test_lists_in_pieces(cluster: Cluster, ns: str) -> None:
    path = f"{CORE}/{ns}/configmaps"
    for number in range(7):
        cluster.ok("POST", path, _config(f"c{number}"))
    found, token = [], ""
    while True:
        page = cluster.ok("GET", path, params={"limit": "3", "continue": token})
        assert len(page["items"]) <= 3
        found += [i["metadata"]["name"] for i in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert page["metadata"]["remainingItemCount"] > 0
    assert found == [f"c{n}" for n in range(7)] + ["kube-root-ca.crt"]
    assert cluster.request("GET", path, params={"continue": "nonsense!"}).status_code == 400


def test_an_old_watch_gets_410(own_cluster: Cluster) -> None:
    ns = own_cluster.namespace("x")
    path = f"{CORE}/{ns}/configmaps"
    own_cluster.ok("POST", path, _config("c"))
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{n}", "namespace": ns}}
        for n in range(5100)
    ]
    own_cluster.ok("POST", "/sandbox/v1/import", items)
    answer = own_cluster.request("GET", path, params={"watch": "1", "resourceVersion": "1"})
    assert answer.status_code == 410 and answer.json()["reason"] == "Expired"
    assert answer.json()["message"].startswith("too old resource version: 1 (")
    future = own_cluster.request("GET", path, params={"watch": "1", "resourceVersion": "999999999"})
    assert future.status_code == 504


@pytest.mark.parametrize("end", ["replace", "stop"])
def test_open_watches_end_cleanly(own_cluster: Cluster, end: str) -> None:
    stream = own_cluster.watch(f"{CORE}/default/configmaps", resourceVersion="0", timeoutSeconds=60)
    next(stream)
    if end == "stop":
        own_cluster.stop()
        assert list(stream) == []
        return
    state = own_cluster.ok("GET", "/sandbox/v1/state")
    own_cluster.ok("PUT", "/sandbox/v1/state", state)
    rest = list(stream)
    assert rest[-1]["type"] == "ERROR" and rest[-1]["object"]["code"] == 410
