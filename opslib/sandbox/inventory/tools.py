"""Monitoring, Argo CD and cert-manager: the tools beside the platform, kept small (PLATFORM.md 4.1)."""

from __future__ import annotations

import datetime as dt

from opslib.sandbox.inventory.build import Manifest, obj, resources
from opslib.sandbox.inventory.components import (
    container_spec,
    deployment_pair,
    http_probe,
    service_object,
    statefulset,
    template_of,
)


def _simple(
    name: str,
    namespace: str,
    count: int,
    image: str,
    ports: dict[str, int],
    probe: Manifest | None,
    born: dt.datetime,
    *,
    app: str = "",
    container: str = "",
    stateful: bool = False,
) -> list[Manifest]:
    labels = {"app.kubernetes.io/name": app or name, "app.kubernetes.io/instance": name}
    one = container_spec(container or name, image, ports, resources("50m", "128Mi", "500m", "1Gi"), probe)
    pod = template_of(labels, [one])
    service = service_object(name, namespace, labels, ports, born)
    if stateful:
        return [
            statefulset(name, namespace, count, labels, pod, born, headless=name, policy="Parallel"),
            service,
        ]
    return [*deployment_pair(name, namespace, count, labels, pod, born), service]


def monitoring(now: dt.datetime) -> list[Manifest]:
    """kube-prometheus-stack with fullnameOverride prometheus (4.1)."""
    born, space = now - dt.timedelta(hours=2500), "monitoring"
    prometheus = _simple(
        "prometheus-prometheus-prometheus",
        space,
        2,
        "quay.io/prometheus/prometheus:v2.48.1",
        {"http-web": 9090},
        http_probe("/-/ready", "http-web"),
        born,
        app="prometheus",
        container="prometheus",
        stateful=True,
    )
    alertmanager = _simple(
        "alertmanager-prometheus-alertmanager",
        space,
        2,
        "quay.io/prometheus/alertmanager:v0.26.0",
        {"http-web": 9093},
        http_probe("/-/ready", "http-web"),
        born,
        app="alertmanager",
        container="alertmanager",
        stateful=True,
    )
    # operator-made StatefulSets are reached through these Services
    prometheus[1]["metadata"]["name"] = "prometheus-prometheus"
    alertmanager[1]["metadata"]["name"] = "prometheus-alertmanager"
    return [
        obj("v1", "ServiceAccount", "monitoring", namespace=space, created=born),
        *prometheus,
        *alertmanager,
        *_simple(
            "prometheus-grafana",
            space,
            1,
            "docker.io/grafana/grafana:10.2.2",
            {"http-web": 3000},
            http_probe("/api/health", "http-web"),
            born,
            app="grafana",
            container="grafana",
        ),
        *_simple(
            "prometheus-kube-state-metrics",
            space,
            1,
            "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.10.1",
            {"http": 8080},
            http_probe("/healthz", "http"),
            born,
            app="kube-state-metrics",
            container="kube-state-metrics",
        ),
    ]


def argocd(now: dt.datetime) -> list[Manifest]:
    born, space, image = now - dt.timedelta(hours=2500), "argocd", "quay.io/argoproj/argocd:v2.9.3"
    return [
        *_simple(
            "argocd-server",
            space,
            1,
            image,
            {"server": 8080},
            http_probe("/healthz", "server"),
            born,
            container="server",
        ),
        *_simple(
            "argocd-repo-server",
            space,
            1,
            image,
            {"repo-server": 8081},
            None,
            born,
            container="repo-server",
        ),
        *_simple(
            "argocd-application-controller",
            space,
            1,
            image,
            {"metrics": 8082},
            http_probe("/healthz", "metrics"),
            born,
            container="application-controller",
            stateful=True,
        ),
    ]


def cert_manager(now: dt.datetime) -> list[Manifest]:
    born, space, base = now - dt.timedelta(hours=2700), "cert-manager", "quay.io/jetstack/cert-manager"
    return [
        *_simple("cert-manager", space, 1, f"{base}-controller:v1.13.3", {"http-metrics": 9402}, None, born),
        *_simple(
            "cert-manager-webhook",
            space,
            1,
            f"{base}-webhook:v1.13.3",
            {"healthcheck": 6080},
            http_probe("/healthz", "healthcheck"),
            born,
        ),
        *_simple(
            "cert-manager-cainjector", space, 1, f"{base}-cainjector:v1.13.3", {"metrics": 9402}, None, born
        ),
    ]
