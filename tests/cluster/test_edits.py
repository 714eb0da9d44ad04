"""The JSON Patch of an edit: guarded by what was seen, marked in the same request, invertible."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from opslib.cluster.changes.edits import CHANGE, RUN, Edit, Field, bare, holds, mark_of, patch_of, values
from opslib.records.change import Mark

MARK = Mark("run-1", "abc")


def live(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"uid": "u", "resourceVersion": "7", "annotations": {"a": "b"}}, "spec": spec}


def edit(*fields: Field) -> Edit:
    return Edit("patch", "Deployment", "pss-nano", "api-gateway", "u", fields)


def applied(change: Edit, obj: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = jsonpatch.apply_patch(obj, patch_of(change, obj, MARK))
    return result


def test_value_and_mark_are_written_together() -> None:
    after = applied(edit(Field("/spec/replicas", 5, 10)), live(replicas=5))
    assert after["spec"]["replicas"] == 10
    assert mark_of(after) == MARK
    assert after["metadata"]["annotations"]["a"] == "b"


def test_a_changed_value_fails_the_patch() -> None:
    change = edit(Field("/spec/replicas", 5, 10))
    patch = patch_of(change, live(replicas=5), MARK)
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(live(replicas=6), patch)


def test_another_object_of_the_same_name_fails_the_patch() -> None:
    patch = patch_of(edit(Field("/spec/replicas", 5, 10)), live(replicas=5), MARK)
    other = live(replicas=5)
    other["metadata"]["uid"] = "v"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(other, patch)


def test_an_absent_value_is_guarded_by_its_parent() -> None:
    change = edit(Field("/spec/syncPolicy/automated", None, {"prune": True}))
    patch = patch_of(change, live(syncPolicy={"retry": 5}), MARK)
    assert jsonpatch.apply_patch(live(syncPolicy={"retry": 5}), patch)["spec"]["syncPolicy"]["automated"] == {
        "prune": True
    }
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(live(syncPolicy={"retry": 5, "automated": {}}), patch)


def test_missing_parents_are_made() -> None:
    after = applied(edit(Field("/spec/a/b/c", None, 1)), live(other=1))
    assert after["spec"]["a"] == {"b": {"c": 1}}


def test_two_new_values_below_one_missing_parent() -> None:
    after = applied(edit(Field("/spec/a/b", None, 1), Field("/spec/a/c", None, 2)), live(other=1))
    assert after["spec"]["a"] == {"b": 1, "c": 2}


def test_an_object_without_annotations_is_guarded_by_its_version() -> None:
    obj = live(replicas=5)
    del obj["metadata"]["annotations"]
    patch = patch_of(edit(Field("/spec/replicas", 5, 10)), obj, MARK)
    assert jsonpatch.apply_patch(obj, patch)["metadata"]["annotations"] == {RUN: "run-1", CHANGE: "abc"}
    obj["metadata"]["resourceVersion"] = "8"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(obj, patch)


def test_inverting_twice_is_the_same_edit() -> None:
    change = edit(Field("/spec/replicas", 5, 10), Field("/spec/paused", None, True))
    there = change.inverted("u", {"/spec/replicas": 10, "/spec/paused": True})
    assert applied(there, applied(change, live(replicas=5)))["spec"] == {"replicas": 5}
    assert there.inverted("u", {"/spec/replicas": 5, "/spec/paused": None}) == change


def test_an_edit_survives_json() -> None:
    change = edit(Field("/spec/replicas", 5, 10))
    assert Edit.from_json(change.to_json()) == change


def test_a_null_is_no_difference() -> None:
    change = edit(Field("/spec/template", {"metadata": {"labels": {"a": "b"}}}, {"x": 1}))
    obj = live(template={"metadata": {"creationTimestamp": None, "labels": {"a": "b"}}})
    assert holds(obj, change, "before") == []
    assert applied(change, obj)["spec"]["template"] == {"x": 1}
    assert bare({"a": [{"b": None, "c": 1}]}) == {"a": [{"c": 1}]}


def test_what_the_diff_shows_hides_a_time_stamp() -> None:
    change = edit(Field("/spec/template", {"a": 1}, {"a": 1, "at": "2026"}, {"a": 1, "at": "<time>"}))
    assert values([change], "after") == {
        "deployment/api-gateway": {"spec.template": {"a": 1, "at": "<time>"}}
    }
