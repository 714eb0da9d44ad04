"""The transport to one Kubernetes API: kubeconfig or in-cluster, one connection pool, raw JSON, typed errors.

The official `kubernetes` package reads the configuration (exec plugins, tokens, in-cluster), unless the kubeconfig is
so plain that kubeconfig.py reads it quicker; its models are not used: answers stay plain JSON. Nothing is imported or connected before the first request.
"""

from __future__ import annotations

import email.utils
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from opslib.cluster.kubeconfig import Static, static
from opslib.errors import (
    NotFound,
    NotInstalled,
    NotPermitted,
    OpslibError,
    Refused,
    SettingsError,
    SourceError,
    Unreachable,
)

if TYPE_CHECKING:
    import urllib3

    from opslib.settings import Profile

Json = Any
POOL = 16  # ten reads at once must not queue for a connection
PAGE = 500  # the page size of kubectl


class Conflict(Refused):
    """The object was changed by somebody else between the read and the write (409)."""


class Invalid(Refused):
    """The API did not accept the object or the patch (400, 422): a failed `test` or a validation."""


@dataclass(frozen=True)
class Connection:
    """How to reach one API server, read from the kubeconfig or the service account."""

    host: str
    context: str
    cluster: str
    namespace: str
    configuration: Json  # the official package's, or a kubeconfig.Static


