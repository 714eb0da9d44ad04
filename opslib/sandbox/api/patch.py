"""JSON patch, JSON merge patch and strategic merge patch.

RFC 6902 and RFC 7386; strategic merge as in k8s.io/apimachinery/pkg/util/strategicpatch, with the merge keys of the
definitions. Server-side apply is in apply.py.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from opslib.sandbox.api.errors import ApiError, Json, bad_request
from opslib.sandbox.api.schemas import Schemas

MAX_OPERATIONS = 10_000  # as k8s.io/apiserver's patch handler


def json_patch(target: Json, operations: Any) -> Json:
    """Apply a JSON patch to a copy. A failed ``test``, or a path that is not there, is a 422 with the server's text."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        )
    if len(operations) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", text)
    result: Any = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise bad_request("error decoding patch: every operation needs an op and a path")
        try:
            if operation["op"] == "test":
                _test(result, operation)
            else:
                result = jsonpatch.JsonPatch([operation]).apply(result, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
            raise _unprocessable(_go_text(operation, error)) from None
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise _unprocessable(_go_text(operation, error)) from None
    if not isinstance(result, dict):
        raise _unprocessable("the patched document is not an object")
    return result


def _test(document: Any, operation: Json) -> None:
    path = operation["path"]
    missing = object()
    try:
        found = jsonpointer.resolve_pointer(document, path, missing)
    except jsonpointer.JsonPointerException:
        found = missing
    wanted = operation.get("value")
    if found is missing:
        # evanphx/json-patch: an absent value equals null
        if wanted is None:
            return
        raise _unprocessable(f"testing value {path} failed: test failed")
    exact = isinstance(found, bool) or isinstance(wanted, bool)  # in Python 1 == True, in JSON not
    same = found is wanted if exact else found == wanted
    if not same:
        raise _unprocessable(f"testing value {path} failed: test failed")


def _go_text(operation: Json, error: Exception) -> str:
    path, op = operation.get("path", ""), operation.get("op", "")
    if op in ("remove", "replace"):
        missing = f"Unable to remove nonexistent key: {path.rsplit('/', 1)[-1]}"
        if op == "replace":
            return f"replace operation does not apply: doc is missing key: {path}: missing value"
        return f"remove operation does not apply: doc is missing path: {path!r}: {missing}"
    if op == "add":
        return f'add operation does not apply: doc is missing path: "{path}": missing value'
    return f"{op} operation does not apply: {error}"


def _unprocessable(text: str) -> ApiError:
    return ApiError(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
        {"causes": [{"reason": "UnexpectedServerResponse", "message": text}]},
    )


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch, giving a new value."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


class StrategicMerge:
    """Strategic merge patches: lists merge by their key where the type says so."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas

    def apply(self, schema: Json | None, target: Json, patch: Json) -> Json:
        """Merge a patch into an object of this schema, giving a new object. Raises ApiError 400 for a bad patch."""
        return self._object(schema, target, patch)

    def _object(self, schema: Json | None, target: Any, patch: Json) -> Json:
        directive = patch.get("$patch")
        if directive == "replace":
            return {k: _clean(v) for k, v in patch.items() if k != "$patch"}
        if directive == "delete":
            return {}
        if directive not in (None, "merge"):
            raise bad_request(f"Unknown patch type: {directive}")
        result: Json = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if key.startswith("$deleteFromPrimitiveList/"):
                name = key.split("/", 1)[1]
                result[name] = [v for v in result.get(name) or [] if v not in value]
        for key, value in patch.items():
            if key in ("$patch", "$retainKeys") or key.startswith(
                ("$deleteFromPrimitiveList/", "$setElementOrder/")
            ):
                continue
            if value is None:
                result.pop(key, None)
                continue
            sub = self.schemas.child(schema, key)
            current = result.get(key)
            if isinstance(value, dict):
                result[key] = self._object(sub, current if isinstance(current, dict) else {}, value)
            elif isinstance(value, list):
                order = patch.get(f"$setElementOrder/{key}")
                result[key] = self._list(sub, current if isinstance(current, list) else [], value, order)
            else:
                result[key] = value
        for key, order in patch.items():
            if key.startswith("$setElementOrder/"):
                name = key.split("/", 1)[1]
                if name not in patch and isinstance(result.get(name), list):
                    merge_key = (self.schemas.child(schema, name) or {}).get("x-kubernetes-patch-merge-key")
                    result[name] = _ordered(result[name], order, merge_key)
        if isinstance(retain := patch.get("$retainKeys"), list):
            result = {k: v for k, v in result.items() if k in retain}
        return result

    def _list(
        self, schema: Json | None, target: list[Any], patch: list[Any], order: list[Any] | None
    ) -> list[Any]:
        strategy = str((schema or {}).get("x-kubernetes-patch-strategy", ""))
        key = (schema or {}).get("x-kubernetes-patch-merge-key")
        if "merge" not in strategy.split(","):
            return [_clean(v) for v in patch]
        if key is None:  # a list of primitives
            merged = list(target) + [v for v in patch if v not in target]
            return _ordered(merged, order, None)
        if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
            return [_clean(v) for v in patch if not (isinstance(v, dict) and v.get("$patch") == "replace")]
        result = list(target)
        items = (self.schemas.follow(schema) or {}).get("items")
        for item in patch:
            if not isinstance(item, dict) or key not in item:
                raise bad_request(f"map: {_go_map(item)} does not contain declared merge key: {key}")
            index = next((i for i, v in enumerate(result) if v.get(key) == item[key]), None)
            if item.get("$patch") == "delete":
                result = [v for v in result if v.get(key) != item[key]]
            elif index is None:
                result.append(self._object(items, {}, item))
            else:
                result[index] = self._object(items, result[index], item)
        return _ordered(result, order, key)


def _go_map(value: Any) -> str:
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_go_map(v)}" for k, v in sorted(value.items())) + "]"
    return str(value)


def _clean(value: Any) -> Any:
    """A value without directives and nulls, as when it replaces or is new."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def _ordered(items: list[Any], order: list[Any] | None, key: str | None) -> list[Any]:
    if not order:
        return items
    wanted = [o.get(key) if key and isinstance(o, dict) else o for o in order]

    def rank(item: Any) -> int:
        value = item.get(key) if key and isinstance(item, dict) else item
        return wanted.index(value) if value in wanted else -1

    # items that the client does not list keep their place before the one they preceded
    listed = sorted((i for i in items if rank(i) >= 0), key=rank)
    result, position = [], 0
    for item in items:
        if rank(item) >= 0:
            result.append(listed[position])
            position += 1
        else:
            result.append(item)
    return result
