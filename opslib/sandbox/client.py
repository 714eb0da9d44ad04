"""A small asynchronous client of a Kubernetes API.

Only what any Kubernetes API server offers is used, so that controllers and kubelet also run over a real one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import aiohttp
import yaml

Manifest = dict[str, Any]
T = TypeVar("T")

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(Exception):
    """The API answered with a Status of failure; `message` is the server's own text."""

    def __init__(self, code: int, reason: str, message: str, status: Manifest | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.status = status or {}


class UnreachableError(Exception):
    """The API could not be reached, or the connection broke."""


@dataclass(frozen=True)
class Resource:
    """One kind of object and where the API serves it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The request path; without a namespace, that of all namespaces."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
EVENTS = Resource("", "v1", "events", "Event")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
CONTROLLERREVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job")
HPAS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
PDBS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
APPLICATIONS = Resource("argoproj.io", "v1alpha1", "applications", "Application")


@dataclass(frozen=True)
class Connection:
    """What a kubeconfig context says: where the API is and who calls."""

    server: str
    ssl: ssl.SSLContext | None
    token: str | None

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str | None = None) -> Connection:
        """Read one context (default: the current one) of a kubeconfig file.

        Raises OSError when the file cannot be read and ValueError when the context is incomplete.
        """
        config = yaml.safe_load(path.read_text())
        wanted = context or config.get("current-context")

        def entry(section: str, name: object) -> Manifest:
            for item in config.get(section) or []:
                if item.get("name") == name:
                    found: Manifest = item[section.removesuffix("s")]
                    return found
            raise ValueError(f"{path}: no entry {name!r} under {section!r}; check the kubeconfig")

        chosen = entry("contexts", wanted)
        cluster, user = entry("clusters", chosen.get("cluster")), entry("users", chosen.get("user"))
        server = str(cluster["server"]).rstrip("/")
        token = user.get("token")
        if user.get("tokenFile"):
            token = Path(user["tokenFile"]).read_text().strip()
        if not server.startswith("https://"):
            return cls(server, None, token)
        return cls(server, _ssl_context(path.parent, cluster, user), token)


def _ssl_context(base: Path, cluster: Manifest, user: Manifest) -> ssl.SSLContext:
    if cluster.get("certificate-authority-data"):
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
    elif cluster.get("certificate-authority"):
        context = ssl.create_default_context(cafile=str(base / cluster["certificate-authority"]))
    else:
        context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if user.get("client-certificate"):
        context.load_cert_chain(str(base / user["client-certificate"]), str(base / user["client-key"]))
    elif user.get("client-certificate-data"):
        # ssl loads key pairs from files only, so the pair passes through a temporary one (mode 0600)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


class Client:
    """Calls of a Kubernetes API. Each raises ApiError (the server refused) or UnreachableError."""

    def __init__(self, connection: Connection, user_agent: str = "opslib-sandbox") -> None:
        self.connection = connection
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if connection.token:
            self._headers["Authorization"] = f"Bearer {connection.token}"
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(
        cls, path: Path, context: str | None = None, user_agent: str = "opslib-sandbox"
    ) -> Client:
        return cls(Connection.from_kubeconfig(path, context), user_agent)

    async def __aenter__(self) -> Client:
        self.session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def session(self) -> aiohttp.ClientSession:
        """The one session of this client, opened when first needed."""
        if self._session is None or self._session.closed:
            context: ssl.SSLContext | bool = self.connection.ssl or True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=context), headers=self._headers
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        seconds: float = 30.0,
    ) -> Manifest:
        """One request; returns the JSON answer. `seconds`: the real time it may take."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else None
        try:
            async with self.session().request(
                method,
                self.connection.server + path,
                params=params,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as answer:
                raw = await answer.read()
                code = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {type(error).__name__}: {error}") from error
        try:
            document: Manifest = json.loads(raw) if raw else {}
        except ValueError:
            document = {"message": raw.decode(errors="replace")[:500]}
        if code >= 400:
            raise ApiError(
                code, str(document.get("reason", "")), str(document.get("message", f"HTTP {code}")), document
            )
        return document

    async def list(
        self, resource: Resource, namespace: str | None = None, params: Mapping[str, str] | None = None
    ) -> tuple[list[Manifest], str]:
        """All objects (with apiVersion and kind set) and the list's resourceVersion."""
        answer = await self.request("GET", resource.path(namespace), params=params)
        items: list[Manifest] = answer.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return items, str((answer.get("metadata") or {}).get("resourceVersion", ""))

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        return await self.request("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None when it does not exist."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(self, resource: Resource, body: Manifest) -> Manifest:
        namespace = (body.get("metadata") or {}).get("namespace")
        full = {"apiVersion": resource.api_version, "kind": resource.kind} | body
        return await self.request("POST", resource.path(namespace), full)

    async def update(self, resource: Resource, body: Manifest, subresource: str | None = None) -> Manifest:
        """Replace the object; its resourceVersion guards against lost updates (ApiError 409)."""
        meta = body["metadata"]
        full = {"apiVersion": resource.api_version, "kind": resource.kind} | body
        path = resource.path(meta.get("namespace"), meta["name"], subresource)
        return await self.request("PUT", path, full)

    async def update_status(self, resource: Resource, body: Manifest) -> Manifest:
        return await self.update(resource, body, "status")

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: object,
        kind: Literal["merge", "strategic", "json"] = "merge",
        subresource: str | None = None,
    ) -> Manifest:
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, body, content_type=PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        grace: int | None = None,
        uid: str | None = None,
        propagation: str | None = None,
    ) -> Manifest:
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        return await self.request("DELETE", resource.path(namespace, name), options)

    async def watch(
        self, resource: Resource, resource_version: str, namespace: str | None = None, seconds: int = 300
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Events (type, object) after a resourceVersion until the server ends the watch.

        Raises ApiError 410 when the history is gone (as a status or as an ERROR event).
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        try:
            async with self.session().get(
                self.connection.server + resource.path(namespace),
                params=params,
                timeout=aiohttp.ClientTimeout(total=seconds + 30, sock_connect=10),
            ) as answer:
                if answer.status >= 400:
                    raise _error(answer.status, await answer.read())
                async for line in _lines(answer.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(
                            int(status.get("code", 500)),
                            str(status.get("reason", "")),
                            str(status.get("message", "")),
                            status,
                        )
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"watch {resource.plural}: {type(error).__name__}: {error}") from error


def _error(code: int, raw: bytes) -> ApiError:
    try:
        status: Manifest = json.loads(raw)
    except ValueError:
        status = {"message": raw.decode(errors="replace")[:500]}
    return ApiError(code, str(status.get("reason", "")), str(status.get("message", "")), status)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # StreamReader.readline refuses lines above its limit; objects may be larger
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]], tries: int = 5) -> T:
    """Run an attempt that reads and writes again while another writer is faster (409 Conflict)."""
    for left in range(tries - 1, -1, -1):
        try:
            return await attempt()
        except ApiError as error:
            if error.code != 409 or error.reason != "Conflict" or left == 0:
                raise
        await asyncio.sleep(0.01 * (tries - left))
    raise AssertionError("unreachable: the last attempt returns or raises")