class Api:
    """Requests to one Kubernetes API. Safe to use from several threads.

    Every method raises a SourceError (Unreachable, NotPermitted, NotFound, NotInstalled) or a Refused (Conflict,
    Invalid) that names the target.
    """

    def __init__(self, profile: Profile, *, connect_seconds: float = 3.0, read_seconds: float = 6.0) -> None:
        self.profile = profile
        self.connect_seconds = connect_seconds
        self.read_seconds = read_seconds
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._pool: urllib3.PoolManager | None = None

    @property
    def connection(self) -> Connection:
        """The connection's settings; read once. Raises SettingsError when there is no usable configuration."""
        with self._lock:
            if self._connection is None:
                self._connection = _configure(self.profile)
            return self._connection

    @property
    def cluster(self) -> str:
        """The cluster's name in the kubeconfig ('in-cluster' inside a pod)."""
        return self.connection.cluster

    def get(self, path: str, **params: Json) -> Json:
        """The JSON at `path`."""
        return self._request("GET", path, params)[0]

    def items(self, path: str, **params: Json) -> list[Json]:
        """Every item of a list, page by page."""
        params.setdefault("limit", PAGE)
        found: list[Json] = []
        while True:
            body = self.get(path, **params)
            found += body.get("items") or []
            token = (body.get("metadata") or {}).get("continue")
            if not token:
                return found
            params["continue"] = token

    def text(self, path: str, **params: Json) -> str:
        """The answer as text: logs."""
        return self._send("GET", path, params, None, "", accept="*/*").data.decode(errors="replace")

    def post(self, path: str, body: Json, **params: Json) -> Json:
        """Create an object; the answer."""
        return self._request("POST", path, params, body)[0]

    def put(self, path: str, body: Json, **params: Json) -> Json:
        """Replace an object; the answer."""
        return self._request("PUT", path, params, body)[0]

    def patch(self, path: str, operations: Sequence[Mapping[str, Json]], **params: Json) -> Json:
        """Apply a JSON Patch (RFC 6902); its `test` operations guard it in the same request."""
        return self._request("PATCH", path, params, list(operations), "application/json-patch+json")[0]

    def delete(self, path: str, *, uid: str, resource_version: str = "", **params: Json) -> Json:
        """Delete exactly the object with this uid (and version)."""
        guard = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": guard}
        return self._request("DELETE", path, params, body)[0]

    def get_with_time(self, path: str) -> tuple[Json, datetime]:
        """The JSON at `path` and the server's clock at that moment (its Date header; ours when it sends none)."""
        return self._request("GET", path, {})

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Json],
        body: Json = None,
        content_type: str = "application/json",
    ) -> tuple[Json, datetime]:
        answer = self._send(method, path, params, body, content_type)
        try:
            parsed = json.loads(answer.data)
        except ValueError as error:
            raise Unreachable(
                f"{method} {path} answered {answer.status} with something that is not JSON",
                target=self._where(),
                next="check that the kubeconfig's server is a Kubernetes API and not a proxy's login page",
            ) from error
        return parsed, _date(answer.headers.get("Date", ""))

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Json],
        body: Json,
        content_type: str,
        accept: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        import urllib3

        connection = self.connection
        url = connection.host + path
        if query := {key: _plain(value) for key, value in params.items() if value not in ("", None)}:
            url += "?" + urlencode(query)
        headers = {"Accept": accept, "User-Agent": "opslib"}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        timeout = urllib3.Timeout(connect=self.connect_seconds, read=self.read_seconds)
        pool = self._open(connection)
        headers |= self._authorization(connection)
        # A pooled connection that the server closed meanwhile fails once; only a read may simply be sent again.
        tries = 2 if method == "GET" else 1
        while True:
            tries -= 1
            try:
                answer = pool.request(
                    method, url, body=data, headers=headers, timeout=timeout, retries=False, redirect=False
                )
                break
            except (urllib3.exceptions.ProtocolError, ConnectionError) as error:
                if not tries:
                    raise self._unreachable(error) from error
            except urllib3.exceptions.HTTPError as error:
                raise self._unreachable(error) from error
        if answer.status >= 300:
            raise self._problem(method, path, answer)
        return answer

    def _open(self, connection: Connection) -> urllib3.PoolManager:
        with self._lock:
            if self._pool is None:
                self._pool = _pool(connection.configuration)
            return self._pool

    def _authorization(self, connection: Connection) -> dict[str, str]:
        configuration = connection.configuration
        try:
            if isinstance(configuration, Static):
                return configuration.authorization()
            token = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except Exception as error:  # an exec plugin or a token file can fail in any way
            raise NotPermitted(
                f"no token for the API: {error}",
                target=self._where(),
                next="sign in again, e.g. gcloud auth login",
            ) from error
        if token:
            return {"Authorization": token}
        if configuration.username and configuration.password:
            return {"Authorization": configuration.get_basic_auth_token()}
        return {}

    def _where(self) -> str:
        return self._connection.cluster if self._connection else self.profile.context or "cluster"

    def _unreachable(self, error: BaseException) -> Unreachable:
        host = urlsplit(self.connection.host).netloc
        why = _brief(error)
        return Unreachable(
            f"the Kubernetes API at {host} does not answer: {why}",
            target=self._where(),
            next="check the network or VPN and the kubeconfig context; `kubectl version` asks the same server",
        )

    def _problem(self, method: str, path: str, answer: urllib3.BaseHTTPResponse) -> OpslibError:
        status, message = answer.status, answer.data.decode(errors="replace")[:500]
        details: dict[str, Json] = {}
        is_status = False
        try:
            body = json.loads(answer.data)
            is_status = body.get("kind") == "Status"
            message, details = body.get("message") or message, body.get("details") or {}
        except (ValueError, AttributeError):
            pass
        where = f"{self._where()}{path}"
        said = f"{method} {path.rsplit('/', 1)[-1]}: {message.strip()}"
        if status == 401:
            return NotPermitted(
                f"the API does not accept this identity ({message.strip()})",
                target=self._where(),
                next="sign in again, or choose another context",
            )
        if status == 403:
            if (
                "exceeded quota" in message
                or "is forbidden: maximum" in message
                or "admission webhook" in message
            ):
                return Refused(said, target=where, next="correct what the message names")
            return NotPermitted(
                message.strip(), target=where, next="ask for the Role opslib-observer or opslib-responder"
            )
        if status == 404:
            # An unknown group or kind is answered without the name of an object.
            if not is_status or not details.get("name"):
                return NotInstalled(
                    f"the cluster has no {_kind(path)}",
                    target=where,
                    next="install it, or skip what needs it",
                )
            return NotFound(message.strip(), target=where, next="check the name and the namespace")
        if status == 409:
            return Conflict(said, target=where, next="read the object again, then decide again")
        if status in {400, 415, 422}:
            causes = "; ".join(cause.get("message", "") for cause in details.get("causes") or [])
            return Invalid(f"{said} {causes}".strip(), target=where, next="correct what the message names")
        if status == 429 or status >= 500:
            return Unreachable(
                f"the API cannot serve {method} {path} now ({status}): {message.strip()}",
                target=self._where(),
                next="try again in a moment; if it stays so, look at the control plane",
            )
        return SourceError(f"{said} ({status})", target=where)


