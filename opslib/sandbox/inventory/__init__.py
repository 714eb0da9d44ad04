"""The healthy platform as Kubernetes objects (PLATFORM.md 9), fresh uids on every call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from opslib.sandbox.inventory import (
    access,
    companions,
    components,
    crds,
    gitops,
    nodes,
    pods,
    services,
    tools,
)
from opslib.sandbox.inventory.build import Manifest
from opslib.sandbox.inventory.names import SERVICES, Service, select


def objects(
    now: dt.datetime, state: Path | None = None, services_only: Sequence[str] | None = None
) -> list[Manifest]:
    """Every object of the healthy platform, in an order in which each finds what it refers to.

    `state` is the sandbox's folder: its edge certificate becomes the TLS Secret and its git folder gets the
    desired manifests of Argo CD's Application. Without it the Secret is left out and nothing is written.
    `services_only` names the application services to include (default: all 17). Raises ValueError for an
    unknown service.
    """
    chosen = select(list(services_only) if services_only is not None else None)
    made: list[Manifest] = [
        *nodes.namespaces(now),
        *crds.definitions(now),
        *nodes.nodes(now),
        *access.rbac(now),
        *access.quota(now),
        *access.network_policies(now),
        *companions.shared(now, _redis_password(state)),
    ]
    if state is not None:
        made.append(_tls(now, state))
    for service in chosen:
        made += companions.of_service(service, now)
    for service in chosen:
        made += services.deployment(service, now)
    made.append(companions.ingress(now))
    made += [*components.redis(now), *components.rabbitmq(now)]
    made += [*components.ingress_nginx(now), *tools.monitoring(now)]
    made += [*tools.argocd(now), *tools.cert_manager(now)]
    made += [*crds.certificates(now), *crds.mesh(now)]
    made += pods.running([one for one in made if one["kind"] == "ReplicaSet"])
    desired = gitops.track(made)
    made.append(gitops.application(now, desired))
    if state is not None:
        gitops.write(state, desired)
    return made


def _tls(now: dt.datetime, state: Path) -> Manifest:
    certificate, key = state / "pki" / "edge-api.crt", state / "pki" / "edge-api.key"
    return companions.tls_secret(now, certificate.read_text(), key.read_text())


def _redis_password(state: Path | None) -> str:
    # the Secret holds the real password of the sandbox's Redis, as a responder would expect
    path = state / "redis" / "password" if state else None
    return path.read_text().strip() if path and path.exists() else ""


__all__ = ["SERVICES", "Service", "objects", "select"]
