"""/sandbox/v1/: the whole state, read, replaced or imported. Not Kubernetes; only for group system:masters."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from opslib.sandbox.api import conversion, defaults, strategy
from opslib.sandbox.api.auth import Attributes, User, denied
from opslib.sandbox.api.errors import Json, bad_request, expired, method_not_allowed, no_such_path
from opslib.sandbox.api.objects import Options
from opslib.sandbox.api.store import encode
from opslib.sandbox.api.verbs import answer

if TYPE_CHECKING:
    from opslib.sandbox.api.server import ApiServer


async def handle(server: ApiServer, request: web.Request, user: User) -> web.Response:
    """GET state, PUT state, POST import."""
    method, path = request.method, request.path
    if not user.is_master:
        raise denied(user, Attributes(method.lower(), path=path))
    if path == "/sandbox/v1/state":
        if method == "GET":
            return answer(encode(server.store.dump()))
        if method == "PUT":
            return answer(encode(_replace(server, await _json(request))))
        raise method_not_allowed()
    if path == "/sandbox/v1/import":
        if method != "POST":
            raise method_not_allowed()
        return answer(encode(import_objects(server, await _json(request))))
    raise no_such_path()


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def _replace(server: ApiServer, state: Any) -> Json:
    if not isinstance(state, dict) or "objects" not in state or "rv" not in state:
        raise bad_request(
            "the state must be an object with rv and objects, as GET /sandbox/v1/state gives it"
        )
    server.store.load(state)
    server.reload()
    server.end_watches(
        expired("The resourceVersion for the provided watch is too old: the state was replaced")
    )
    return {"resourceVersion": str(server.store.rv), "objects": len(state["objects"])}


def import_objects(server: ApiServer, items: Any) -> Json:
    """Put objects in as they are: uid, creationTimestamp, generation, ownerReferences and status are kept if given.

    No admission and no validation but that of the types: a value of a wrong type is a 400, an unknown field is dropped
    and named in the answer. Absent system fields are filled, kinds are defaulted, CRDs register at once, an existing
    object of that name is replaced. Returns how many were imported.
    """
    if isinstance(items, dict):
        items = items.get("items")
    if not isinstance(items, list):
        raise bad_request("a list of objects is expected")
    dropped: list[str] = []
    for item in items:
        _import(server, item, dropped)
    for (_, name), entry in server.store.items(("", "namespaces")):
        if not entry.obj["metadata"].get("deletionTimestamp"):
            server.objects.populate_namespace(name)
    return {"imported": len(items), "resourceVersion": str(server.store.rv), "dropped": dropped}


def _import(server: ApiServer, item: Any, dropped: list[str]) -> None:
    if not isinstance(item, dict):
        raise bad_request("every imported item must be an object")
    group, _, version = str(item.get("apiVersion", "")).rpartition("/")
    row = server.registry.by_kind(group, version, str(item.get("kind", "")))
    if row is None or "list" not in row.verbs:
        raise bad_request(
            f"no resource for {item.get('apiVersion')} {item.get('kind')}: import its CRD first"
        )
    unknown: list[str] = []
    obj = conversion.to_storage(row, server.objects.decode(row, item, Options(), unknown))
    stored = server.registry.for_storage(row.key) or row
    meta = obj.setdefault("metadata", {})
    strategy.generate_name(meta)
    if not meta.get("name"):
        raise bad_request(f"an imported {row.kind} has no name")
    dropped += [f"{row.kind} {meta['name']}: {text}" for text in unknown]
    namespace = ""
    if row.namespaced:
        namespace = meta.setdefault("namespace", "default")
        if server.store.get(("", "namespaces"), "", namespace) is None:
            raise bad_request(f"import namespace {namespace} before {row.plural} {meta['name']}")
    else:
        meta.pop("namespace", None)
    status = obj.get("status")
    kept = {k: meta[k] for k in ("uid", "creationTimestamp", "generation", "managedFields") if meta.get(k)}
    if stored.crd is None:
        defaults.apply(stored.group, stored.kind, obj)
    strategy.before_create(stored, obj, server.store)
    meta.update(kept)
    if status:
        obj["status"] = {**(obj.get("status") or {}), **status}
    meta.setdefault("uid", str(uuid.uuid4()))
    old = server.store.get(row.key, namespace, meta["name"])
    entry = server.store.put(row.key, namespace, meta["name"], obj)
    server.objects.after_write(row, entry, old)
