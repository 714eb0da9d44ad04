"""The 17 application services as their charts are meant to render them (PLATFORM.md 1.2, 1.3 reading 3).

Departures from the charts as committed, each because the committed form cannot run: real version tags, a
DATABASE_URL with a connection_limit (1.7), filled Secrets, probes that every workload answers (1.6).
"""

from __future__ import annotations

import copy
import datetime as dt

from opslib.sandbox.inventory.build import Manifest, obj, owner, resources, safe_hash
from opslib.sandbox.inventory.names import (
    BACKENDS,
    DATABASE,
    DATABASE_USER,
    GATEWAY,
    PORT,
    Release,
    Service,
)

CHART = "base-service-1.0.0"
FAKE_PASSWORD = "h7Qm2vXk9TzR4w"  # noqa: S105 - a sandbox value, known to nobody's database


def selector(service: Service) -> dict[str, str]:
    """The chart's selector labels. There is no `app` label anywhere (defect G1)."""
    return {"app.kubernetes.io/name": service.name, "app.kubernetes.io/instance": service.name}


def labels(service: Service, tag: str | None = None) -> dict[str, str]:
    return {
        **selector(service),
        "app.kubernetes.io/version": tag or service.tag,
        "app.kubernetes.io/managed-by": "Helm",
        "app.kubernetes.io/part-of": "pss-nano",
        "helm.sh/chart": CHART,
        "environment": "production",
    }


def is_gateway(service: Service) -> bool:
    return service.name == GATEWAY


def config(service: Service) -> dict[str, str]:
    """The service's ConfigMap, read through envFrom."""
    if is_gateway(service):
        settings = {
            "NODE_ENV": "production",
            "PORT": str(PORT),
            "LOG_LEVEL": "warn",
            "RATE_LIMIT_WINDOW_MS": "60000",
            "RATE_LIMIT_MAX_REQUESTS": "200",
            "CORS_ORIGIN": "*",
            "JWT_EXPIRY": "24h",
        }
        settings |= {backend.url_variable: f"http://{backend.name}:{PORT}" for backend in BACKENDS}
        return settings
    return {
        "NODE_ENV": "production",
        "PORT": str(PORT),
        "LOG_LEVEL": "info",
        "SERVICE_NAME": service.name,
    }


def secret_name(service: Service) -> str:
    return f"{service.name}-secret"


def secret_values(service: Service) -> dict[str, str]:
    """Realistic but fake values; those of the gateway are the ones its start-up requires."""
    if is_gateway(service):
        return {"JWT_SECRET": "sbx-jwt-7f3c9a51e2d84b60", "API_KEY": "sbx-key-19d2c7e45b8f4a03"}
    values: dict[str, str] = {}
    if service.name == "auth-service":
        values |= {
            "JWT_ACCESS_SECRET": "sbx-access-5e1d07c2f9",
            "JWT_REFRESH_SECRET": "sbx-refresh-8b46fa30d1",
        }
    if service.name == "payment-service":
        values["PAYMENT_GATEWAY_KEY"] = "sbx-pay-41c0be97d2aa"
    if service.connections:
        values["DATABASE_URL"] = (
            f"postgresql://{DATABASE_USER}:{FAKE_PASSWORD}@pss-nano-postgres-prod.internal:5432/{DATABASE}"
            f"?connection_limit={service.connections}&pool_timeout=10"
        )
    return values


def _env(service: Service) -> list[Manifest]:
    def from_config(name: str, source: str, key: str) -> Manifest:
        return {"name": name, "valueFrom": {"configMapKeyRef": {"name": source, "key": key}}}

    def from_secret(name: str, source: str, key: str) -> Manifest:
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": source, "key": key}}}

    env: list[Manifest] = []
    if is_gateway(service):
        env.append({"name": "SERVICE_NAME", "value": service.name})
    env.append(from_config("POSTGRES_HOST", "pss-nano-db-config", "host"))
    if not is_gateway(service):
        env += [
            from_config("POSTGRES_PORT", "pss-nano-db-config", "port"),
            from_config("POSTGRES_DB", "pss-nano-db-config", "database"),
            from_secret("POSTGRES_USER", "pss-nano-db-secret", "username"),
            from_secret("POSTGRES_PASSWORD", "pss-nano-db-secret", "password"),
            from_secret("DATABASE_URL", secret_name(service), "DATABASE_URL"),
        ]
    env += [
        from_config("REDIS_HOST", "pss-nano-redis-config", "host"),
        from_secret("REDIS_PASSWORD", "pss-nano-redis-secret", "password"),
        from_config("RABBITMQ_HOST", "pss-nano-rabbitmq-config", "host"),
    ]
    return env