def _configure(profile: Profile) -> Connection:
    files = profile.kubeconfig or os.environ.get("KUBECONFIG", "")
    default = Path("~/.kube/config").expanduser()
    plain = static(files or str(default), profile.context)
    if plain is not None:
        return Connection(plain.host, plain.context, plain.cluster, plain.namespace, plain)
    # The official loader: KUBECONFIG lists, contexts, exec plugins, client certificates, the service account.
    from kubernetes import client, config

    configuration = client.Configuration()
    if not files and not default.is_file() and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise SettingsError(
                f"the service account cannot be used: {error}", target="in-cluster"
            ) from error
        return Connection(configuration.host, "in-cluster", "in-cluster", "", configuration)
    file = files or str(default)
    try:
        contexts, active = config.list_kube_config_contexts(config_file=file)
        config.load_kube_config(
            config_file=file, context=profile.context or None, client_configuration=configuration
        )
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(
            f"the kubeconfig cannot be used: {error}",
            target=profile.context or "current context",
            next="set KUBECONFIG and OPSLIB_CONTEXT, or the profile's kubeconfig and context",
        ) from error
    chosen = next((c for c in contexts if c["name"] == profile.context), active) or {}
    inner = chosen.get("context") or {}
    return Connection(
        configuration.host.rstrip("/"),
        chosen.get("name", ""),
        inner.get("cluster", "") or "cluster",
        inner.get("namespace", ""),
        configuration,
    )


def _pool(configuration: Json) -> urllib3.PoolManager:
    import ssl

    import urllib3

    if isinstance(configuration, Static):
        name = {"server_hostname": configuration.server_name, "assert_hostname": configuration.server_name}
        chosen: dict[str, Json] = dict(name) if configuration.server_name else {}
        return urllib3.PoolManager(maxsize=POOL, num_pools=2, ssl_context=configuration.tls, **chosen)
    options: dict[str, Json] = {
        "maxsize": POOL,
        "num_pools": 2,
        "cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE,
        "ca_certs": configuration.ssl_ca_cert,
        "cert_file": configuration.cert_file,
        "key_file": configuration.key_file,
    }
    if configuration.assert_hostname is not None:
        options["assert_hostname"] = configuration.assert_hostname
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    if configuration.proxy:
        return urllib3.ProxyManager(configuration.proxy, proxy_headers=configuration.proxy_headers, **options)
    return urllib3.PoolManager(**options)


def _plain(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _date(header: str) -> datetime:
    try:
        return email.utils.parsedate_to_datetime(header).astimezone(UTC)
    except (TypeError, ValueError):
        return datetime.now(UTC)


def _brief(error: BaseException) -> str:
    text = str(error)
    return text.rsplit(": ", 1)[-1].strip("()'\" ") or type(error).__name__


def _kind(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        return "such resource: " + "/".join(parts[2:])
    group = parts[1] if len(parts) > 1 else path
    rest = parts[5:] if len(parts) > 3 and parts[3] == "namespaces" else parts[3:]
    return f"{rest[0] if rest else 'resources'} of {group}"
