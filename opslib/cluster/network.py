"""How a request reaches pods: Services' endpoints and the Ingresses that claim a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame
from opslib.cluster.kinds import KINDS
from opslib.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
SERVICE_LABEL = "kubernetes.io/service-name"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"  # the deprecated form; the raw manifests still use it


def endpoints(api: Api, namespace: str, service: str = "") -> pd.DataFrame:
    """The Services and how many ready endpoints each has; columns: COLUMNS["endpoints"]. Raises NotFound."""
    services = api.items(KINDS["service"].path(namespace))
    if service:
        services = [s for s in services if s["metadata"]["name"] == service]
        if not services:
            raise NotFound(
                f"there is no Service {service}",
                target=f"{api.cluster}/{namespace}/service/{service}",
                next="check the name; `kubectl get services` lists them",
            )
    wanted = f"{SERVICE_LABEL}={service}" if service else ""
    slices = api.items(KINDS["endpointslice"].path(namespace), labelSelector=wanted)
    return frame("endpoints", COLUMNS["endpoints"], [_service(item, slices) for item in services])


def _service(item: Json, slices: list[Json]) -> dict[str, Any]:
    name = item["metadata"]["name"]
    mine = [s for s in slices if (s["metadata"].get("labels") or {}).get(SERVICE_LABEL) == name]
    # One pod can stand in several slices (a family each): count addresses by target, not by slice.
    ready: dict[str, bool] = {}
    for entry in (e for s in mine for e in s.get("endpoints") or []):
        key = (entry.get("targetRef") or {}).get("name") or ",".join(entry.get("addresses") or [])
        # Source: discovery/v1 EndpointConditions: an absent `ready` is to be read as true.
        is_ready = (entry.get("conditions") or {}).get("ready") is not False
        ready[key] = ready.get(key, False) or is_ready
    return {
        "service": name,
        "ready": sum(ready.values()),
        "not_ready": sum(not ok for ok in ready.values()),
        "slices": len(mine),
        "selector": (item.get("spec") or {}).get("selector") or {},
        "not_ready_pods": sorted(key for key, ok in ready.items() if not ok),
    }


def ingress_items(api: Api, namespace: str = "") -> list[Json]:
    """The Ingresses of a namespace, or of all."""
    return api.items(KINDS["ingress"].path(namespace))


def addresses(item: Json) -> list[str]:
    """Where an Ingress answers by its own status: `host` or `host:port` when the status names ports."""
    found = []
    for entry in ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        host = entry.get("ip") or entry.get("hostname") or ""
        ports = [p["port"] for p in entry.get("ports") or [] if p.get("port")]
        found += [f"{host}:{port}" for port in ports] or [host]
    return [address for address in found if address]


def ingresses(
    api: Api, namespace: str, owners: Mapping[tuple[str, str], str], host: str = ""
) -> pd.DataFrame:
    """The Ingresses, of one host or all; columns: COLUMNS["ingresses"]."""
    rows = []
    for item in ingress_items(api, namespace):
        meta, spec = item["metadata"], item.get("spec") or {}
        tls = {name: t.get("secretName", "") for t in spec.get("tls") or [] for name in t.get("hosts") or []}
        rows += [
            {
                "ingress": meta["name"],
                "host": rule.get("host", "*"),
                "path": entry.get("path", "/"),
                "service": _backend(entry.get("backend")),
                "port": _port(entry.get("backend")),
                "class": spec.get("ingressClassName")
                or (meta.get("annotations") or {}).get(CLASS_ANNOTATION, ""),
                "tls_secret": tls.get(rule.get("host", ""), ""),
                "address": ", ".join(addresses(item)),
                "claims": 0,
                "owner": owners.get(("Ingress", meta["name"]), ""),
                "created": meta.get("creationTimestamp"),
            }
            for rule in spec.get("rules") or []
            for entry in (rule.get("http") or {}).get("paths") or []
        ]
    for row in rows:  # A10: more than one Ingress for the same host and path is a fight
        same = {r["ingress"] for r in rows if (r["host"], r["path"]) == (row["host"], row["path"])}
        row["claims"] = len(same)
    if host:
        rows = [row for row in rows if row["host"] in (host, "*")]
    return frame("ingresses", COLUMNS["ingresses"], rows)


def _backend(backend: Json) -> str:
    return str(((backend or {}).get("service") or {}).get("name", ""))


def _port(backend: Json) -> str:
    port = ((backend or {}).get("service") or {}).get("port") or {}
    return str(port.get("number") or port.get("name") or "")
