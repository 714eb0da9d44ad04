"""The image registry of the sandbox: which references exist, and how the program in each behaves.

A reference that is not here cannot be pulled; containerd's own words say so. Faults add no images: what a
fault releases is listed here with the flaw it ships.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from opslib.sandbox.inventory.names import BY_NAME, GATEWAY, REGISTRY, SERVICES

# repository without tag -> tags of everything that is not one of the 17 services
OTHERS: dict[str, tuple[str, ...]] = {
    "docker.io/bitnami/redis": ("7.2.3-debian-11-r2",),
    "docker.io/bitnami/redis-sentinel": ("7.2.3-debian-11-r2",),
    "docker.io/bitnami/redis-exporter": ("1.55.0-debian-11-r3",),
    "docker.io/bitnami/rabbitmq": ("3.12.10-debian-11-r0",),
    "registry.k8s.io/ingress-nginx/controller": ("v1.9.4",),
    "registry.k8s.io/defaultbackend-amd64": ("1.5",),
    "registry.k8s.io/kube-state-metrics/kube-state-metrics": ("v2.10.1",),
    "quay.io/prometheus/prometheus": ("v2.48.1",),
    "quay.io/prometheus/alertmanager": ("v0.26.0",),
    "quay.io/argoproj/argocd": ("v2.9.3",),
    "quay.io/jetstack/cert-manager-controller": ("v1.13.3",),
    "quay.io/jetstack/cert-manager-webhook": ("v1.13.3",),
    "quay.io/jetstack/cert-manager-cainjector": ("v1.13.3",),
    "docker.io/grafana/grafana": ("10.2.2",),
    "docker.io/library/nginx": ("1.25.3", "1.25-alpine", "1.27", "1.27-alpine", "stable-alpine", "latest"),
    "docker.io/nginxinc/nginx-unprivileged": ("1.25-alpine", "1.27", "1.27-alpine", "stable-alpine"),
    "docker.io/library/busybox": ("1.36", "1.37", "latest"),
    f"{REGISTRY}/fare-recompute": ("v0.9.0",),
    f"{REGISTRY}/maintenance-page": ("v1.0.0", "v1.1.0"),
}


@dataclass(frozen=True)
class Build:
    """What is behind one reference of an application image."""

    service: str
    version: str  # what the program says of itself
    flaw: str = ""  # "": works; "routes": answers 500 on every /api route


def _builds() -> dict[str, Build]:
    found = {}
    for service in SERVICES:
        for release in service.releases:
            reference = f"{REGISTRY}/{service.name}:{release.tag}"
            found[reference] = Build(service.name, release.tag)
    gateway, reservation = f"{REGISTRY}/{GATEWAY}", f"{REGISTRY}/reservation-service"
    found[f"{gateway}:v2.7.4"] = Build(GATEWAY, "v2.7.4")
    found[f"{gateway}:v2.8.0"] = Build(GATEWAY, "v2.8.0", flaw="routes")
    # the moving tag: whoever pulls it gets the broken build
    found[f"{gateway}:latest"] = Build(GATEWAY, "v2.8.0", flaw="routes")
    found[f"{reservation}:v3.2.0"] = Build("reservation-service", "v3.2.0", flaw="routes")
    return found


BUILDS = _builds()


def normalise(reference: str) -> str:
    """The reference as containerd resolves it: registry, library/ and tag filled in."""
    name, at, digest = reference.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    first, slash, _ = repository.partition("/")
    if not slash:
        repository = f"docker.io/library/{repository}"
    elif "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{repository}"
    if at:
        return f"{repository}@{digest}"
    return f"{repository}:{tag or 'latest'}"


def digest(reference: str) -> str:
    """The image's digest: the same build has the same one under every tag."""
    known = BUILDS.get(normalise(reference))
    what = f"{known.service} {known.version} {known.flaw}" if known else normalise(reference)
    return "sha256:" + hashlib.sha256(what.encode()).hexdigest()


def exists(reference: str) -> bool:
    full = normalise(reference)
    if full in BUILDS:
        return True
    repository, _, tag = full.rpartition(":")
    if "@" in full:
        wanted = full.partition("@")[2]
        return any(digest(known) == wanted for known in BUILDS)
    return tag in OTHERS.get(repository, ())


def build(reference: str) -> Build | None:
    """The application build behind a reference; None for an image that is not one of the 17 services."""
    full = normalise(reference)
    if "@" in full:
        wanted = full.partition("@")[2]
        return next((one for ref, one in BUILDS.items() if digest(ref) == wanted), None)
    return BUILDS.get(full)


def pull_error(reference: str) -> str:
    """containerd's answer for a reference that the registry does not have."""
    full = normalise(reference)
    known = full.rpartition(":")[0] in OTHERS or any(
        ref.startswith(full.rpartition(":")[0] + ":") for ref in BUILDS
    )
    if known:
        return (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": '
            f'failed to resolve reference "{full}": {full}: not found'
        )
    return (
        f'rpc error: code = Unknown desc = failed to pull and unpack image "{full}": '
        f'failed to resolve reference "{full}": pull access denied, repository does not exist or may require '
        "authorization: server message: insufficient_scope: authorization failed"
    )


__all__ = ["BUILDS", "BY_NAME", "Build", "build", "digest", "exists", "normalise", "pull_error"]
