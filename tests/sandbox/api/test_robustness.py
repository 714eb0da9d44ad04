"""Odd bodies: whatever a client sends, the answer is an object or a clear refusal, never a 500."""

from __future__ import annotations

import copy
import random
from typing import Any

from opslib.sandbox.api.registry import BUILTIN

from .conftest import APPLY, MERGE, STRATEGIC, TABLE, Cluster
from .samples import sample

JUNK: list[Any] = [None, -1, "x", "", [], {}, True, 1.5, [None], [{}], {"a": None}, {"a": 1}, ["x"], [1]]


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        found += _paths(value, (*path, key))
    return found


def _spoil(body: dict[str, Any], dice: random.Random) -> None:
    path = dice.choice([p for p in _paths(body) if p and p[0] not in ("apiVersion", "kind")])
    node: Any = body
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = copy.deepcopy(dice.choice(JUNK))


def test_spoiled_objects_never_break_the_server(cluster: Cluster, ns: str) -> None:
    dice = random.Random(20261122)
    rows = [r for r in BUILTIN if "list" in r.verbs and r.kind != "ComponentStatus"]
    for turn in range(100):
        row = rows[turn % len(rows)]
        root = f"/apis/{row.group}/{row.version}" if row.group else "/api/v1"
        base = f"{root}/namespaces/{ns}/{row.plural}" if row.namespaced else f"{root}/{row.plural}"
        body = sample(row.group, row.version, row.kind, row.plural, f"r{turn}-{ns}")
        whole = cluster.ok("POST", base, body)
        path = f"{base}/{body['metadata']['name']}"
        spoiled = copy.deepcopy(whole)
        for _ in range(dice.randint(1, 3)):
            _spoil(spoiled, dice)
        for method, where, kind in (
            ("PUT", path, "application/json"),
            ("PATCH", path, dice.choice([MERGE, STRATEGIC])),
            ("PATCH", path + "?fieldManager=z", APPLY),
        ):
            answer = cluster.request(method, where, spoiled, kind)
            assert answer.status_code < 500, (method, kind, spoiled, answer.text)
        table = cluster.request("GET", base, headers={"Accept": TABLE})
        assert table.status_code == 200, (spoiled, table.text)
        cluster.request("DELETE", path)


def test_odd_queries_are_refused(cluster: Cluster, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps"
    for query in (
        "limit=x",
        "timeoutSeconds=x&watch=1",
        "resourceVersion=x",
        "watch=1&resourceVersion=x",
        "labelSelector=a%20in%201",
        "fieldSelector=nonsense",
        "continue=x",
    ):
        answer = cluster.request("GET", f"{path}?{query}")
        assert answer.status_code == 400, (query, answer.text)
    assert cluster.request("DELETE", f"{path}/kube-root-ca.crt?gracePeriodSeconds=x").status_code == 400
    assert cluster.request("POST", path, "not json").status_code == 400
    assert cluster.request("POST", path, "[]").status_code == 400
    assert cluster.request("PATCH", f"{path}/kube-root-ca.crt", "7", MERGE).status_code == 400
