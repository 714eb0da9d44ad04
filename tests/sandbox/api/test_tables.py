"""Columns against a genuine server's, and the cells that people read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opslib.sandbox.api.columns_pod import pod_cells
from opslib.sandbox.api.columns_text import age, hpa_targets, span
from opslib.sandbox.api.tables import json_path

from .conftest import TABLE, Cluster

# From a genuine server: 1.20's discovery of columns; where 1.32 differs, the newer columns are named.
GENUINE = {
    "/api/v1/pods": "Name Ready Status Restarts Age IP Node Nominated-Node Readiness-Gates",
    "/api/v1/nodes": "Name Status Roles Age Version Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
    "/api/v1/services": "Name Type Cluster-IP External-IP Port(s) Age Selector",
    "/api/v1/configmaps": "Name Data Age",
    "/api/v1/secrets": "Name Type Data Age",
    "/api/v1/events": "Last-Seen Type Reason Object Subobject Source Message First-Seen Count Name",
    "/api/v1/namespaces": "Name Status Age",
    "/api/v1/resourcequotas": "Name Request Limit Age",
    "/api/v1/limitranges": "Name Created-At",
    "/api/v1/persistentvolumeclaims": "Name Status Volume Capacity Access-Modes StorageClass VolumeAttributesClass Age "
    "VolumeMode",
    "/apis/apps/v1/deployments": "Name Ready Up-to-date Available Age Containers Images Selector",
    "/apis/apps/v1/replicasets": "Name Desired Current Ready Age Containers Images Selector",
    "/apis/apps/v1/statefulsets": "Name Ready Age Containers Images",
    "/apis/apps/v1/daemonsets": "Name Desired Current Ready Up-to-date Available Node-Selector Age Containers Images "
    "Selector",
    "/apis/autoscaling/v2/horizontalpodautoscalers": "Name Reference Targets MinPods MaxPods Replicas Age",
    "/apis/batch/v1/jobs": "Name Status Completions Duration Age Containers Images Selector",
    "/apis/batch/v1/cronjobs": "Name Schedule Timezone Suspend Active Last-Schedule Age Containers Images Selector",
    "/apis/networking.k8s.io/v1/ingresses": "Name Class Hosts Address Ports Age",
    "/apis/policy/v1/poddisruptionbudgets": "Name Min-Available Max-Unavailable Allowed-Disruptions Age",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings": "Name Role Age Users Groups ServiceAccounts",
}


@pytest.mark.parametrize("path", GENUINE)
def test_columns_are_a_genuine_servers(cluster: Cluster, path: str) -> None:
    table = cluster.ok("GET", path, headers={"Accept": TABLE})
    assert [c["name"].replace(" ", "-") for c in table["columnDefinitions"]] == GENUINE[path].split()
    assert table["columnDefinitions"][0]["description"] or path.endswith("events")


def _pod(statuses: list[dict[str, Any]], phase: str = "Running", **status: Any) -> dict[str, Any]:
    containers = [{"name": s["name"]} for s in statuses]
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-22T00:00:00Z"},
        "spec": {"containers": containers, "initContainers": status.pop("init", [])},
        "status": {"phase": phase, "containerStatuses": statuses, **status},
    }


def _container(
    ready: bool, restarts: int = 0, last: dict[str, Any] | None = None, **state: Any
) -> dict[str, Any]:
    return {"name": "a", "ready": ready, "restartCount": restarts, "state": state, "lastState": last or {}}


NOW = datetime(2026, 11, 22, 0, 5, 0, tzinfo=UTC)


def test_the_status_word_of_a_pod() -> None:
    running = _pod([_container(True, running={})])
    assert pod_cells(running, NOW)[1:5] == ["1/1", "Running", "0", "5m"]
    crash = _pod(
        [
            _container(
                False,
                7,
                {"terminated": {"exitCode": 1, "finishedAt": "2026-11-22T00:04:00Z"}},
                waiting={"reason": "CrashLoopBackOff"},
            )
        ]
    )
    assert pod_cells(crash, NOW)[1:4] == ["0/1", "CrashLoopBackOff", "7 (60s ago)"]
    killed = _pod([_container(False, terminated={"exitCode": 137, "reason": "OOMKilled"})])
    assert pod_cells(killed, NOW)[2] == "OOMKilled"
    plain = _pod([_container(False, terminated={"exitCode": 3})])
    assert pod_cells(plain, NOW)[2] == "ExitCode:3"
    pulling = _pod([_container(False, waiting={"reason": "ImagePullBackOff"})], "Pending")
    assert pod_cells(pulling, NOW)[2] == "ImagePullBackOff"
    initial = _pod([], "Pending", init=[{"name": "i"}, {"name": "j"}])
    initial["status"]["initContainerStatuses"] = [{"name": "i", "state": {"running": {}}}]
    assert pod_cells(initial, NOW)[2] == "Init:0/2"
    going = _pod([_container(True, running={})])
    going["metadata"]["deletionTimestamp"] = "2026-11-22T00:05:00Z"
    assert pod_cells(going, NOW)[2] == "Terminating"
    evicted = _pod([], "Failed", reason="Evicted")
    assert pod_cells(evicted, NOW)[2] == "Evicted"


def test_ages() -> None:
    cases = {
        0: "0s",
        119: "119s",
        120: "2m",
        130: "2m10s",
        599: "9m59s",
        600: "10m",
        10799: "179m",
        10800: "3h",
    }
    cases |= {
        11000: "3h3m",
        28800: "8h",
        172799: "47h",
        172800: "2d",
        180000: "2d2h",
        691200: "8d",
        63072000: "2y",
    }
    for seconds, text in cases.items():
        assert span(seconds) == text
    assert age(None, NOW) == "<unknown>"
    assert age((NOW - timedelta(seconds=90)).isoformat(), NOW) == "90s"


def test_autoscaler_targets_and_json_paths() -> None:
    target = {"type": "Utilization", "averageUtilization": 70}
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    held = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}
    assert hpa_targets([cpu], [held]) == "cpu: 12%/70%"
    assert hpa_targets([cpu], []) == "cpu: <unknown>/70%"
    obj = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]}}
    assert json_path(obj, '.status.conditions[?(@.type=="Ready")].status') == ["True"]
    assert json_path(obj, ".status.conditions[1].type") == ["X"]
    assert json_path(obj, ".status.none") == []
