"""The edge: what ingress-nginx would do with a request, in process (sockets are in edge_server).

Sources: ingress-nginx 1.9 (rule merging: the oldest Ingress keeps a path claimed twice; an exact path wins over
a prefix, the longer prefix over the shorter; 503 without ready endpoints, 404 from the default backend for an
unknown host or path, 502 when the upstream refuses; proxy_next_upstream tries another one first).
"""

from __future__ import annotations

import datetime as dt
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from opslib.sandbox.client import INGRESSES, PODS
from opslib.sandbox.informer import Informers
from opslib.sandbox.inventory.components import INGRESS_LABELS
from opslib.sandbox.workloads.metrics import Counter, Histogram, labels
from opslib.sandbox.workloads.network import Endpoint, Network
from opslib.sandbox.workloads.protocol import HttpAnswer, Manifest, Runtime

CLASS = "nginx"
LEGACY_CLASS = "kubernetes.io/ingress.class"
REDIRECT = "nginx.ingress.kubernetes.io/ssl-redirect"
PERMANENT = "nginx.ingress.kubernetes.io/permanent-redirect"
TRIES = 3  # proxy_next_upstream_tries
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Rule:
    """One path of one Ingress."""

    path: str
    exact: bool
    namespace: str
    ingress: str
    service: str
    port: int | str | None
    annotations: tuple[tuple[str, str], ...] = ()

    def matches(self, path: str) -> bool:
        if self.exact:
            return path == self.path
        base = self.path.rstrip("/")
        return not base or path == base or path.startswith(base + "/")


@dataclass(frozen=True)
class Reply:
    """What the edge answers; `rule` is None for the default server."""

    status: int
    body: str
    content_type: str
    seconds: float
    rule: Rule | None = None
    location: str = ""
    served_by: str = ""  # NAMESPACE/NAME of the pod, for the access log
    headers: tuple[tuple[str, str], ...] = ()


