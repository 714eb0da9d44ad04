"""The P0 diagnosis on frames as the nouns return them: causes apart from consequences, and nothing guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from opslib import diagnosis
from opslib.cluster.columns import COLUMNS as CLUSTER
from opslib.edge.columns import COLUMNS as EDGE

NOW = datetime(2026, 11, 22, 14, 10, tzinfo=UTC)
BACKENDS = ["auth-service", "reservation-service", "inventory-service"]
PATHS = ["/api/v1/auth/me", "/api/v1/reservations", "/api/v1/inventory"]


def frame(columns: list[str], rows: list[dict[str, Any]], **defaults: Any) -> pd.DataFrame:
    return pd.DataFrame([{**dict.fromkeys(columns), **defaults, **row} for row in rows], columns=columns)


def probe(status: dict[str, int] | int = 200, each: int = 4) -> pd.DataFrame:
    rows = []
    for path in PATHS:
        code = status if isinstance(status, int) else status.get(path, 200)
        rows += [
            {"path": path, "status": code, "failed": code >= 500, "at": pd.Timestamp(NOW), "seconds": 0.01}
        ] * each
    return frame(EDGE["probe"], rows, error="", body_head="", served_by="")


def deployments(**changed: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for name in ["api-gateway", *BACKENDS]:
        row = {"deployment": name, "desired": 2, "ready": 2, "rollout": "complete", "message": ""}
        rows.append({**row, **changed.get(name.replace("-", "_"), {})})
    return frame(CLUSTER["deployments"], rows)


def pods(table: pd.DataFrame, **changed: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for row in table.to_dict("records"):
        for index in range(int(row["desired"])):
            rows.append(
                {
                    "pod": f"{row['deployment']}-6c9d8f-{index}",
                    "deployment": row["deployment"],
                    "ready": True,
                    "restarts": 0,
                    "waiting_reason": "",
                    "waiting_message": "",
                    "last_reason": "",
                    "last_exit_code": None,
                    "node": "api-1",
                    "phase": "Running",
                    "revision_hash": "6c9d8f",
                    "terminating": False,
                    "age_seconds": 4000.0,
                    "image": f"gcr.io/pss-nano/{row['deployment']}:v1",
                    **changed.get(str(row["deployment"]).replace("-", "_"), {}),
                }
            )
    return frame(CLUSTER["pods"], rows)


def release(name: str, minutes: float = 5, before: str = "v1", after: str = "v2") -> dict[str, Any]:
    return {
        "at": pd.Timestamp(NOW - timedelta(minutes=minutes)),
        "kind": "Deployment",
        "name": name,
        "what": "rollout",
        "by": "argocd",
        "revision": 9,
        "before": f"gcr.io/pss-nano/{name}:{before}",
        "after": f"gcr.io/pss-nano/{name}:{after}",
    }


def changes(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame(CLUSTER["recent_changes"], list(rows))


def events(*rows: dict[str, Any]) -> pd.DataFrame:
    return frame(CLUSTER["events"], list(rows), type="Warning", count=1, at=pd.Timestamp(NOW))


def seen(**given: Any) -> diagnosis.Seen:
    table = given.pop("deployments", deployments())
    defaults: dict[str, Any] = {
        "probe": probe(),
        "deployments": table,
        "pods": pods(table),
        "changes": changes(),
        "events": events(),
        "messages": frame(CLUSTER["log_messages"], []),
    }
    return diagnosis.Seen("api-gateway", **{**defaults, **given})


def test_nothing_wrong_is_no_finding() -> None:
    assert diagnosis.service_down(seen()) == []


def test_ready_pods_that_answer_500_after_a_release_are_a_bad_release() -> None:
    found = diagnosis.service_down(seen(probe=probe(500), changes=changes(release("api-gateway"))))
    assert [(f.name, f.status, f.cause) for f in found] == [("bad-release-api-gateway", "critical", True)]
    assert "v2" in found[0].says
    assert any("12 of 12" in line for line in found[0].because)


def test_a_release_after_the_failing_began_is_not_blamed() -> None:
    began = NOW - timedelta(minutes=20)
    found = diagnosis.service_down(
        seen(probe=probe(500), changes=changes(release("api-gateway", minutes=5)), failing_since=began)
    )
    assert [f.name for f in found] == ["unexplained"]
    assert found[0].status == "unknown"


def test_a_rollback_a_moment_ago_is_not_blamed_but_waited_for() -> None:
    began = NOW - timedelta(minutes=2)
    rolled_back = release("api-gateway", minutes=1.5, before="v2", after="v1") | {"revision": 10}
    rows = changes(release("api-gateway", minutes=3), rolled_back)
    found = diagnosis.service_down(seen(probe=probe(500), changes=rows, failing_since=began))
    assert [f.name for f in found] == ["rolled-out-since-api-gateway"]
    assert found[0].next == ["run this again in a minute or two"]


def test_a_rollback_that_did_not_help_for_long_is_no_excuse() -> None:
    began = NOW - timedelta(minutes=20)
    rolled_back = release("api-gateway", minutes=10, before="v2", after="v1") | {"revision": 10}
    found = diagnosis.service_down(seen(probe=probe(500), changes=changes(rolled_back), failing_since=began))
    assert [f.name for f in found] == ["unexplained"]


def test_a_rollback_that_argo_cd_took_back_leaves_the_release_to_blame() -> None:
    began = NOW - timedelta(minutes=4)
    rows = changes(
        release("api-gateway", minutes=5),
        release("api-gateway", minutes=2, before="v2", after="v1") | {"revision": 10},
        release("api-gateway", minutes=1, before="v1", after="v2") | {"revision": 11},
    )
    found = diagnosis.service_down(seen(probe=probe(500), changes=rows, failing_since=began))
    assert [f.name for f in found] == ["bad-release-api-gateway"]
    assert any("taken back by revision 11" in line for line in found[0].because)


def test_one_failing_path_points_at_its_backend_and_not_at_the_gateway() -> None:
    answers = probe({"/api/v1/reservations": 500})
    found = diagnosis.service_down(seen(probe=answers, changes=changes(release("reservation-service"))))
    assert [f.name for f in found] == ["bad-release-reservation-service"]
    assert found[0].status == "warning"


def test_backends_scaled_to_zero_make_the_gateway_a_consequence() -> None:
    gone = {"desired": 0, "ready": 0}
    table = deployments(
        api_gateway={"ready": 0}, auth_service=gone, reservation_service=gone, inventory_service=gone
    )
    killed = {"ready": False, "restarts": 3, "last_exit_code": 143, "waiting_reason": "CrashLoopBackOff"}
    liveness = events(
        {
            "reason": "Unhealthy",
            "kind": "Pod",
            "name": "api-gateway-6c9d8f-0",
            "message": "Liveness probe failed: HTTP probe failed with statuscode: 503",
        }
    )
    found = diagnosis.service_down(
        seen(probe=probe(503), deployments=table, pods=pods(table, api_gateway=killed), events=liveness)
    )
    assert [(f.name, f.cause) for f in found] == [
        ("all-backends-down", True),
        ("killed-by-the-liveness-probe-api-gateway", False),
    ]
    assert "api-gateway is not the cause" in found[0].says


def test_an_image_that_cannot_be_pulled_while_old_pods_serve_is_degraded_not_down() -> None:
    table = deployments(api_gateway={"rollout": "stalled"})
    rows = pods(table)
    rows.loc[0, ["ready", "waiting_reason", "waiting_message", "image"]] = [
        False,
        "ImagePullBackOff",
        "Back-off pulling image",
        "gcr.io/pss-nano/api-gateway:v9",
    ]
    table.loc[0, "ready"] = 1
    found = diagnosis.service_down(
        seen(deployments=table, pods=rows, changes=changes(release("api-gateway", after="v9")))
    )
    assert [(f.name, f.status) for f in found] == [("image-cannot-be-pulled-api-gateway", "warning")]
    assert "degraded, not down" in found[0].says
    assert found[0].next == ["common-issues/image-pull-backoff"]


def test_a_used_up_quota_is_named_from_the_replicaset_event() -> None:
    table = deployments(api_gateway={"ready": 0})
    rows = pods(table)
    rows = rows[rows["deployment"] != "api-gateway"]
    text = 'pods "api-gateway-6c9d8f-x" is forbidden: exceeded quota: pss-nano-quota, requested: pods=1'
    denied = events(
        {"reason": "FailedCreate", "kind": "ReplicaSet", "name": "api-gateway-6c9d8f00", "message": text}
    )
    found = diagnosis.service_down(seen(probe=probe(503), deployments=table, pods=rows, events=denied))
    assert [(f.name, f.status) for f in found] == [("quota-exceeded-api-gateway", "critical")]
    assert text in found[0].because


def test_an_event_of_another_deployment_with_the_same_prefix_is_not_taken() -> None:
    table = deployments()
    about = events({"reason": "FailedCreate", "kind": "ReplicaSet", "name": "api-gateway-canary-6c9d8f00"})
    from opslib.diagnosis.troubles import events_of

    mine = pods(table)
    assert events_of(seen(events=about), "api-gateway", mine[mine["deployment"] == "api-gateway"]).empty


@pytest.mark.parametrize("missing", ["deployments", "pods"])
def test_what_was_not_seen_is_not_concluded_from(missing: str) -> None:
    blind = pd.DataFrame()
    blind.attrs["unknown"] = "no answer in 8 s"
    found = diagnosis.service_down(seen(**{missing: blind}, probe=probe(503)))
    assert [(f.name, f.status) for f in found] == [("unexplained", "unknown")]
    assert any("no answer in 8 s" in line for line in found[0].because)


def test_failing_since_is_the_start_of_the_last_unbroken_run() -> None:
    stamps = [pd.Timestamp(NOW + timedelta(seconds=15 * i)) for i in range(6)]
    series = pd.DataFrame({"at": stamps, "error_ratio": [0.0, 0.9, 0.0, None, 0.2, 1.0]})
    assert diagnosis.failing_since(series) == stamps[4].to_pydatetime()
    assert diagnosis.failing_since(series.iloc[:3]) is None
