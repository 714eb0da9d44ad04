"""Endpoints and EndpointSlices of Services with a selector.

Sources: kubernetes pkg/controller/endpoint, staging endpointslice/{reconciler,utils}.go (v1.32).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opslib.sandbox.client import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES, ApiError, Manifest
from opslib.sandbox.controllers.objects import is_ready, is_terminating, matches_map, phase
from opslib.sandbox.controllers.runtime import Context, Controller, owner_of, owner_reference
from opslib.sandbox.informer import Informer, split_key

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"

Port = tuple[str, int, str, str]  # name, number, protocol, appProtocol


def services_of_pod(services: Informer) -> Callable[[Manifest | None, Manifest | None], Iterable[str]]:
    """For `Controller.watch`: keys of the Services whose endpoints a pod's change may touch."""

    def facts(pod: Manifest | None) -> tuple[Any, ...]:
        if pod is None:
            return ()
        status = pod.get("status") or {}
        return (
            pod["metadata"].get("labels"),
            is_ready(pod),
            is_terminating(pod),
            status.get("podIP"),
            status.get("phase") in {"Succeeded", "Failed"},
            pod["spec"].get("nodeName"),
        )

    def keys(old: Manifest | None, new: Manifest | None) -> set[str]:
        if facts(old) == facts(new):
            return set()
        found: set[str] = set()
        for pod in (old, new):
            if pod is None:
                continue
            namespace = pod["metadata"]["namespace"]
            for service in services.all(namespace):
                if matches_map(service["spec"].get("selector"), pod["metadata"].get("labels")):
                    found.add(f"{namespace}/{service['metadata']['name']}")
        return found

    return keys


def members(service: Manifest, pods: Informer) -> list[Manifest]:
    """The pods behind a Service that have an address and have not finished, oldest first."""
    selector = service["spec"].get("selector")
    found = [
        pod
        for pod in pods.all(service["metadata"]["namespace"])
        if matches_map(selector, pod["metadata"].get("labels"))
        and (pod.get("status") or {}).get("podIP")
        and phase(pod) not in {"Succeeded", "Failed"}
    ]
    return sorted(
        found, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"])
    )


def ports_for(service: Manifest, pod: Manifest) -> tuple[Port, ...]:
    """A Service's ports as the pod serves them; a named port that the pod lacks is left out."""
    result: list[Port] = []
    for port in service["spec"].get("ports") or []:
        target = port.get("targetPort", port["port"])
        number: int | None = None
        if isinstance(target, int) or str(target).isdigit():
            number = int(target) or int(port["port"])
        else:
            for container in pod["spec"].get("containers") or []:
                for entry in container.get("ports") or []:
                    same_protocol = entry.get("protocol", "TCP") == port.get("protocol", "TCP")
                    if entry.get("name") == target and same_protocol:
                        number = int(entry["containerPort"])
        if number is not None:
            result.append(
                (port.get("name") or "", number, port.get("protocol", "TCP"), port.get("appProtocol") or "")
            )
    return tuple(result)


def target_ref(pod: Manifest) -> Manifest:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


class EndpointsController(Controller):
    name = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services = self.watch(SERVICES)
        self.pods = self.watch(PODS, services_of_pod(self.services))
        self.endpoints = self.watch(ENDPOINTS)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        existing = self.endpoints.get(key)
        namespace, name = split_key(key)
        if service is None:
            if existing is not None and "endpoints.kubernetes.io/managed-by" in (
                existing["metadata"].get("labels") or {}
            ):
                await self.client.delete(ENDPOINTS, namespace, name)
            return None
        if not service["spec"].get("selector"):
            return None
        body: Manifest = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    **(service["metadata"].get("labels") or {}),
                    "endpoints.kubernetes.io/managed-by": self.name,
                },
            },
            "subsets": self._subsets(service),
        }
        if existing is None:
            self.endpoints.observe(await self.client.create(ENDPOINTS, body))
            return None
        same = (existing.get("subsets") or []) == body["subsets"]
        if same and existing["metadata"].get("labels") == body["metadata"]["labels"]:
            return None
        body["metadata"]["resourceVersion"] = existing["metadata"]["resourceVersion"]
        if existing["metadata"].get("annotations"):
            body["metadata"]["annotations"] = existing["metadata"]["annotations"]
        self.endpoints.observe(await self.client.update(ENDPOINTS, body))
        return None

    def _subsets(self, service: Manifest) -> list[Manifest]:
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        groups: dict[tuple[Port, ...], tuple[list[Manifest], list[Manifest]]] = {}
        for pod in members(service, self.pods):
            if is_terminating(pod) and not publish:
                continue
            ready, waiting = groups.setdefault(ports_for(service, pod), ([], []))
            address: Manifest = {
                "ip": pod["status"]["podIP"],
                "nodeName": pod["spec"].get("nodeName", ""),
                "targetRef": target_ref(pod),
            }
            if pod["spec"].get("subdomain") == service["metadata"]["name"] and pod["spec"].get("hostname"):
                address["hostname"] = pod["spec"]["hostname"]
            (ready if is_ready(pod) or publish else waiting).append(address)
        subsets = []
        for ports, (ready, waiting) in groups.items():
            subset: Manifest = {}
            if ready:
                subset["addresses"] = sorted(ready, key=lambda a: str(a["ip"]))
            if waiting:
                subset["notReadyAddresses"] = sorted(waiting, key=lambda a: str(a["ip"]))
            if ports:
                subset["ports"] = [_port(port) for port in ports]
            subsets.append(subset)
        return subsets


