"""The four kinds of patches, without a server."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opslib.sandbox.api.apply import ServerSideApply, from_v1, to_v1, track
from opslib.sandbox.api.errors import ApiError
from opslib.sandbox.api.patch import StrategicMerge, json_patch, merge_patch
from opslib.sandbox.api.quantities import canonical, parse
from opslib.sandbox.api.registry import Registry
from opslib.sandbox.api.schemas import Schemas
from opslib.sandbox.api.selectors import label_matcher

SCHEMAS = Schemas()
DEPLOYMENT = Registry().find("apps", "v1", "deployments")
assert DEPLOYMENT is not None


def _web() -> dict[str, Any]:
    containers = [
        {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "side", "image": "s:1"},
    ]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
    return {"metadata": {"name": "web", "finalizers": ["x"]}, "spec": {"replicas": 2, "template": template}}


def _strategic(patch: dict[str, Any]) -> dict[str, Any]:
    before = _web()
    target = copy.deepcopy(before)
    result = StrategicMerge(SCHEMAS).apply(SCHEMAS.root(DEPLOYMENT), target, patch)
    assert target == before  # the object patched is not touched
    return result


def _containers(patch: list[Any], **more: Any) -> list[dict[str, Any]]:
    spec = {"containers": patch, **more}
    return list(_strategic({"spec": {"template": {"spec": spec}}})["spec"]["template"]["spec"]["containers"])


def test_strategic_lists_merge_by_key() -> None:
    found = _containers(
        [{"name": "app", "image": "a:2", "env": [{"name": "B", "value": "3"}, {"name": "C"}]}]
    )
    assert [c["name"] for c in found] == ["app", "side"]
    assert found[0]["image"] == "a:2"
    assert [(e["name"], e.get("value")) for e in found[0]["env"]] == [("A", "1"), ("B", "3"), ("C", None)]
    assert [c["name"] for c in _containers([{"name": "side", "$patch": "delete"}])] == ["app"]
    assert _containers([{"name": "new", "image": "n:1"}, {"$patch": "replace"}]) == [
        {"name": "new", "image": "n:1"}
    ]
    order = {"$setElementOrder/containers": [{"name": "side"}, {"name": "app"}]}
    assert [c["name"] for c in _containers([{"name": "side", "image": "s:2"}], **order)] == ["side", "app"]


def test_strategic_maps_and_primitive_lists() -> None:
    assert "replicas" not in _strategic({"spec": {"replicas": None}})["spec"]
    assert _strategic({"metadata": {"finalizers": ["y"]}})["metadata"]["finalizers"] == ["x", "y"]
    removed = _strategic({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}})
    assert removed["metadata"]["finalizers"] == []
    replaced = _strategic({"spec": {"template": {"metadata": {"labels": {"$patch": "replace", "a": "b"}}}}})
    assert replaced["spec"]["template"]["metadata"]["labels"] == {"a": "b"}
    with pytest.raises(ApiError) as caught:
        _containers([{"image": "no-name"}])
    assert "does not contain declared merge key: name" in caught.value.message


def test_json_patch_tests_and_fails_with_422() -> None:
    web = _web()
    good = [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
    ]
    assert json_patch(web, good)["spec"]["replicas"] == 3 and web["spec"]["replicas"] == 2
    for operation in (
        {"op": "test", "path": "/spec/replicas", "value": 9},
        {"op": "test", "path": "/spec/replicas", "value": True},
        {"op": "test", "path": "/spec/none", "value": 1},
        {"op": "remove", "path": "/spec/none"},
        {"op": "replace", "path": "/none/none", "value": 1},
        {"op": "add", "path": "/none/none", "value": 1},
    ):
        with pytest.raises(ApiError) as caught:
            json_patch(web, [operation])
        assert caught.value.code == 422, operation
        assert caught.value.message == "the server rejected our request due to an error in our request"
    with pytest.raises(ApiError) as caught:
        json_patch(web, {"op": "add"})
    assert caught.value.code == 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


@given(
    st.dictionaries(st.text(max_size=2), VALUES, max_size=4),
    st.dictionaries(st.text(max_size=2), VALUES, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_merge_patch_is_idempotent_and_complete(target: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert merge_patch({}, patch) == _without_nulls(patch)
    assert {k for k, v in patch.items() if v is None}.isdisjoint(once)


def test_server_side_apply_owns_merges_and_removes() -> None:
    side = ServerSideApply(SCHEMAS)
    live = _web()
    track(DEPLOYMENT, live, None, "ci", None, SCHEMAS)
    config = {
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "a:1", "workingDir": "/x"}]}}},
    }
    merged = side.merge(DEPLOYMENT, live, config, "me", False)
    containers = merged["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["app", "side"] and containers[0]["workingDir"] == "/x"
    owners = {(e["manager"], e["operation"]) for e in merged["metadata"]["managedFields"]}
    assert owners == {("ci", "Update"), ("me", "Apply")}
    del config["spec"]["template"]["spec"]["containers"][0]["workingDir"]  # type: ignore[index]
    again = side.merge(DEPLOYMENT, merged, config, "me", False)
    assert "workingDir" not in again["spec"]["template"]["spec"]["containers"][0]
    config["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"  # type: ignore[index]
    with pytest.raises(ApiError) as caught:
        side.merge(DEPLOYMENT, again, config, "me", False)
    assert caught.value.code == 409
    field = '.spec.template.spec.containers[name="app"].image'
    assert caught.value.message == f'Apply failed with 1 conflict: conflict with "ci" using apps/v1: {field}'
    forced = side.merge(DEPLOYMENT, again, config, "me", True)
    assert forced["spec"]["template"]["spec"]["containers"][0]["image"] == "a:2"
    assert side.merge(DEPLOYMENT, forced, config, "me", False)["spec"] == forced["spec"]


def test_fields_v1_round_trip() -> None:
    paths = {("f:spec",), ("f:spec", "f:replicas"), ("f:spec", 'k:{"name":"a"}', "f:image")}
    assert from_v1(to_v1(paths)) == paths
    assert to_v1(paths)["f:spec"]["."] == {} and to_v1(paths)["f:spec"]["f:replicas"] == {}


def test_quantities() -> None:
    for text, number in {"100m": "0.1", "1Gi": str(2**30), "2k": "2000", "1.5": "1.5", "1e3": "1000"}.items():
        assert parse(text) == parse(number)
    assert canonical(parse("1536Mi"), "1Gi") == "1536Mi" and canonical(parse("2048Mi"), "1Gi") == "2Gi"
    assert canonical(parse("0.25"), "1") == "250m" and canonical(parse("2000"), "1") == "2k"
    with pytest.raises(ValueError, match="not a quantity"):
        parse("lots")


def test_label_selectors() -> None:
    obj = {"metadata": {"labels": {"a": "1", "b": "x"}}}
    true = [
        "a=1",
        "a==1",
        "b!=y",
        "c!=y",
        "a in (1,2)",
        "b notin (y)",
        "a",
        "!c",
        "a>0",
        "a=1,b=x",
        "c notin (z)",
    ]
    false = ["a=2", "!a", "c", "a in (2)", "b notin (x)", "a<1", "a=1,b=y"]
    for text in true:
        assert label_matcher(text)(obj), text  # type: ignore[misc]
    for text in false:
        assert not label_matcher(text)(obj), text  # type: ignore[misc]
    with pytest.raises(ApiError):
        label_matcher("a in 1")
