"""Cluster networking in process: a Service's ready endpoints, taken from EndpointSlices, and calls to them.

Source: Kubernetes' kube-proxy (iptables mode picks a ready endpoint at random; a Service without one
rejects the connection).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from opslib.sandbox.client import ENDPOINTSLICES, PODS, SERVICES
from opslib.sandbox.informer import Informers
from opslib.sandbox.inventory.names import NAMESPACE
from opslib.sandbox.workloads.protocol import HttpAnswer, Manifest, RunningContainer, Runtime


@dataclass(frozen=True)
class Endpoint:
    """One ready address of a Service port."""

    pod_key: str  # NAMESPACE/NAME
    port: int


class Network:
    """protocol.ServiceDirectory over the informers' caches; also what the edge asks for its upstreams."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(SERVICES)
        self._slices = informers.of(ENDPOINTSLICES)
        self._pods = informers.of(PODS)
        self._runtime: Runtime | None = None
        self._ready: dict[tuple[str, str, str], list[Endpoint]] = {}  # namespace, service, port name
        self._slices.on_change(self._changed)

    def attach(self, runtime: Runtime) -> None:
        """Tell it which kubelet runs the containers (the two need each other)."""
        self._runtime = runtime

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        one = new or old
        if one is None:
            return
        namespace = one["metadata"].get("namespace", "")
        service = (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        for key in [key for key in self._ready if key[:2] == (namespace, service)]:
            del self._ready[key]

    def endpoints(self, namespace: str, service: str, port: int | str | None = None) -> list[Endpoint] | None:
        """The ready endpoints of a Service's port (default: its first); None when there is no such Service."""
        found = self._services.get(f"{namespace}/{service}")
        if found is None:
            return None
        ports = found["spec"].get("ports") or []
        chosen = next((p for p in ports if port in (None, p["port"], p.get("name"), str(p["port"]))), None)
        if chosen is None:
            return []
        name = chosen.get("name") or ""
        key = (namespace, service, name)
        if key not in self._ready:
            self._ready[key] = self._collect(namespace, service, name)
        return self._ready[key]

    def _collect(self, namespace: str, service: str, port_name: str) -> list[Endpoint]:
        found = []
        for one in self._slices.all(namespace):
            if (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [p["port"] for p in one.get("ports") or [] if (p.get("name") or "") == port_name]
            if not numbers:
                continue
            for endpoint in one.get("endpoints") or []:
                target = endpoint.get("targetRef") or {}
                if (endpoint.get("conditions") or {}).get("ready") and target.get("kind") == "Pod":
                    key = f"{target.get('namespace', namespace)}/{target['name']}"
                    found.append(Endpoint(key, int(numbers[0])))
        return found

    def container(self, endpoint: Endpoint) -> RunningContainer | None:
        """The running container that owns the endpoint's port; None when nothing listens there any more."""
        pod = self._pods.get(endpoint.pod_key)
        if pod is None or self._runtime is None:
            return None
        for spec in pod["spec"].get("containers") or []:
            if any(int(p["containerPort"]) == endpoint.port for p in spec.get("ports") or []):
                return self._runtime.container(pod["metadata"]["uid"], spec["name"])
        return None

    def send(
        self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        """A request to one endpoint; None: connection refused."""
        found = self.container(endpoint)
        return None if found is None else found.http(method, path, endpoint.port, headers)

    def call(self, service: str, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer | None:
        """See protocol.ServiceDirectory."""
        host, _, port = service.partition("/")[0].partition(":")
        name, _, rest = host.partition(".")
        ready = self.endpoints(rest.partition(".")[0] or NAMESPACE, name, port or None)
        if not ready:
            return None
        return self.send(random.choice(ready), method, path, headers)