def page(status: int, text: str) -> str:
    """nginx's own error page."""
    return (
        f"<html>\r\n<head><title>{status} {text}</title></head>\r\n<body>\r\n<center><h1>{status} {text}</h1>"
        "</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )


class Edge:
    """Routes by the live Ingress objects, counts as the controller does, writes the access log."""

    def __init__(self, informers: Informers, network: Network) -> None:
        self._ingresses = informers.of(INGRESSES)
        self._pods = informers.of(PODS)
        self._network = network
        self._runtime: Runtime | None = None
        self._table: dict[str, list[Rule]] | None = None
        self.requests = Counter("nginx_ingress_controller_requests", "The total number of client requests")
        self.duration = Histogram(
            "nginx_ingress_controller_request_duration_seconds", "The request processing time", BUCKETS
        )
        self._ingresses.on_change(lambda _old, _new: self._forget())

    @property
    def families(self) -> tuple[Counter | Histogram, ...]:
        return (self.requests, self.duration)

    def attach(self, runtime: Runtime) -> None:
        """The kubelet that runs the controller pods: they get the access log."""
        self._runtime = runtime

    def _forget(self) -> None:
        self._table = None

    def table(self) -> dict[str, list[Rule]]:
        """Host ("" for any) -> rules in the order in which they are tried."""
        if self._table is None:
            self._table = build_table(self._ingresses.all())
        return self._table

    def hosts(self) -> list[str]:
        return [host for host in self.table() if host]

    def route(
        self,
        host: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        tls: bool = True,
        client: str = "203.0.113.7",
    ) -> Reply:
        """Answer one request, count it and log it. Never raises for what a client can send."""
        reply = self._answer(host, method, path, headers, tls=tls)
        self._count(host, method, reply)
        self._log(client, host, method, path, headers, reply)
        return reply

    def _answer(self, host: str, method: str, path: str, headers: Mapping[str, str], *, tls: bool) -> Reply:
        table, route = self.table(), path.partition("?")[0]
        rules = table.get(host.partition(":")[0].lower(), table.get("", []))
        rule = next((one for one in rules if one.matches(route)), None)
        if rule is None:
            return Reply(404, page(404, "Not Found"), "text/html", 0.0005)
        notes = dict(rule.annotations)
        if PERMANENT in notes:
            return Reply(301, page(301, "Moved Permanently"), "text/html", 0.0005, rule, notes[PERMANENT])
        if not tls and notes.get("tls") == "yes" and notes.get(REDIRECT, "true") == "true":
            where = f"https://{host.partition(':')[0]}{path}"
            return Reply(308, page(308, "Permanent Redirect"), "text/html", 0.0005, rule, where)
        ready = self._network.endpoints(rule.namespace, rule.service, rule.port)
        if not ready:
            return Reply(503, page(503, "Service Temporarily Unavailable"), "text/html", 0.0005, rule)
        return self._upstream(rule, ready, method, path, headers)

    def _upstream(
        self, rule: Rule, ready: list[Endpoint], method: str, path: str, headers: Mapping[str, str]
    ) -> Reply:
        for endpoint in random.sample(ready, min(TRIES, len(ready))):
            found = self._network.send(endpoint, method, path, headers)
            if found is not None:
                return _reply(found, rule, endpoint)
        return Reply(502, page(502, "Bad Gateway"), "text/html", 0.002, rule)

    def _count(self, host: str, method: str, reply: Reply) -> None:
        rule = reply.rule
        if rule is None:
            return  # the default server is not a metric of an ingress
        common = labels(
            controller_class="k8s.io/ingress-nginx",
            host=host.partition(":")[0],
            ingress=rule.ingress,
            method=method,
            namespace=rule.namespace,
            path=rule.path,
            service=rule.service,
            status=str(reply.status),
        )
        self.requests.add(common)
        self.duration.observe(common, reply.seconds)

    def _log(
        self, client: str, host: str, method: str, path: str, headers: Mapping[str, str], reply: Reply
    ) -> None:
        if self._runtime is None:
            return
        pods = [
            pod
            for pod in self._pods.all("ingress-nginx")
            if (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "controller"
        ]
        if not pods:
            return
        pod = pods[zlib.crc32(client.encode()) % len(pods)]
        controller = self._runtime.container(pod["metadata"]["uid"], "controller")
        if controller is None:
            return
        stamp = dt.datetime.now(dt.UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        agent = next((value for key, value in headers.items() if key.lower() == "user-agent"), "-")
        rule = reply.rule
        upstream = f"{rule.namespace}-{rule.service}-{rule.port}" if rule else "upstream-default-backend"
        controller.log(
            f'{client} - - [{stamp}] "{method} {path} HTTP/2.0" {reply.status} {len(reply.body)} "-" "{agent}" '
            f"312 {reply.seconds:.3f} [{upstream}] [] {reply.served_by or '-'} {len(reply.body)} "
            f"{reply.seconds:.3f} {reply.status} {host.partition(':')[0]}"
        )


def _reply(found: HttpAnswer, rule: Rule, endpoint: Endpoint) -> Reply:
    seconds = found.seconds + 0.001
    return Reply(
        found.status,
        found.body,
        found.content_type,
        seconds,
        rule,
        served_by=endpoint.pod_key,
        headers=found.headers,
    )


def is_ours(ingress: Manifest) -> bool:
    """Whether an Ingress is of class nginx, by spec or by the deprecated annotation."""
    wanted = ingress["spec"].get("ingressClassName")
    return (wanted or (ingress["metadata"].get("annotations") or {}).get(LEGACY_CLASS) or CLASS) == CLASS


def build_table(ingresses: object) -> dict[str, list[Rule]]:
    """Merge all Ingress objects: for a host and path claimed twice the oldest object stays."""
    table: dict[str, dict[tuple[str, bool], Rule]] = {}
    mine = [one for one in ingresses if is_ours(one)]  # type: ignore[attr-defined]
    for ingress in sorted(mine, key=_age):
        meta, spec = ingress["metadata"], ingress["spec"]
        secured = {host for entry in spec.get("tls") or [] for host in entry.get("hosts") or []}
        notes = {k: v for k, v in (meta.get("annotations") or {}).items() if k in (REDIRECT, PERMANENT)}
        for entry in spec.get("rules") or []:
            host = (entry.get("host") or "").lower()
            extra = {**notes, "tls": "yes" if host in secured else "no"}
            for item in (entry.get("http") or {}).get("paths") or []:
                rule = _rule(item, meta, tuple(sorted(extra.items())))
                table.setdefault(host, {}).setdefault((rule.path, rule.exact), rule)
        if backend := spec.get("defaultBackend"):
            item = {"path": "/", "pathType": "Prefix", "backend": backend}
            rule = _rule(item, meta, tuple(sorted({**notes, "tls": "no"}.items())))
            table.setdefault("", {}).setdefault(("/", False), rule)
    return {host: sorted(rules.values(), key=_precedence) for host, rules in table.items()}


def _age(ingress: Manifest) -> tuple[str, str]:
    meta = ingress["metadata"]
    return str(meta.get("creationTimestamp", "")), str(meta["name"])


def _precedence(rule: Rule) -> tuple[bool, int]:
    return not rule.exact, -len(rule.path)


def _rule(item: Manifest, meta: Manifest, notes: tuple[tuple[str, str], ...]) -> Rule:
    service = (item.get("backend") or {}).get("service") or {}
    port = service.get("port") or {}
    return Rule(
        path=item.get("path") or "/",
        exact=item.get("pathType") == "Exact",
        namespace=meta["namespace"],
        ingress=meta["name"],
        service=service.get("name", ""),
        port=port.get("number") or port.get("name"),
        annotations=notes,
    )


__all__ = ["INGRESS_LABELS", "Edge", "Reply", "Rule", "build_table", "page"]
