"""Prometheus' HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/): one pool, JSON, typed errors."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from opslib.errors import NotPermitted, SourceError, Unreachable

if TYPE_CHECKING:
    import urllib3

Json = Any


class Prometheus:
    """GET requests to one Prometheus. Safe to use from several threads.

    Raises Unreachable (no address, no answer, an answer that is not Prometheus'), NotPermitted (401, 403) or SourceError (a
    query that Prometheus refuses).
    """

    def __init__(self, address: str, *, connect_seconds: float = 2.0, read_seconds: float = 5.0) -> None:
        self.address = address.rstrip("/")
        self._seconds = (connect_seconds, read_seconds)
        self._lock = threading.Lock()
        self._pool: urllib3.PoolManager | None = None

    @property
    def name(self) -> str:
        """The address without a password, for messages."""
        parts = urlsplit(self.address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def get(self, path: str, **params: Json) -> Json:
        """The `data` of an answer."""
        import urllib3

        if not self.address:
            raise Unreachable(
                "no Prometheus is named",
                target="metrics",
                next="set PROMETHEUS_URL, or prometheus in the profile",
            )
        parts = urlsplit(self.address)
        url = urlunsplit(
            (parts.scheme, parts.netloc.rpartition("@")[2], parts.path + path, urlencode(params), "")
        )
        headers = urllib3.make_headers(basic_auth=parts.netloc.rpartition("@")[0]) if parts.username else {}
        timeout = urllib3.Timeout(connect=self._seconds[0], read=self._seconds[1])
        try:
            answer = self._open().request("GET", url, headers=headers, timeout=timeout, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(
                f"Prometheus does not answer: {str(error).rsplit(': ', 1)[-1]}",
                target=self.name,
                next="check that it runs, and its address or port-forward; without it there is no history",
            ) from error
        if answer.status in {401, 403}:
            raise NotPermitted(
                "Prometheus does not let us in", target=self.name, next="put user and password in its URL"
            )
        try:
            body = json.loads(answer.data)
            status = body["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(
                f"this is no answer of Prometheus ({answer.status})",
                target=self.name,
                next="correct the address",
            ) from error
        if status != "success":
            raise SourceError(
                f"Prometheus refuses the query: {body.get('error', answer.status)}",
                target=self.name,
                next="correct the query",
            )
        return body["data"]

    def _open(self) -> urllib3.PoolManager:
        import urllib3

        with self._lock:
            if self._pool is None:
                self._pool = urllib3.PoolManager(maxsize=8, num_pools=1)
            return self._pool
