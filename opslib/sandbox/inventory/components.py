"""Everything around the services: Redis, RabbitMQ, monitoring, ingress-nginx, Argo CD, cert-manager.

Names are those of the charts of PLATFORM.md 1.1, 3 and 4.1; replica counts outside pss-nano are kept small.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from opslib.sandbox.inventory.build import Manifest, obj, owner, resources, safe_hash
from opslib.sandbox.inventory.names import NAMESPACE

INGRESS_LABELS = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/instance": "ingress-nginx"}


def _container(
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


def _http(path: str, port: str) -> Manifest:
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


def _pod(labels: dict[str, str], containers: list[Manifest], **spec: Any) -> Manifest:
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


def _deployment(
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


def _statefulset(
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


def _service(
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
    main = _container(
        "redis",
        "docker.io/bitnami/redis:7.2.3-debian-11-r2",
        {"redis": 6379},
        resources("500m", "4Gi", "1", "8Gi"),
        _tcp("redis"),
    )
    # these two take the LimitRange's defaults, as the chart sets no resources for them
    sentinel = _container(
        "sentinel", "docker.io/bitnami/redis-sentinel:7.2.3-debian-11-r2", {"redis-sentinel": 26379}
    )
    metrics = _container("metrics", "docker.io/bitnami/redis-exporter:1.55.0-debian-11-r3", {"metrics": 9121})
    pod = _pod(labels, [main, sentinel, metrics], **_tolerant("cache"))
    return [
        _statefulset(
            "redis-node", NAMESPACE, 3, labels, pod, born, headless="redis-headless", policy="Parallel"
        ),
        _service("redis", NAMESPACE, labels, {"redis": 6379, "redis-sentinel": 26379}, born),
        _service(
            "redis-headless", NAMESPACE, labels, {"redis": 6379, "redis-sentinel": 26379}, born, headless=True
        ),
        _service("redis-metrics", NAMESPACE, labels, {"metrics": 9121}, born),
    ]


def rabbitmq(now: dt.datetime) -> list[Manifest]:
    """bitnami/rabbitmq 12: three nodes on three worker hosts, PDB 2 (3.2)."""
    born = now - dt.timedelta(hours=2400)
    labels = {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/instance": "rabbitmq"}
    ports = {"amqp": 5672, "dist": 25672, "stats": 15672, "epmd": 4369, "metrics": 9419}
    main = _container(
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
    pod = _pod(labels, [main], affinity=apart, **_tolerant("worker"))
    budget = {"minAvailable": 2, "selector": {"matchLabels": labels}}
    return [
        _statefulset("rabbitmq", NAMESPACE, 3, labels, pod, born, headless="rabbitmq-headless"),
        _service("rabbitmq", NAMESPACE, labels, ports, born),
        _service("rabbitmq-headless", NAMESPACE, labels, ports, born, headless=True),
        obj("policy/v1", "PodDisruptionBudget", "rabbitmq", created=born, labels=labels, spec=budget),
    ]


def ingress_nginx(now: dt.datetime) -> list[Manifest]:
    """Controller (3), default backend (1), the class nginx and the LoadBalancer Service (1.9)."""
    born, space = now - dt.timedelta(hours=2700), "ingress-nginx"
    front = {**INGRESS_LABELS, "app.kubernetes.io/component": "controller"}
    back = {**INGRESS_LABELS, "app.kubernetes.io/component": "default-backend"}
    controller = _container(
        "controller",
        "registry.k8s.io/ingress-nginx/controller:v1.9.4",
        {"http": 80, "https": 443, "metrics": 10254},
        resources("100m", "90Mi", "1", "512Mi"),
        {**_http("/healthz", "metrics"), "initialDelaySeconds": 10},
    )
    default = _container(
        "ingress-nginx-default-backend",
        "registry.k8s.io/defaultbackend-amd64:1.5",
        {"http": 8080},
        resources("10m", "20Mi", "20m", "30Mi"),
        _http("/healthz", "http"),
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
    entry = _service(
        "ingress-nginx-controller", space, front, {"http": 80, "https": 443}, born, kind="LoadBalancer"
    )
    entry["spec"]["externalTrafficPolicy"] = "Local"
    entry["status"] = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}
    return [
        klass,
        *_deployment("ingress-nginx-controller", space, 3, front, _pod(front, [controller]), born),
        *_deployment("ingress-nginx-defaultbackend", space, 1, back, _pod(back, [default]), born),
        entry,
        _service("ingress-nginx-defaultbackend", space, back, {"http": 8080}, born),
        obj(
            "policy/v1",
            "PodDisruptionBudget",
            "ingress-nginx-controller",
            namespace=space,
            created=born,
            spec={"minAvailable": 2, "selector": {"matchLabels": front}},
        ),
    ]


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
    one = _container(container or name, image, ports, resources("50m", "128Mi", "500m", "1Gi"), probe)
    pod = _pod(labels, [one])
    service = _service(name, namespace, labels, ports, born)
    if stateful:
        return [
            _statefulset(name, namespace, count, labels, pod, born, headless=name, policy="Parallel"),
            service,
        ]
    return [*_deployment(name, namespace, count, labels, pod, born), service]


def monitoring(now: dt.datetime) -> list[Manifest]:
    """kube-prometheus-stack with fullnameOverride prometheus (4.1)."""
    born, space = now - dt.timedelta(hours=2500), "monitoring"
    prometheus = _simple(
        "prometheus-prometheus-prometheus",
        space,
        2,
        "quay.io/prometheus/prometheus:v2.48.1",
        {"http-web": 9090},
        _http("/-/ready", "http-web"),
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
        _http("/-/ready", "http-web"),
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
            _http("/api/health", "http-web"),
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
            _http("/healthz", "http"),
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
            _http("/healthz", "server"),
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
            _http("/healthz", "metrics"),
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
            _http("/healthz", "healthcheck"),
            born,
        ),
        *_simple(
            "cert-manager-cainjector", space, 1, f"{base}-cainjector:v1.13.3", {"metrics": 9402}, None, born
        ),
    ]
