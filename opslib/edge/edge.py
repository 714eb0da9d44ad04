"""The edge: what users get, asked through the ingress like a user asks (A1), never from inside the cluster."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from urllib.parse import urlsplit

from opslib.edge import answers, certificate
from opslib.edge.columns import COLUMNS
from opslib.edge.symptom import EdgeSymptom
from opslib.errors import NotFound, SourceError, Unreachable
from opslib.records.frames import frame

if TYPE_CHECKING:
    import pandas as pd

    from opslib.records.measurement import Measurement
    from opslib.settings import Profile

Json = Any
# Cheap reads that need no token: a user's first clicks. /health is not among them: probes hide broken routes (B2).
PATHS = (
    "/api/v1/inventory/availability",
    "/api/v1/pricing/fares",
    "/api/v1/airports/JFK",
    "/api/v1/reservations",
)
AT_ONCE = 6
SECONDS = 5.0
HEAD = 300


class Ingresses(Protocol):
    """What the edge asks of the cluster: where a host is served."""

    def ingresses(self, host: str = "") -> pd.DataFrame: ...


@dataclass(frozen=True)
class Address:
    """Where to connect for a host."""

    host: str
    port: int
    tls: bool = True

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


class Edge:
    """The platform's public face. Building it connects to nothing.

    The address is the profile's `edge`, else what the Ingress' own status says, else the host's own name (DNS), port 443.
    `counter(since)`, when given, is the ingress metric's share of 5xx since then (Metrics.ratio_since): a second witness
    for verifications.
    """

    COLUMNS: ClassVar[dict[str, list[str]]] = COLUMNS

    def __init__(
        self,
        profile: Profile,
        cluster: Ingresses | None = None,
        counter: Callable[[str, datetime], Measurement] | None = None,
    ) -> None:
        self.profile = profile
        self._cluster = cluster
        self._counter = counter
        self._lock = threading.Lock()
        self._hosts: dict[str, str] = {}
        self._addresses: dict[str, Address] = {}

    def probe(
        self,
        service: str,
        paths: Sequence[str] = PATHS,
        *,
        requests: int = 12,
        concurrency: int = AT_ONCE,
        seconds: float = SECONDS,
    ) -> pd.DataFrame:
        """Ask through the ingress as a user does; `service` is a host name, or a Service whose Ingress names the host.

        GET only, the paths in turn, each answer within `seconds`; with the token in OPSLIB_PROBE_TOKEN, if it is set. Columns: at (UTC), path, status (0: no answer), seconds,
        failed (no answer, a 5xx, or a host the ingress does not know; 4xx of the application is an answer), error (why there
        was none), body_head (300 characters, untrusted text), served_by (see answers.py). Raises Unreachable when no
        address is known; an edge that does not answer is no error but failed rows.
        """
        host = self.host_of(service)
        where = self.address_of(host)
        wanted = [paths[n % len(paths)].strip() for n in range(requests)] if paths else []
        context = self._context()
        with ThreadPoolExecutor(max_workers=max(1, concurrency), thread_name_prefix="probe") as pool:
            rows = list(pool.map(lambda path: _ask(where, host, path, seconds, context), wanted))
        data = frame("probe", COLUMNS["probe"], rows)
        data.attrs["address"], data.attrs["host"] = str(where), host
        return data

    def tls(self, service: str) -> pd.DataFrame:
        """The certificate that is really served for the host, in one row.

        Columns: host, not_before, not_after (UTC), days (left, fraction), names (list), issuer, hostname_ok, chain_trusted (by
        the system's authorities or the profile's edge_ca), problem ('' when all is well), serial. Raises Unreachable when
        there is no TLS connection at all.
        """
        host = self.host_of(service)
        row = certificate.served(self.address_of(host), host, self.profile.edge_ca, SECONDS)
        return frame("tls", COLUMNS["tls"], [row])

    def symptom(
        self,
        service: str,
        paths: Sequence[str] = PATHS,
        *,
        limit: float = 0.05,
        minimum_samples: int = 24,
        requests: int = 12,
        served_by: str = "",
    ) -> EdgeSymptom:
        """What verifies a change: the share of failed requests at the edge, counted only after `since`.

        It probes by itself, and adds the ingress' own counter when one was given. `limit` is the highest share that is good.
        With `served_by` (see answers.py) an answer is good when it is that one's: a maintenance page is a 503, and meant.
        """
        host = self.host_of(service)
        what = f"share of requests at {host} not answered by the {served_by}" if served_by else ""

        def probe() -> pd.DataFrame:
            data = self.probe(host, paths, requests=requests)
            return data.assign(failed=data["served_by"] != served_by) if served_by else data

        return EdgeSymptom(
            what=what or f"share of failed requests at {host}",
            limit=limit,
            minimum_samples=minimum_samples,
            probe=probe,
            counter=None if served_by else self._counter_of(service, host),
        )

    def host_of(self, service: str) -> str:
        """The public host of a Service, from the Ingress that routes to it; a name with a dot is a host already."""
        if "." in service:
            return service
        with self._lock:
            known = self._hosts.get(service)
        if known:
            return known
        rules = self._rules("")
        # During maintenance the host's rules point at the page; the Ingress itself mostly bears the service's name.
        mine = rules[(rules["service"] == service) & (rules["host"] != "*")]
        if mine.empty:
            mine = rules[(rules["ingress"] == service) & (rules["host"] != "*")]
        if mine.empty:
            raise NotFound(
                f"no Ingress routes a host to {service}",
                target=service,
                next="name the host itself, e.g. api.pss-nano.com",
            )
        host = str(mine.iloc[0]["host"])
        with self._lock:
            self._hosts[service] = host
        return host

    def address_of(self, host: str) -> Address:
        """Where to connect for this host; found once."""
        with self._lock:
            known = self._addresses.get(host)
        if known is None:
            known = self._find(host)
            with self._lock:
                self._addresses[host] = known
        return known

    def _find(self, host: str) -> Address:
        if self.profile.edge:
            return _parse(self.profile.edge)
        if self._cluster is not None:
            try:
                rules = self._rules(host)
            except SourceError:
                rules = None  # users reach the edge by DNS, also while the API is away
            if rules is not None:
                told = [
                    part.strip() for text in rules["address"] for part in str(text).split(",") if part.strip()
                ]
                if told:
                    return _best(told)
        return Address(host, 443)

    def _rules(self, host: str) -> pd.DataFrame:
        if self._cluster is None:
            raise Unreachable(
                "which host is meant cannot be known without a cluster",
                next="name the host, e.g. api.pss-nano.com",
            )
        return self._cluster.ingresses(host)

    def _counter_of(self, service: str, host: str) -> Callable[[datetime], Measurement] | None:
        counter = self._counter
        if counter is None:
            return None
        name = service
        if "." in service:
            rules = self._rules(host)
            name = str(rules.iloc[0]["service"]) if len(rules) else service
        return lambda since: counter(name, since)

    def _context(self) -> ssl.SSLContext:
        return certificate.context(self.profile.edge_ca)


def _parse(text: str) -> Address:
    parts = urlsplit(text if "//" in text else f"https://{text}")
    tls = parts.scheme != "http"
    return Address(parts.hostname or "", parts.port or (443 if tls else 80), tls)


def _best(told: list[str]) -> Address:
    """The Ingress' status lists host or host:port; the first port it names serves TLS, as 443 does."""
    host, _, port = told[0].rpartition(":")
    return Address(host, int(port)) if host and port.isdigit() else Address(told[0], 443)


