"""The generic verbs of every stored resource: get, list, watch, create, update, patch, delete, deletecollection."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from typing import Any

from aiohttp import web

from opslib.sandbox.api import apply, conversion, protobuf, requests, tables
from opslib.sandbox.api.auth import User
from opslib.sandbox.api.errors import (
    ApiError,
    FieldError,
    Json,
    bad_request,
    expired,
    invalid,
    not_found,
    unsupported_media_type,
)
from opslib.sandbox.api.objects import Objects, Options
from opslib.sandbox.api.patch import StrategicMerge, json_patch, merge_patch
from opslib.sandbox.api.registry import Registry, Resource
from opslib.sandbox.api.requests import PATCH_TYPES, PROTOBUF_TYPE, Accept, RequestInfo
from opslib.sandbox.api.schemas import Schemas
from opslib.sandbox.api.selectors import Match, field_matcher, label_matcher
from opslib.sandbox.api.store import Entry, Store, encode
from opslib.sandbox.api.watch import Watch, WatchRequest, bookmark_object

MIN_TIMEOUT = 1800  # seconds of a watch without timeoutSeconds: 30 to 60 minutes, as a genuine server


def manager_of(request: web.Request) -> str:
    """fieldManager, or the beginning of the user agent, as managedFields show it."""
    return (
        request.query.get("fieldManager")
        or request.headers.get("User-Agent", "unknown").split("/", 1)[0][:128]
    )


def options_of(request: web.Request, subresource: str = "") -> Options:
    """The write options of a request."""
    query = request.query
    level = query.get("fieldValidation") or "Warn"
    if level not in ("Ignore", "Warn", "Strict"):
        problem = FieldError(
            "FieldValueNotSupported",
            "fieldValidation",
            'supported values: "", "Ignore", "Strict", "Warn"',
            level,
        )
        raise invalid("WriteOptions", "meta.k8s.io", "", [problem])
    return Options(
        dry_run=requests.dry_run(query),
        manager=manager_of(request),
        force=requests.flag(query, "force"),
        validation=level,
        subresource=subresource,
    )


def render(resource: Resource, entry: Entry) -> bytes:
    """One object as JSON in the version of the row."""
    if conversion.converted(resource):
        obj = conversion.from_storage(resource, entry.copy())
        return encode({"kind": resource.kind, "apiVersion": resource.api_version, **obj})
    head = f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'
    return head.encode() + entry.data[1:]


def shown(resource: Resource, entry: Entry) -> Json:
    """One object as data in the version of the row."""
    obj: Json = json.loads(render(resource, entry))
    return obj


def answer(body: bytes, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON response, with Warning headers."""
    response = web.Response(body=body, status=status, content_type="application/json")
    for warning in warnings or ():
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


