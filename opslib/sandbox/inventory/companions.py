"""What each service's chart makes besides its Deployment, and the objects that several services share."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

from opslib.sandbox.inventory.build import Manifest, obj
from opslib.sandbox.inventory.names import (
    DATABASE,
    DATABASE_USER,
    GATEWAY,
    HOST,
    PORT,
    TLS_SECRET,
    Service,
)
from opslib.sandbox.inventory.services import (
    CHART,
    FAKE_PASSWORD,
    config,
    is_gateway,
    labels,
    secret_name,
    secret_values,
    selector,
)


def of_service(service: Service, now: dt.datetime) -> list[Manifest]:
    """Service, ServiceAccount, ConfigMap, Secret, HPA and PDB of one service."""
    born = now - dt.timedelta(hours=service.releases[0].hours_ago + 2000)
    common: dict[str, Any] = {"created": born, "labels": labels(service)}
    gateway = is_gateway(service)
    found = [
        obj(
            "v1",
            "ServiceAccount",
            service.name,
            annotations={
                "iam.gke.io/gcp-service-account": f"{service.name}@pss-nano-project.iam.gserviceaccount.com"
            },
            automountServiceAccountToken=False,
            **common,
        ),
        obj(
            "v1",
            "Service",
            service.name,
            spec={
                "type": "ClusterIP",
                "selector": selector(service),
                "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
            },
            **common,
        ),
        obj("v1", "ConfigMap", service.name, data=config(service), **common),
        obj(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            service.name,
            spec=hpa_spec(service.name, *((5, 15) if gateway else (2, 10))),
            **common,
        ),
        obj(
            "policy/v1",
            "PodDisruptionBudget",
            service.name,
            spec={"minAvailable": 3 if gateway else 1, "selector": {"matchLabels": selector(service)}},
            **common,
        ),
    ]
    if values := secret_values(service):
        found.append(obj("v1", "Secret", secret_name(service), type="Opaque", data=encode(values), **common))
    return found


def encode(values: dict[str, str]) -> dict[str, str]:
    """The `data` of a Secret."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


def hpa_spec(name: str, low: int, high: int) -> Manifest:
    def policies(percent: int, pods: int, period: int) -> list[Manifest]:
        return [
            {"type": "Percent", "value": percent, "periodSeconds": period},
            {"type": "Pods", "value": pods, "periodSeconds": period},
        ]

    def metric(resource: str, target: int) -> Manifest:
        return {
            "type": "Resource",
            "resource": {"name": resource, "target": {"type": "Utilization", "averageUtilization": target}},
        }

    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": low,
        "maxReplicas": high,
        "metrics": [metric("cpu", 70), metric("memory", 80)],
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "selectPolicy": "Max",
                "policies": policies(100, 4, 30),
            },
            "scaleDown": {
                "stabilizationWindowSeconds": 300,
                "selectPolicy": "Min",
                "policies": policies(50, 2, 60),
            },
        },
    }


def ingress(now: dt.datetime) -> Manifest:
    """The public door: one Ingress for the gateway's host (class nginx, TLS from its Secret)."""
    return obj(
        "networking.k8s.io/v1",
        "Ingress",
        GATEWAY,
        created=now - dt.timedelta(hours=2600),
        labels={
            "app.kubernetes.io/name": GATEWAY,
            "app.kubernetes.io/instance": GATEWAY,
            "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": CHART,
        },
        annotations={
            "cert-manager.io/cluster-issuer": "letsencrypt-prod",
            "nginx.ingress.kubernetes.io/ssl-redirect": "true",
            "nginx.ingress.kubernetes.io/proxy-read-timeout": "600",
            "nginx.ingress.kubernetes.io/limit-rps": "100",
        },
        spec={
            "ingressClassName": "nginx",
            "tls": [{"hosts": [HOST], "secretName": TLS_SECRET}],
            "rules": [
                {
                    "host": HOST,
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": GATEWAY, "port": {"number": PORT}}},
                            }
                        ]
                    },
                }
            ],
        },
    )


def shared(now: dt.datetime, password: str = "") -> list[Manifest]:
    """Configuration that several services read: database, Redis, RabbitMQ (1.2, last lines)."""
    born: dict[str, Any] = {"created": now - dt.timedelta(hours=2900)}
    return [
        obj(
            "v1",
            "ConfigMap",
            "pss-nano-db-config",
            data={"host": "pss-nano-postgres-prod.internal", "port": "5432", "database": DATABASE},
            **born,
        ),
        obj("v1", "ConfigMap", "pss-nano-redis-config", data={"host": "redis", "port": "6379"}, **born),
        obj("v1", "ConfigMap", "pss-nano-rabbitmq-config", data={"host": "rabbitmq", "port": "5672"}, **born),
        obj(
            "v1",
            "Secret",
            "pss-nano-db-secret",
            type="Opaque",
            data=encode({"username": DATABASE_USER, "password": FAKE_PASSWORD}),
            **born,
        ),
        obj(
            "v1",
            "Secret",
            "pss-nano-redis-secret",
            type="Opaque",
            data=encode({"password": password or "sbx-redis-a83f10c6"}),
            **born,
        ),
        obj(
            "v1",
            "Secret",
            "pss-nano-rabbitmq-secret",
            type="Opaque",
            data=encode({"password": "sbx-rabbit-60d1f7be", "erlang-cookie": "SBXCOOKIE4F7A20"}),
            **born,
        ),
    ]


def tls_secret(now: dt.datetime, certificate: str, key: str) -> Manifest:
    return obj(
        "v1",
        "Secret",
        TLS_SECRET,
        created=now - dt.timedelta(hours=480),
        annotations={
            "cert-manager.io/certificate-name": "api-pss-nano-tls",
            "cert-manager.io/issuer-kind": "ClusterIssuer",
            "cert-manager.io/issuer-name": "letsencrypt-prod",
        },
        type="kubernetes.io/tls",
        data=encode({"tls.crt": certificate, "tls.key": key}),
    )
