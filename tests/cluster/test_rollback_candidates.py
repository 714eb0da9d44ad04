"""Which revision an undo goes back to, and which never (defects A2, A3)."""

from __future__ import annotations

from opslib.cluster.changes.rollback import budget, candidates
from tests.cluster.objects import deployment, replicaset, template

GOOD, OLD, BAD = (f"gcr.io/pss-nano/api-gateway:{tag}" for tag in ("v2.7.3", "v2.7.2", "v2.8.0"))


def by_revision(rows: list[dict[str, object]]) -> dict[object, dict[str, object]]:
    return {row["revision"]: row for row in rows}


def test_the_newest_revision_with_another_image_is_preferred() -> None:
    sets = [
        replicaset(template(OLD), 1, "2026-11-01T10:00:00Z"),
        replicaset(template(GOOD), 2, "2026-11-10T10:00:00Z"),
        replicaset(template(BAD), 3, "2026-11-22T10:00:00Z"),
    ]
    rows = by_revision(candidates(deployment(template(BAD), revision=3), sets))
    assert set(rows) == {1, 2}
    assert rows[2]["preferred"] and rows[2]["candidate"]
    assert rows[1]["candidate"] and not rows[1]["preferred"]
    assert "v2.7.3" in str(rows[2]["why"])


def test_an_undo_is_not_flipped_back_to_the_bad_revision() -> None:
    """Revision 4 is the undo of 3: the newest other revision is the bad one (A3)."""
    sets = [
        replicaset(template(OLD), 1, "2026-11-01T10:00:00Z"),
        replicaset(template(GOOD), 4, "2026-11-10T10:00:00Z", history="2"),
        replicaset(template(BAD), 3, "2026-11-22T10:00:00Z"),
    ]
    rows = by_revision(candidates(deployment(template(GOOD), revision=4), sets))
    assert not rows[3]["candidate"]
    assert "flip back" in str(rows[3]["why"])
    assert rows[1]["preferred"]


def test_a_reverted_undo_goes_to_the_good_revision_again() -> None:
    """Argo CD put the bad template back as revision 5: 4, the undo, is where to go."""
    sets = [
        replicaset(template(OLD), 1, "2026-11-01T10:00:00Z"),
        replicaset(template(GOOD), 4, "2026-11-10T10:00:00Z", history="2"),
        replicaset(template(BAD), 5, "2026-11-22T10:00:00Z", history="3"),
    ]
    rows = by_revision(candidates(deployment(template(BAD), revision=5), sets))
    assert rows[4]["preferred"]


def test_the_same_image_reference_would_change_nothing() -> None:
    latest = "gcr.io/pss-nano/api-gateway:latest"
    sets = [
        replicaset(template(latest, version="a"), 1, "2026-11-10T10:00:00Z"),
        replicaset(template(latest, version="b"), 2, "2026-11-22T10:00:00Z"),
    ]
    rows = candidates(deployment(template(latest, version="b"), revision=2), sets)
    assert [row["candidate"] for row in rows] == [False]
    assert "undo would change nothing" in str(rows[0]["why"])
    assert "digests" in str(rows[0]["why"])


def test_the_same_image_with_other_settings_is_a_candidate() -> None:
    sets = [
        replicaset(template(GOOD, env={"WINDOW": "60000"}), 1, "2026-11-10T10:00:00Z"),
        replicaset(template(GOOD, env={"WINDOW": "60s"}), 2, "2026-11-22T10:00:00Z"),
    ]
    rows = candidates(deployment(template(GOOD, env={"WINDOW": "60s"}), revision=2), sets)
    assert rows[0]["preferred"]
    assert "spec.containers[api-gateway].env[WINDOW].value" in str(rows[0]["why"])


def test_a_revision_that_served_for_minutes_yields_to_a_proven_one() -> None:
    """Two bad releases in a row: the first one was replaced after five minutes."""
    worse = "gcr.io/pss-nano/api-gateway:v2.8.1"
    sets = [
        replicaset(template(GOOD), 1, "2026-11-10T10:00:00Z"),
        replicaset(template(BAD), 2, "2026-11-22T10:00:00Z"),
        replicaset(template(worse), 3, "2026-11-22T10:05:00Z"),
    ]
    rows = by_revision(candidates(deployment(template(worse), revision=3), sets))
    assert rows[1]["preferred"]
    assert rows[2]["candidate"] and "served only 300 s" in str(rows[2]["why"])


def test_a_single_revision_has_no_candidate() -> None:
    sets = [replicaset(template(BAD), 1, "2026-11-22T10:00:00Z")]
    assert candidates(deployment(template(BAD)), sets) == []


def test_capacity_lost_is_rounded_as_the_controller_does() -> None:
    owner = deployment(template(GOOD), replicas=5)
    owner["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert budget(owner) == (1, 2)
    owner["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "10%"}}
    assert budget(owner) == (1, 0)  # never both zero