def _port(port: Port) -> Manifest:
    name, number, protocol, app = port
    entry: Manifest = {"port": number, "protocol": protocol}
    if name:
        entry["name"] = name
    if app:
        entry["appProtocol"] = app
    return entry


class EndpointSliceController(Controller):
    name = "endpointslice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.services = self.watch(SERVICES)
        self.pods = self.watch(PODS, services_of_pod(self.services))
        self.nodes = self.watch(NODES, lambda _old, _new: [])
        self.slices = self.watch(ENDPOINTSLICES, self._service_of_slice)

    def _service_of_slice(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        found = set()
        for entry in (old, new):
            labels = (entry or {"metadata": {}})["metadata"].get("labels") or {}
            if entry is not None and labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME):
                found.add(f"{entry['metadata']['namespace']}/{labels[SERVICE_NAME]}")
        return found

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        if service is None or not service["spec"].get("selector") or is_terminating(service):
            return None  # its slices go with it: they are owned
        namespace, name = split_key(key)
        existing = [
            entry
            for entry in self.slices.all(namespace)
            if (entry["metadata"].get("labels") or {}).get(SERVICE_NAME) == name
            and (entry["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
            and (owner_of(entry) or {}).get("uid", service["metadata"]["uid"]) == service["metadata"]["uid"]
        ]
        existing.sort(key=lambda entry: str(entry["metadata"]["name"]))
        for ports, endpoints in self._wanted(service).items():
            body_ports = [_slice_port(port) for port in ports]
            match = next((e for e in existing if (e.get("ports") or []) == body_ports), None)
            if match is None and existing:
                match = existing[0]
            if match is None:
                body = {
                    "metadata": {
                        "generateName": f"{name}-",
                        "namespace": namespace,
                        "labels": self._labels(service),
                        "ownerReferences": [owner_reference(service)],
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": body_ports,
                }
                self.slices.observe(await self.client.create(ENDPOINTSLICES, body))
                continue
            existing.remove(match)
            labels = self._labels(service)
            same = (match.get("endpoints") or []) == endpoints and (match.get("ports") or []) == body_ports
            if same and match["metadata"].get("labels") == labels:
                continue
            body = {
                **match,
                "metadata": {**match["metadata"], "labels": labels},
                "endpoints": endpoints,
                "ports": body_ports,
            }
            self.slices.observe(await self.client.update(ENDPOINTSLICES, body))
        for surplus in existing:
            try:
                await self.client.delete(ENDPOINTSLICES, namespace, surplus["metadata"]["name"])
            except ApiError as error:
                if error.code != 404:
                    raise
            self.slices.forget(surplus)
        return None

    def _labels(self, service: Manifest) -> dict[str, str]:
        labels = dict(service["metadata"].get("labels") or {})
        labels |= {MANAGED_BY: MANAGER, SERVICE_NAME: service["metadata"]["name"]}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        return labels

    def _wanted(self, service: Manifest) -> dict[tuple[Port, ...], list[Manifest]]:
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        groups: dict[tuple[Port, ...], list[Manifest]] = {}
        for pod in members(service, self.pods):
            node = pod["spec"].get("nodeName")
            terminating = is_terminating(pod)
            endpoint: Manifest = {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": publish or (is_ready(pod) and not terminating),
                    "serving": is_ready(pod),
                    "terminating": terminating,
                },
                "targetRef": target_ref(pod),
            }
            if node:
                endpoint["nodeName"] = node
                labels = (self.nodes.get(node) or {"metadata": {}})["metadata"].get("labels") or {}
                if labels.get(ZONE):
                    endpoint["zone"] = labels[ZONE]
            groups.setdefault(ports_for(service, pod), []).append(endpoint)
        return groups or {(): []}


def _slice_port(port: Port) -> Manifest:
    name, number, protocol, app = port
    entry: Manifest = {"name": name, "port": number, "protocol": protocol}
    if app:
        entry["appProtocol"] = app
    return entry