def _ask(where: Address, host: str, path: str, seconds: float, context: ssl.SSLContext) -> dict[str, Json]:
    import urllib3

    at, began = datetime.now(UTC), time.monotonic()
    row: dict[str, Json] = {
        "at": at,
        "path": path,
        "status": 0,
        "error": "",
        "body_head": "",
        "served_by": "",
    }
    timeout = urllib3.Timeout(total=seconds)
    pool: urllib3.HTTPConnectionPool
    if where.tls:
        pool = urllib3.HTTPSConnectionPool(
            where.host,
            where.port,
            timeout=timeout,
            ssl_context=context,
            server_hostname=host,
            assert_hostname=host,
        )
    else:
        pool = urllib3.HTTPConnectionPool(where.host, where.port, timeout=timeout)
    with pool:
        try:
            # A new connection for each request: a user's browser does not share ours.
            answer = pool.request(
                "GET",
                path,
                headers=_headers(host),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body = answer.read(HEAD * 4, decode_content=True).decode(errors="replace")
            row["status"] = answer.status
            row["served_by"] = answers.served_by(answer.status, answer.headers, body)
            row["body_head"] = body[:HEAD]
            answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            row["error"] = _why(error, where, seconds)
    row["failed"] = row["status"] == 0 or answers.failed(row["status"], row["served_by"])
    return row | {"seconds": time.monotonic() - began}


def _headers(host: str) -> dict[str, str]:
    """What the probe sends; with OPSLIB_PROBE_TOKEN, a synthetic user's token, it reaches routes that ask for one."""
    sent = {"Host": host, "User-Agent": "opslib-probe", "Accept": "*/*", "Connection": "close"}
    token = os.environ.get("OPSLIB_PROBE_TOKEN")
    return sent | ({"Authorization": f"Bearer {token}"} if token else {})


def _why(error: BaseException, where: Address, seconds: float) -> str:
    import urllib3

    if isinstance(error, urllib3.exceptions.SSLError):
        return f"TLS: {str(error).rsplit('] ', 1)[-1]}"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"{where}: no answer within {seconds:g} s"
    return f"{where}: {str(error).rsplit(': ', 1)[-1].strip()}"