class Verbs:
    """Serves the generic verbs."""

    def __init__(
        self, store: Store, registry: Registry, schemas: Schemas, objects: Objects, watches: set[Watch]
    ) -> None:
        self.store, self.registry, self.schemas, self.objects = store, registry, schemas, objects
        self.watches = watches
        self.strategic = StrategicMerge(schemas)
        self.server_side = apply.ServerSideApply(schemas)

    async def serve(
        self, request: web.Request, info: RequestInfo, resource: Resource, user: User
    ) -> web.StreamResponse:
        """Answer one request on a resource, or its status, finalize or ephemeralcontainers subresource."""
        form = requests.accept(request.headers.get("Accept", ""))
        del user
        namespace = info.namespace if resource.namespaced else ""
        if info.verb == "get":
            return self._get(resource, namespace, info.name, form, request)
        if info.verb == "list":
            return self._list(request, resource, namespace, form)
        if info.verb == "watch":
            return await self._watch(request, resource, namespace, form)
        if info.verb == "create":
            return await self._create(request, resource, namespace, form)
        if info.verb == "update":
            return await self._update(request, info, resource, namespace, form)
        if info.verb == "patch":
            return await self._patch(request, info, resource, namespace, form)
        if info.verb == "delete":
            return await self._delete(request, resource, namespace, info.name, form)
        return await self._delete_collection(request, resource, namespace)

    # reading

    def single(self, resource: Resource, entry: Entry, form: Accept, query: Any) -> bytes:
        """One object in the agreed form."""
        if form.form == "Table":
            return encode(
                tables.table(resource, [entry], str(entry.rv), form.version, query.get("includeObject"))
            )
        if form.form.startswith("PartialObjectMetadata"):
            return encode(tables.partial(entry.obj, form.version))
        return render(resource, entry)

    def _get(
        self, resource: Resource, namespace: str, name: str, form: Accept, request: web.Request
    ) -> web.Response:
        entry = self.store.get(resource.key, namespace, name)
        if entry is None:
            raise not_found(resource.plural, resource.group, name)
        return answer(self.single(resource, entry, form, request.query))

    def _matcher(self, resource: Resource, query: Any) -> Match | None:
        labels = label_matcher(query.get("labelSelector", ""))
        fields, _ = field_matcher(resource, query.get("fieldSelector", ""))
        if labels and fields:
            return lambda obj: labels(obj) and fields(obj)
        return labels or fields

    def _list(self, request: web.Request, resource: Resource, namespace: str, form: Accept) -> web.Response:
        query = request.query
        match = self._matcher(resource, query)
        self._check_version(resource, query)
        pairs = self.store.items(resource.key, namespace)
        token = query.get("continue", "")
        rv = self.store.rv
        if token:
            rv, after = self._continue(token)
            if rv < self.store.oldest:
                raise expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a "
                    "new list without the continue parameter, or use the continue token in this response to retrieve "
                    "the remainder of the results."
                )
            pairs = [p for p in pairs if list(p[0]) > after]
        entries = [(k, e) for k, e in pairs if match is None or match(e.obj)]
        limit = requests.number(query, "limit")
        meta: Json = {"resourceVersion": str(rv)}
        if 0 < limit < len(entries):
            last = entries[limit - 1][0]
            meta["continue"] = base64.urlsafe_b64encode(
                encode({"v": "meta.k8s.io/v1", "rv": rv, "start": last})
            ).decode()
            if match is None:
                meta["remainingItemCount"] = len(entries) - limit
            entries = entries[:limit]
        found = [e for _, e in entries]
        if form.form == "Table":
            document = tables.table(resource, found, str(rv), form.version, query.get("includeObject"))
            document["metadata"] = meta
            return answer(encode(document))
        if form.form.startswith("PartialObjectMetadata"):
            items = [tables.partial(e.obj, form.version) for e in found]
            kind = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}"}
            return answer(encode({**kind, "metadata": meta, "items": items}))
        if resource.crd is not None:
            bodies = [render(resource, e) for e in found]
        elif conversion.converted(resource):
            bodies = [encode(conversion.from_storage(resource, e.copy())) for e in found]
        else:
            bodies = [e.data for e in found]
        head = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":'.encode()
        return answer(b"".join([head, encode(meta), b',"items":[', b",".join(bodies), b"]}"]))

    def _check_version(self, resource: Resource, query: Any) -> None:
        rv, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
        if match and not rv:
            problem = FieldError(
                "FieldValueForbidden",
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )
            raise invalid("ListOptions", "meta.k8s.io", "", [problem])
        if rv and not rv.isdigit():
            raise bad_request(f'Invalid value: "{rv}": strconv.ParseUint: parsing "{rv}": invalid syntax')
        if match == "Exact" and rv != "0" and int(rv) != self.store.rv:
            if int(rv) < self.store.rv:
                raise expired(f"The resourceVersion for the provided list is too old: {rv} ({self.store.rv})")
            raise ApiError(504, "Timeout", f"Too large resource version: {rv}, current: {self.store.rv}")
        if rv and int(rv) > self.store.rv:
            text = f"Too large resource version: {rv}, current: {self.store.rv}"
            causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            raise ApiError(504, "Timeout", text, {"causes": causes, "retryAfterSeconds": 1})
        del resource

    @staticmethod
    def _continue(token: str) -> tuple[int, list[str]]:
        try:
            held = json.loads(base64.urlsafe_b64decode(token))
            return int(held["rv"]), list(held["start"])
        except (ValueError, KeyError, TypeError):
            raise bad_request("continue key is not valid: illegal base64 data") from None

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str, form: Accept
    ) -> web.StreamResponse:
        query = request.query
        match = self._matcher(resource, query)
        seconds = requests.number(query, "timeoutSeconds")
        initial = requests.flag(query, "sendInitialEvents")
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            problem = FieldError(
                "FieldValueForbidden",
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
            raise invalid("ListOptions", "meta.k8s.io", "", [problem])
        first = True

        def body(entry: Entry) -> bytes:
            nonlocal first
            if form.form == "Table":
                columns, first = first, False
                rows = tables.table(
                    resource, [entry], str(entry.rv), form.version, query.get("includeObject")
                )
                if not columns:
                    rows["columnDefinitions"] = None
                return encode(rows)
            if form.form.startswith("PartialObjectMetadata"):
                return encode(tables.partial(entry.obj, form.version))
            return render(resource, entry)

        def bookmark(rv: int, end: bool) -> bytes:
            obj = bookmark_object(resource, rv, end)
            if form.form == "Table":
                rows = tables.bookmark(resource, obj, form.version)
                return encode(rows)
            return encode(obj)

        watch = Watch(
            self.store,
            WatchRequest(
                resource,
                namespace,
                match or (lambda _: True),
                body,
                bookmark,
                "" if initial else query.get("resourceVersion", ""),
                requests.flag(query, "allowWatchBookmarks"),
                initial,
                float(seconds) if seconds > 0 else MIN_TIMEOUT * (1 + random.random()),
            ),
        )
        self.watches.add(watch)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):  # the client left
                await watch.stream(response)
                await response.write_eof()
            return response
        finally:
            watch.end()
            self.watches.discard(watch)

    # writing

    async def body(self, request: web.Request) -> Any:
        """The decoded body of a create or update."""
        data = await request.read()
        kind = requests.media_type(request.headers.get("Content-Type", ""))
        if kind == PROTOBUF_TYPE:
            return protobuf.decode(data)
        return requests.decode_body(data, kind)

    async def _create(
        self, request: web.Request, resource: Resource, namespace: str, form: Accept
    ) -> web.Response:
        options, warnings = options_of(request), list[str]()
        body = self.objects.decode(resource, await self.body(request), options, warnings)
        entry = self.objects.create(resource, namespace, body, options)
        return answer(self.single(resource, entry, form, request.query), 201, warnings)

    async def _update(
        self, request: web.Request, info: RequestInfo, resource: Resource, namespace: str, form: Accept
    ) -> web.Response:
        options, warnings = options_of(request, info.subresource), list[str]()
        body = self.objects.decode(resource, await self.body(request), options, warnings)
        if not body["metadata"].get("name"):
            text = f"the name of the object () does not match the name on the URL ({info.name})"
            raise (
                bad_request(text) if info.subresource == "" else bad_request("metadata.name: Required value")
            )
        new = conversion.to_storage(resource, body)
        entry = self.objects.update(
            resource, namespace, info.name, lambda _: new, options, unconditional=resource.crd is None
        )
        return answer(self.single(resource, entry, form, request.query), 200, warnings)

    async def _patch(
        self, request: web.Request, info: RequestInfo, resource: Resource, namespace: str, form: Accept
    ) -> web.Response:
        kind = requests.media_type(request.headers.get("Content-Type", ""))
        allowed = (
            PATCH_TYPES if resource.crd is None else tuple(t for t in PATCH_TYPES if "strategic" not in t)
        )
        if kind not in allowed:
            raise unsupported_media_type(list(allowed))
        patch = requests.decode_body(await request.read(), kind, allowed)
        options, warnings = options_of(request, info.subresource), list[str]()
        if kind == "application/apply-patch+yaml":
            entry, created = self._apply(request, resource, namespace, info, patch, options, warnings)
            return answer(
                self.single(resource, entry, form, request.query), 201 if created else 200, warnings
            )
        if requests.flag(request.query, "force"):
            problem = FieldError("FieldValueForbidden", "force", "may not be specified for non-apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [problem])

        def change(old: Json) -> Json:
            current = {"kind": resource.kind, "apiVersion": resource.api_version}
            current |= conversion.from_storage(resource, old)
            if kind == "application/json-patch+json":
                new = json_patch(current, patch)
            elif not isinstance(patch, dict):
                raise bad_request("error decoding patch: the patch must be an object")
            elif kind == "application/merge-patch+json":
                new = merge_patch(current, patch)
            else:
                new = self.strategic.apply(self.schemas.root(resource), current, patch)
            self.objects.decode(resource, new, options, warnings, patch=True)
            return conversion.to_storage(resource, new)

        entry = self.objects.update(resource, namespace, info.name, change, options)
        return answer(self.single(resource, entry, form, request.query), 200, warnings)

    def _apply(
        self,
        request: web.Request,
        resource: Resource,
        namespace: str,
        info: RequestInfo,
        config: Any,
        options: Options,
        warnings: list[str],
    ) -> tuple[Entry, bool]:
        manager = request.query.get("fieldManager", "")
        if not manager:
            problem = FieldError("FieldValueRequired", "fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [problem])
        meta = config.get("metadata") if isinstance(config, dict) else None
        if isinstance(meta, dict) and meta.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        config = self.objects.decode(resource, config, options, warnings)
        config["metadata"].setdefault("name", info.name)
        stored = conversion.to_storage(resource, config)
        if self.store.get(resource.key, namespace, info.name) is None:
            if info.subresource:
                raise not_found(resource.plural, resource.group, info.name)
            fields = json.loads(encode(stored))
            body = json.loads(encode(stored))
            holder: Json = {"metadata": {}}
            self.server_side.created(self.objects.stored(resource), holder, fields, manager)
            body["metadata"]["managedFields"] = holder["metadata"]["managedFields"]
            return self.objects.create(resource, namespace, body, options), True

        def change(old: Json) -> Json:
            return self.server_side.merge(self.objects.stored(resource), old, stored, manager, options.force)

        return self.objects.update(resource, namespace, info.name, change, options), False

    async def delete_options(self, request: web.Request) -> Json:
        """DeleteOptions from the body and the query."""
        data = await request.read()
        body = requests.decode_body(data, request.headers.get("Content-Type", "")) if data.strip() else {}
        if not isinstance(body, dict):
            raise bad_request("the delete options must be an object")
        query = request.query
        if "gracePeriodSeconds" in query:
            body["gracePeriodSeconds"] = requests.number(query, "gracePeriodSeconds")
        if "propagationPolicy" in query:
            body["propagationPolicy"] = query["propagationPolicy"]
        grace, wanted = body.get("gracePeriodSeconds"), body.get("preconditions")
        if not (grace is None or type(grace) is int) or not (wanted is None or isinstance(wanted, dict)):
            text = "json: cannot unmarshal into Go struct field DeleteOptions of type v1.DeleteOptions"
            raise bad_request(text)
        return body

    async def _delete(
        self, request: web.Request, resource: Resource, namespace: str, name: str, form: Accept
    ) -> web.Response:
        options = options_of(request)
        body = await self.delete_options(request)
        options.dry_run |= "All" in (body.get("dryRun") or ())
        entry, gone = self.objects.delete(resource, namespace, name, body, options)
        if gone and resource.kind != "Pod":
            details: Json = {"name": name, "group": resource.group, "kind": resource.plural}
            details["uid"] = entry.obj["metadata"].get("uid")
            details = {k: v for k, v in details.items() if v}
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": details,
            }
            return answer(encode(status))
        return answer(self.single(resource, entry, form, request.query))

    async def _delete_collection(
        self, request: web.Request, resource: Resource, namespace: str
    ) -> web.Response:
        options, body = options_of(request), await self.delete_options(request)
        match = self._matcher(resource, request.query)
        entries = [
            (k, e) for k, e in self.store.items(resource.key, namespace) if match is None or match(e.obj)
        ]
        for (space, name), _ in entries:
            if self.store.get(resource.key, space, name):
                self.objects.delete(resource, space, name, dict(body), options)
        head = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":'.encode()
        bodies = b",".join(e.data for _, e in entries)
        return answer(head + encode({"resourceVersion": str(self.store.rv)}) + b',"items":[' + bodies + b"]}")
