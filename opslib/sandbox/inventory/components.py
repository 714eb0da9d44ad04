"""Everything around the services: Redis, RabbitMQ, monitoring, ingress-nginx, Argo CD, cert-manager.

Names are those of the charts of PLATFORM.md 1.1, 3 and 4.1; replica counts outside pss-nano are kept small.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from opslib.sandbox.inventory.build import Manifest, obj, owner, resources, safe_hash
from opslib.sandbox.inventory.names import NAMESPACE

INGRESS_LABELS = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/instance": "ingress-nginx"}


def container_spec(
    name: str, image: str, ports: dict[str, int], size: Manifest | None = None, probe: Manifest | None = None
) -> Manifest:
    found: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": key, "containerPort": value, "protocol": "TCP"} for key, value in ports.items()],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    if size:
        found["resources"] = size
    if probe:
        found["readinessProbe"] = probe
    return found


def http_probe(path: str, port: str) -> Manifest:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": 20,
        "timeoutSeconds": 3,
        "failureThreshold": 3,
        "successThreshold": 1,
    }


def _tcp(port: str) -> Manifest:
    return {
        "tcpSocket": {"port": port},
        "initialDelaySeconds": 5,
        "periodSeconds": 20,
        "timeoutSeconds": 3,
        "failureThreshold": 3,
        "successThreshold": 1,
    }


def template_of(labels: dict[str, str], containers: list[Manifest], **spec: Any) -> Manifest:
    return {
        "metadata": {"labels": labels},
        "spec": {
            "containers": containers,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            **spec,
        },
    }


def deployment_pair(
    name: str, namespace: str, count: int, labels: dict[str, str], pod: Manifest, born: dt.datetime
) -> list[Manifest]:
    dep = obj(
        "apps/v1",
        "Deployment",
        name,
        namespace=namespace,
        created=born,
        labels=labels,
        annotations={"deployment.kubernetes.io/revision": "1"},
        spec={
            "replicas": count,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": pod,
        },
    )
    digest = safe_hash([name, pod])
    stamped = {**labels, "pod-template-hash": digest}
    rs = obj(
        "apps/v1",
        "ReplicaSet",
        f"{name}-{digest}",
        namespace=namespace,
        created=born,
        labels=stamped,
        annotations={
            "deployment.kubernetes.io/desired-replicas": str(count),
            "deployment.kubernetes.io/max-replicas": str(count + 1),
            "deployment.kubernetes.io/revision": "1",
        },
        spec={
            "replicas": count,
            "selector": {"matchLabels": stamped},
            "template": {"metadata": {"labels": stamped}, "spec": pod["spec"]},
        },
    )
    rs["metadata"]["ownerReferences"] = [owner(dep)]
    return [dep, rs]


def statefulset(
    name: str,
    namespace: str,
    count: int,
    labels: dict[str, str],
    pod: Manifest,
    born: dt.datetime,
    *,
    headless: str,
    policy: str = "OrderedReady",
) -> Manifest:
    return obj(
        "apps/v1",
        "StatefulSet",
        name,
        namespace=namespace,
        created=born,
        labels=labels,
        spec={
            "replicas": count,
            "serviceName": headless,
            "podManagementPolicy": policy,
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            "template": pod,
        },
    )


def service_object(
    name: str,
    namespace: str,
    labels: dict[str, str],
    ports: dict[str, int],
    born: dt.datetime,
    *,
    headless: bool = False,
    kind: str = "ClusterIP",
) -> Manifest:
    spec: Manifest = {
        "type": kind,
        "selector": labels,
        "ports": [
            {"name": key, "port": value, "targetPort": key, "protocol": "TCP"} for key, value in ports.items()
        ],
    }
    if headless:
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return obj("v1", "Service", name, namespace=namespace, created=born, labels=labels, spec=spec)


def _tolerant(workload: str) -> dict[str, Any]:
    return {
        "nodeSelector": {"workload": workload},
        "tolerations": [{"key": "workload", "operator": "Equal", "value": workload, "effect": "NoSchedule"}],
    }


def redis(now: dt.datetime) -> list[Manifest]:
    """bitnami/redis 18 with Sentinel: three nodes; Service redis selects master and replicas alike (3.1)."""
    born = now - dt.timedelta(hours=2400)
    labels = {
        "app.kubernetes.io/name": "redis",
        "app.kubernetes.io/instance": "redis",
        "app.kubernetes.io/component": "node",
    }
    main = container_spec(
        "redis",
        "docker.io/bitnami/redis:7.2.3-debian-11-r2",
        {"redis": 6379},
        resources("500m", "4Gi", "1", "8Gi"),
        _tcp("redis"),
    )
    # these two take the LimitRange's defaults, as the chart sets no resources for them
    sentinel = container_spec(
        "sentinel", "docker.io/bitnami/redis-sentinel:7.2.3-debian-11-r2", {"redis-sentinel": 26379}
    )
    metrics = container_spec(
        "metrics", "docker.io/bitnami/redis-exporter:1.55.0-debian-11-r3", {"metrics": 9121}
    )
    pod = template_of(labels, [main, sentinel, metrics], **_tolerant("cache"))
    return [
        statefulset(
            "redis-node", NAMESPACE, 3, labels, pod, born, headless="redis-headless", policy="Parallel"
        ),
        service_object("redis", NAMESPACE, labels, {"redis": 6379, "redis-sentinel": 26379}, born),
        service_object(
            "redis-headless", NAMESPACE, labels, {"redis": 6379, "redis-sentinel": 26379}, born, headless=True
        ),
        service_object("redis-metrics", NAMESPACE, labels, {"metrics": 9121}, born),
    ]


def rabbitmq(now: dt.datetime) -> list[Manifest]:
    """bitnami/rabbitmq 12: three nodes on three worker hosts, PDB 2 (3.2)."""
    born = now - dt.timedelta(hours=2400)
    labels = {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/instance": "rabbitmq"}
    ports = {"amqp": 5672, "dist": 25672, "stats": 15672, "epmd": 4369, "metrics": 9419}
    main = container_spec(
        "rabbitmq",
        "docker.io/bitnami/rabbitmq:3.12.10-debian-11-r0",
        ports,
        resources("1", "2Gi", "2", "4Gi"),
        _tcp("amqp"),
    )
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    pod = template_of(labels, [main], affinity=apart, **_tolerant("worker"))
    budget = {"minAvailable": 2, "selector": {"matchLabels": labels}}
    return [
        statefulset("rabbitmq", NAMESPACE, 3, labels, pod, born, headless="rabbitmq-headless"),
        service_object("rabbitmq", NAMESPACE, labels, ports, born),
        service_object("rabbitmq-headless", NAMESPACE, labels, ports, born, headless=True),
        obj("policy/v1", "PodDisruptionBudget", "rabbitmq", created=born, labels=labels, spec=budget),
    ]


def ingress_nginx(now: dt.datetime) -> list[Manifest]:
    """Controller (3), default backend (1), the class nginx and the LoadBalancer Service (1.9)."""
    born, space = now - dt.timedelta(hours=2700), "ingress-nginx"
    front = {**INGRESS_LABELS, "app.kubernetes.io/component": "controller"}
    back = {**INGRESS_LABELS, "app.kubernetes.io/component": "default-backend"}
    controller = container_spec(
        "controller",
        "registry.k8s.io/ingress-nginx/controller:v1.9.4",
        {"http": 80, "https": 443, "metrics": 10254},
        resources("100m", "90Mi", "1", "512Mi"),
        {**http_probe("/healthz", "metrics"), "initialDelaySeconds": 10},
    )
    default = container_spec(
        "ingress-nginx-default-backend",
        "registry.k8s.io/defaultbackend-amd64:1.5",
        {"http": 8080},
        resources("10m", "20Mi", "20m", "30Mi"),
        http_probe("/healthz", "http"),
    )
    klass = obj(
        "networking.k8s.io/v1",
        "IngressClass",
        "nginx",
        namespace=None,
        created=born,
        labels=front,
        annotations={"ingressclass.kubernetes.io/is-default-class": "true"},
        spec={"controller": "k8s.io/ingress-nginx"},
    )
    entry = service_object(
        "ingress-nginx-controller", space, front, {"http": 80, "https": 443}, born, kind="LoadBalancer"
    )
    entry["spec"]["externalTrafficPolicy"] = "Local"
    entry["status"] = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}
    return [
        klass,
        *deployment_pair("ingress-nginx-controller", space, 3, front, template_of(front, [controller]), born),
        *deployment_pair("ingress-nginx-defaultbackend", space, 1, back, template_of(back, [default]), born),
        entry,
        service_object("ingress-nginx-defaultbackend", space, back, {"http": 8080}, born),
        obj(
            "policy/v1",
            "PodDisruptionBudget",
            "ingress-nginx-controller",
            namespace=space,
            created=born,
            spec={"minAvailable": 2, "selector": {"matchLabels": front}},
        ),
    ]
