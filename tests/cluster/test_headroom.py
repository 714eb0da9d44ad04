"""Why more replicas could not be placed (A4, B6): a pure function."""

from __future__ import annotations

from typing import Any

import pandas as pd

from opslib.cluster.columns import COLUMNS
from opslib.cluster.headroom import headroom
from opslib.cluster.kinds import quantity, requests_of
from opslib.records.frames import frame
from tests.cluster.objects import deployment, template

APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "labelSelector": {
                    "matchExpressions": [
                        {"key": "app.kubernetes.io/name", "operator": "In", "values": ["api-gateway"]}
                    ]
                },
                "topologyKey": "kubernetes.io/hostname",
            }
        ]
    }
}


def make(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return frame(name, COLUMNS[name], rows)


def node(name: str, **more: Any) -> dict[str, Any]:
    return {
        "node": name, "ready": True, "schedulable": True, "cpu_allocatable": 4.0, "cpu_requested": 0.5,
        "memory_allocatable": 16e9, "memory_requested": 1e9, "pods_allocatable": 110, "pods": 1,
        "labels": {"workload": "api"}, "taints": [],
    } | more  # fmt: skip


def ask(
    replicas: int,
    *,
    nodes: list[dict[str, Any]],
    quotas: Any = (),
    hpas: Any = (),
    apart: bool = False,
    **more: Any,
) -> dict[str, Any]:
    owner = deployment(template("gcr.io/x:v1"))
    owner["spec"]["template"]["spec"]["nodeSelector"] = {"workload": "api"}
    if apart:
        owner["spec"]["template"]["spec"]["affinity"] = APART
    pods = make(
        "pods",
        [{"pod": f"p{n}", "deployment": "api-gateway", "node": f"n{n}", "ready": True} for n in range(2)],
    )
    found = headroom(
        owner, replicas, nodes=make("nodes", nodes), quotas=make("quotas", list(quotas)), hpas=make("hpas", list(hpas)),
        pods=pods, **more,
    )  # fmt: skip
    return {row["limit"]: row for row in found.to_dict("records")}


def test_required_anti_affinity_needs_a_node_each() -> None:
    rows = ask(5, nodes=[node(f"n{n}") for n in range(4)], apart=True)
    assert rows["nodes"]["allows"] == 4
    assert rows["nodes"]["ok"] is False
    assert "one pod a node" in rows["nodes"]["why"]


def test_cordoned_foreign_and_tainted_nodes_give_no_room() -> None:
    nodes = [
        node("n0", schedulable=False),
        node("n1", ready=False),
        node("n2", labels={"workload": "worker"}),
        node("n3", taints=[{"key": "workload", "value": "x", "effect": "NoSchedule"}]),
    ]
    why = ask(3, nodes=nodes)["nodes"]["why"]
    assert ask(3, nodes=nodes)["nodes"]["allows"] == 2
    for part in ("1 cordoned", "1 not ready", "1 of another pool", "1 tainted"):
        assert part in why


def test_room_is_counted_by_what_pods_reserve() -> None:
    assert (
        ask(20, nodes=[node("n9", cpu_requested=3.0)])["nodes"]["allows"] == 2 + 2
    )  # 1 core free, 0.5 a pod


def test_quota_names_the_resource_that_ends_it() -> None:
    quota = {
        "quota": "q",
        "resource": "limits.cpu",
        "hard": 10.0,
        "used": 8.0,
        "free": 2.0,
        "used_share": 0.8,
    }
    row = ask(5, nodes=[node("n0")], quotas=[quota])["quota limits.cpu"]
    assert (row["allows"], row["ok"]) == (4, False)


def test_the_autoscaler_s_maximum_is_a_limit() -> None:
    hpa = {"hpa": "h", "deployment": "api-gateway", "min": 2, "max": 4}
    assert ask(5, nodes=[node("n0")], hpas=[hpa])["autoscaler"]["ok"] is False


def test_the_database_limits_pods_and_unknown_stays_unknown() -> None:
    rows = ask(12, nodes=[node("n0")], connections_per_pod=10, database={"usable": 100, "used": 30})
    assert rows["database connections"]["allows"] == 2 + 5
    unknown = ask(12, nodes=[node("n0")], connections_per_pod=10)["database connections"]
    assert unknown["allows"] is None or pd.isna(unknown["allows"])
    assert unknown["ok"] is None


def test_no_node_read_is_unknown_not_enough() -> None:
    assert ask(3, nodes=[])["nodes"]["ok"] is None


def test_quantities() -> None:
    assert quantity("250m") == 0.25
    assert quantity("2Gi") == 2 * 2**30
    assert quantity("1e3") == 1000
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "100m"}}}, {}],
        "initContainers": [{"resources": {"requests": {"cpu": "1"}}}],
    }
    assert requests_of(spec, "cpu") == 1.0
