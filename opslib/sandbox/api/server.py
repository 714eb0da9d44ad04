"""The HTTP side: authentication, authorization, routing, audit (k8s.io/apiserver's handler chain)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from opslib.sandbox.api import discovery, privileged, requests, reviews, streams, subresources
from opslib.sandbox.api.audit import AuditLog
from opslib.sandbox.api.auth import Auth, User
from opslib.sandbox.api.errors import ApiError, internal, method_not_allowed, no_such_path
from opslib.sandbox.api.objects import Objects, Options
from opslib.sandbox.api.openapi import OpenApi
from opslib.sandbox.api.registry import METRICS_GROUP, Registry
from opslib.sandbox.api.requests import RequestInfo
from opslib.sandbox.api.schemas import Schemas
from opslib.sandbox.api.store import Store, encode
from opslib.sandbox.api.verbs import Verbs
from opslib.sandbox.api.watch import Watch

LOG = logging.getLogger("opslib.sandbox.api")
MAX_BODY = 64 * 1024 * 1024  # a whole state is restored in one request
EVENT_TTL = 3600.0  # kube-apiserver --event-ttl, in platform seconds
EVENT_TTL_LEAST = 900.0  # but people who look at a broken sandbox think in wall-clock time
_CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
_SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class ApiServer:
    """One API server over one state folder."""

    def __init__(self, state: Path, speed: float = 20.0) -> None:
        self.state, self.speed = state, speed
        (state / "kube").mkdir(parents=True, exist_ok=True)
        self.store = Store(state / "kube" / "store.json")
        self.registry = Registry()
        self.schemas = Schemas()
        self.objects = Objects(self.store, self.registry, self.schemas)
        self.auth = Auth(state / "tokens.json", self.store)
        self.audit = AuditLog(state / "kube" / "audit.jsonl")
        self.openapi = OpenApi(self.registry, self.schemas)
        self.watches: set[Watch] = set()
        self.verbs = Verbs(self.store, self.registry, self.schemas, self.objects, self.watches)
        self.address = ""
        certificate = state / "pki" / "ca.crt"
        if certificate.exists():
            self.objects.root_ca = certificate.read_text()

    def start(self) -> None:
        """Load the saved state, or make the namespaces that every cluster has."""
        if self.store.read():
            self.reload()
        namespaces = self.registry.find("", "v1", "namespaces")
        assert namespaces is not None
        for name in _SYSTEM_NAMESPACES:
            if self.store.get(("", "namespaces"), "", name) is None:
                self.objects.create(
                    namespaces, "", {"metadata": {"name": name}}, Options(manager="kube-apiserver")
                )

    def reload(self) -> None:
        """Register the custom resources that the store holds, and finish pending deletions."""
        self.registry.clear_crds()
        for _, entry in self.store.items(_CRDS):
            self.registry.add_crd(entry.obj)
        self.objects.garbage.sweep()

    async def expire_events(self) -> None:
        """Remove events that nobody has written for their time to live; runs until cancelled."""
        key, row = ("", "events"), self.registry.find("", "v1", "events")
        assert row is not None
        seen: dict[tuple[str, str], tuple[int, float]] = {}
        ttl = max(EVENT_TTL / self.speed, EVENT_TTL_LEAST)
        while True:
            now = time.monotonic()
            current = {where: entry.rv for where, entry in self.store.items(key)}
            seen = {w: seen[w] if seen.get(w, (0, 0.0))[0] == rv else (rv, now) for w, rv in current.items()}
            for where, (_, since) in seen.items():
                if now - since > ttl:
                    self.objects.remove(row, *where)
            await asyncio.sleep(ttl / 60)

    def end_watches(self, error: ApiError) -> None:
        """End every open watch with an ERROR event."""
        for watch in list(self.watches):
            watch.end(error)

    # the chain

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and write it to the audit log."""
        received = datetime.now(UTC)
        info = requests.parse(request.method, request.path, request.query)
        user: User | None = None
        code, reason, message = 500, "", ""
        try:
            try:
                user = self.auth.authenticate(self._credentials(request))
                response = await self._route(request, info, user)
                code = response.status
            except ApiError as error:
                code, reason, message = error.code, error.reason, error.message
                response = self._failure(error)
            except (ConnectionResetError, asyncio.CancelledError):
                # the client left: the normal end of a stream
                code = 200 if info.verb == "watch" or info.subresource else 499
                raise
            except Exception as error:
                LOG.exception("%s %s failed", request.method, request.path_qs)
                failure = internal(f"{type(error).__name__}: {error}")
                code, reason, message = 500, failure.reason, failure.message
                response = self._failure(failure)
            response.headers.setdefault(
                "Cache-Control", "no-cache, private"
            ) if not response.prepared else None
            return response
        finally:
            self.audit.write(
                user,
                info.attributes,
                request.path_qs,
                received,
                code,
                request.headers.get("User-Agent", ""),
                reason,
                message,
            )

    @staticmethod
    def _credentials(request: web.Request) -> str:
        header = request.headers.get("Authorization", "")
        if header or "Sec-WebSocket-Protocol" not in request.headers:
            return header
        # browsers' way of sending a token with a WebSocket (k8s.io/apiserver .../authentication/request/websocket)
        prefix = "base64url.bearer.authorization.k8s.io."
        for protocol in request.headers["Sec-WebSocket-Protocol"].split(","):
            if protocol.strip().startswith(prefix):
                text = protocol.strip().removeprefix(prefix)
                return "Bearer " + base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        return ""

    @staticmethod
    def _failure(error: ApiError) -> web.Response:
        return web.Response(
            body=encode(error.status()) + b"\n",
            status=error.code,
            content_type="application/json",
            headers=error.headers,
        )

    async def _route(self, request: web.Request, info: RequestInfo, user: User) -> web.StreamResponse:
        if info.path.startswith("/sandbox/v1/"):
            return await privileged.handle(self, request, user)
        self.auth.check(user, info.attributes)
        if not info.is_resource:
            return self._path(request, info)
        resource = self.registry.find(info.group, info.version, info.resource)
        if resource is None:
            raise no_such_path()
        if resource.group == METRICS_GROUP:
            return await streams.metrics(self, request, info, resource)
        if bool(info.namespace) is not resource.namespaced and resource.plural != "namespaces":
            unscoped = resource.namespaced and info.verb in ("list", "watch") and not info.namespace
            review = resource.kind.endswith("Review")
            if not unscoped and not review:
                raise (
                    no_such_path()
                    if not (resource.namespaced and info.verb == "create")
                    else method_not_allowed()
                )
        if info.subresource:
            return await self._subresource(request, info, user)
        if info.verb not in resource.verbs:
            raise method_not_allowed()
        if resource.kind.endswith("Review"):
            return await reviews.handle(self, request, resource, info, user)
        if resource.kind == "Binding":
            return await subresources.binding(self, request, info, resource)
        if resource.kind == "ComponentStatus":
            return subresources.component_statuses(info)
        return await self.verbs.serve(request, info, resource, user)

    async def _subresource(self, request: web.Request, info: RequestInfo, user: User) -> web.StreamResponse:
        resource = self.registry.find(info.group, info.version, info.resource)
        assert resource is not None
        sub = resource.subresource(info.subresource)
        if sub is None or info.rest:
            raise no_such_path()
        if info.verb not in sub.verbs:
            raise method_not_allowed()
        if sub.name in ("log", "exec", "attach", "portforward"):
            return await streams.connect(self, request, info, resource)
        if sub.name in ("status", "finalize", "ephemeralcontainers"):
            return await self.verbs.serve(request, info, resource, user)
        return await subresources.handle(self, request, info, resource, user)

    def _path(self, request: web.Request, info: RequestInfo) -> web.Response:
        if info.verb not in ("get", "head"):
            raise (
                method_not_allowed()
                if info.path.startswith(("/api", "/openapi", "/version"))
                else no_such_path()
            )
        path = info.path.rstrip("/") or "/"
        parts = path.strip("/").split("/")
        document: Any = None
        if parts[0] in ("healthz", "livez", "readyz"):
            return web.Response(text="ok", content_type="text/plain")
        if path == "/version":
            document = discovery.version_info()
        elif path == "/api":
            document = discovery.core_versions(self.address)
        elif path == "/apis":
            document = discovery.groups(self.registry)
        elif parts[0] == "api" and len(parts) == 2:
            document = discovery.resources(self.registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            document = discovery.group(self.registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            document = discovery.resources(self.registry, parts[1], parts[2])
        elif path == "/openapi/v3":
            document = self.openapi.index()
        elif parts[:3] == ["openapi", "v3", "api"] and len(parts) == 4:
            document = self.openapi.document("", parts[3])
        elif parts[:3] == ["openapi", "v3", "apis"] and len(parts) == 5:
            document = self.openapi.document(parts[3], parts[4])
        elif path == "/":
            document = {
                "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
            }
        if document is None:
            raise no_such_path()
        requests.accept(request.headers.get("Accept", "")) if parts[0] != "openapi" else None
        return web.Response(body=encode(document), content_type="application/json")

    # running

    def application(self) -> web.Application:
        """The aiohttp application: one handler for all paths, since the table of paths changes with CRDs."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    def stop(self) -> None:
        """End the watches and save everything; the audit log stays open for what is still being answered."""
        for watch in list(self.watches):
            watch.end()
        self.store.save()


def read_address(path: Path) -> int | None:
    """The port of an earlier run, from its address file."""
    try:
        return int(json.loads(path.read_text())["url"].rsplit(":", 1)[1])
    except (OSError, ValueError, KeyError, IndexError):
        return None