def _probe(path: str, **times: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "successThreshold": 1, **times}


def _affinity(service: Service) -> Manifest:
    term = {
        "labelSelector": {
            "matchExpressions": [
                {"key": "app.kubernetes.io/name", "operator": "In", "values": [service.name]}
            ]
        },
        "topologyKey": "kubernetes.io/hostname",
    }
    if is_gateway(service):
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]
        }
    }


def pod_template(service: Service, tag: str) -> Manifest:
    """The pod template of one release. The checksum changes with the tag, as the chart's config does."""
    gateway = is_gateway(service)
    sizes = ("500m", "1Gi", "1", "2Gi") if gateway else ("250m", "512Mi", "500m", "1Gi")
    env_from: list[Manifest] = [{"configMapRef": {"name": service.name}}]
    if secret_values(service):
        env_from.append({"secretRef": {"name": secret_name(service)}})
    container: Manifest = {
        "name": service.name,
        "image": f"gcr.io/pss-nano/{service.name}:{tag}",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "envFrom": env_from,
        "env": _env(service),
        "resources": resources(*sizes),
        "startupProbe": _probe("/health", periodSeconds=10, timeoutSeconds=3, failureThreshold=30),
        "livenessProbe": _probe(
            "/health", initialDelaySeconds=30, periodSeconds=10, timeoutSeconds=5, failureThreshold=3
        ),
        "readinessProbe": _probe(
            "/health/ready", initialDelaySeconds=10, periodSeconds=5, timeoutSeconds=3, failureThreshold=3
        ),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the container
            {"name": "cache", "mountPath": "/app/.cache"},
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    spec: Manifest = {
        "serviceAccountName": service.name,
        "serviceAccount": service.name,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": _affinity(service),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
    }
    if gateway:
        spec["nodeSelector"] = {"workload": "api"}
    return {
        "metadata": {
            "labels": {**selector(service), "version": tag},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(PORT),
                "prometheus.io/path": "/metrics",
                "checksum/config": safe_hash([service.name, tag, config(service)], 40),
            },
        },
        "spec": spec,
    }


def replicas(service: Service) -> int:
    return 5 if is_gateway(service) else 2


def deployment(service: Service, now: dt.datetime) -> list[Manifest]:
    """The Deployment and its ReplicaSets, one a release, the newest running."""
    count, selected = replicas(service), {"matchLabels": selector(service)}
    first, last = service.releases[0], service.releases[-1]
    dep = obj(
        "apps/v1",
        "Deployment",
        service.name,
        created=now - dt.timedelta(hours=first.hours_ago + 2000),
        labels=labels(service),
        annotations={"deployment.kubernetes.io/revision": str(len(service.releases))},
        spec={
            "replicas": count,
            "selector": selected,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": pod_template(service, last.tag),
        },
    )
    dep["metadata"]["generation"] = 1 + len(service.releases)
    return [
        dep,
        *(_replicaset(service, dep, release, n, now) for n, release in enumerate(service.releases, 1)),
    ]


def _replicaset(
    service: Service, dep: Manifest, release: Release, revision: int, now: dt.datetime
) -> Manifest:
    template = copy.deepcopy(pod_template(service, release.tag))
    digest = safe_hash(template)
    template["metadata"]["labels"]["pod-template-hash"] = digest
    runs = release is service.releases[-1]
    rs = obj(
        "apps/v1",
        "ReplicaSet",
        f"{service.name}-{digest}",
        created=now - dt.timedelta(hours=release.hours_ago),
        labels=template["metadata"]["labels"],
        annotations={
            "deployment.kubernetes.io/desired-replicas": str(replicas(service)),
            "deployment.kubernetes.io/max-replicas": str(
                replicas(service) + (2 if is_gateway(service) else 1)
            ),
            "deployment.kubernetes.io/revision": str(revision),
        },
        spec={
            "replicas": replicas(service) if runs else 0,
            "selector": {"matchLabels": {**selector(service), "pod-template-hash": digest}},
            "template": template,
        },
    )
    rs["metadata"]["ownerReferences"] = [owner(dep)]
    return rs
