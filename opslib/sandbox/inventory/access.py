"""RBAC, quota, limit range and network policies of the namespace pss-nano (PLATFORM.md 1.10 and 1.11)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from opslib.sandbox.inventory.build import Manifest, obj
from opslib.sandbox.inventory.names import NAMESPACE

READ = ["get", "list", "watch"]
WRITE = ["create", "update", "patch", "delete"]


def rule(groups: str | list[str], resources: list[str], verbs: list[str]) -> Manifest:
    return {
        "apiGroups": [groups] if isinstance(groups, str) else groups,
        "resources": resources,
        "verbs": verbs,
    }


# What an on-call engineer may read everywhere; no Secrets.
OBSERVER_CLUSTER = [
    rule(
        "",
        [
            "namespaces",
            "nodes",
            "pods",
            "pods/log",
            "services",
            "endpoints",
            "events",
            "configmaps",
            "serviceaccounts",
            "resourcequotas",
            "limitranges",
            "persistentvolumeclaims",
            "replicationcontrollers",
        ],
        READ,
    ),
    rule(
        "apps",
        [
            "deployments",
            "deployments/scale",
            "replicasets",
            "statefulsets",
            "daemonsets",
            "controllerrevisions",
        ],
        READ,
    ),
    rule("batch", ["jobs", "cronjobs"], READ),
    rule("autoscaling", ["horizontalpodautoscalers"], READ),
    rule("policy", ["poddisruptionbudgets"], READ),
    rule("discovery.k8s.io", ["endpointslices"], READ),
    rule("networking.k8s.io", ["ingresses", "ingressclasses", "networkpolicies"], READ),
    rule("events.k8s.io", ["events"], READ),
    rule("metrics.k8s.io", ["pods", "nodes"], READ),
    rule("apiextensions.k8s.io", ["customresourcedefinitions"], READ),
    rule("argoproj.io", ["applications", "appprojects"], READ),
    rule("cert-manager.io", ["certificates", "certificaterequests", "issuers", "clusterissuers"], READ),
    rule("networking.istio.io", ["destinationrules", "virtualservices", "gateways", "envoyfilters"], READ),
    rule("monitoring.coreos.com", ["servicemonitors", "prometheusrules"], READ),
    rule("rbac.authorization.k8s.io", ["roles", "rolebindings"], READ),
    rule("coordination.k8s.io", ["leases"], READ),
    rule(
        "authorization.k8s.io",
        ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "localsubjectaccessreviews"],
        ["create"],
    ),
    rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
]
# What a responder may change in pss-nano: a rollback, a restart, a scale, maintenance mode, and its own lease.
RESPONDER = [
    rule("apps", ["deployments"], ["create", "update", "patch", "delete"]),
    rule("apps", ["deployments/scale"], ["update", "patch"]),
    rule("autoscaling", ["horizontalpodautoscalers"], ["update", "patch"]),
    rule("", ["configmaps"], WRITE),
    rule("", ["services"], WRITE),
    rule("networking.k8s.io", ["ingresses"], WRITE),
    rule("coordination.k8s.io", ["leases"], [*READ, *WRITE]),
]
RESPONDER_ARGO = [rule("argoproj.io", ["applications"], ["update", "patch"])]


def _role(
    name: str, rules: list[Manifest], created: dt.datetime, namespace: str | None = NAMESPACE
) -> Manifest:
    kind = "Role" if namespace else "ClusterRole"
    return obj("rbac.authorization.k8s.io/v1", kind, name, namespace=namespace, created=created, rules=rules)


def _bind(
    role: Manifest, subject: Manifest, created: dt.datetime, name: str = "", namespace: str | None = None
) -> Manifest:
    return obj(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding" if namespace else "ClusterRoleBinding",
        name or role["metadata"]["name"],
        namespace=namespace,
        created=created,
        roleRef={
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": role["kind"],
            "name": role["metadata"]["name"],
        },
        subjects=[subject],
    )


def _group(name: str) -> Manifest:
    return {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def _account(name: str, namespace: str) -> Manifest:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def rbac(now: dt.datetime) -> list[Manifest]:
    """The platform's own roles (four of them bound to nobody, as committed) and those of the on-call."""
    born = now - dt.timedelta(hours=2950)
    developer = _role(
        "developer",
        [
            rule("", ["pods", "pods/log", "services", "configmaps"], READ),
            rule("apps", ["deployments", "replicasets", "statefulsets"], READ),
            rule("batch", ["jobs"], READ),
            rule("", ["pods/exec"], ["create"]),
        ],
        born,
    )
    every = ["*"]
    devops = _role(
        "devops", [rule(["", "apps", "batch", "extensions", "networking.k8s.io"], every, every)], born
    )
    admin = _role("admin", [rule(every, every, every)], born)
    cicd = _role(
        "cicd",
        [
            rule("apps", ["deployments", "replicasets"], [*READ, *WRITE]),
            rule("", ["pods", "services", "configmaps"], [*READ, *WRITE]),
            rule("batch", ["jobs"], ["get", "list", "create", "delete"]),
            rule("", ["secrets"], ["get"]),
        ],
        born,
    )
    viewer = _role(
        "pss-nano-viewer",
        [rule("", ["namespaces", "nodes"], READ), rule("metrics.k8s.io", every, READ)],
        born,
        None,
    )
    prometheus = _role(
        "prometheus",
        [rule("", ["nodes", "nodes/metrics", "services", "endpoints", "pods"], READ)],
        born,
        None,
    )
    masters = _role("cluster-admin", [rule(every, every, every)], born, None)
    observer = _role("opslib-observer", OBSERVER_CLUSTER, born, None)
    responder = _role("opslib-responder", RESPONDER, born)
    responder_argo = _role("opslib-responder", RESPONDER_ARGO, born, "argocd")
    responders, observers = _group("opslib:responders"), _group("opslib:observers")
    return [
        developer,
        devops,
        admin,
        cicd,
        viewer,
        prometheus,
        masters,
        observer,
        responder,
        responder_argo,
        obj("v1", "ServiceAccount", "cicd", created=born),
        _bind(cicd, _account("cicd", NAMESPACE), born, "cicd-binding", NAMESPACE),
        _bind(prometheus, _account("monitoring", "monitoring"), born),
        _bind(masters, _group("system:masters"), born),
        _bind(observer, observers, born),
        _bind(observer, responders, born, "opslib-observer-responders"),
        _bind(responder, responders, born, namespace=NAMESPACE),
        _bind(responder_argo, responders, born, namespace="argocd"),
        # the sandbox's user `developer` has the platform's developer role, which upstream binds to nobody
        _bind(
            developer,
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "developer"},
            born,
            namespace=NAMESPACE,
        ),
    ]


def quota(now: dt.datetime) -> list[Manifest]:
    born = now - dt.timedelta(hours=2950)
    hard = {
        "requests.cpu": "50",
        "requests.memory": "100Gi",
        "limits.cpu": "100",
        "limits.memory": "200Gi",
        "pods": "100",
        "services": "50",
        "persistentvolumeclaims": "20",
        "requests.storage": "500Gi",
    }
    limits = [
        {
            "type": "Container",
            "max": {"cpu": "4", "memory": "8Gi"},
            "min": {"cpu": "50m", "memory": "64Mi"},
            "default": {"cpu": "500m", "memory": "512Mi"},
            "defaultRequest": {"cpu": "250m", "memory": "256Mi"},
        },
        {"type": "Pod", "max": {"cpu": "8", "memory": "16Gi"}},
    ]
    return [
        obj("v1", "ResourceQuota", "pss-nano-quota", created=born, spec={"hard": hard}),
        obj("v1", "LimitRange", "pss-nano-limits", created=born, spec={"limits": limits}),
    ]


def network_policies(now: dt.datetime) -> list[Manifest]:
    """As committed, with the labels that select nothing here (`app`): objects to read, not enforced."""
    born = now - dt.timedelta(hours=2950)

    def policy(name: str, spec: dict[str, Any]) -> Manifest:
        return obj("networking.k8s.io/v1", "NetworkPolicy", name, created=born, spec=spec)

    def port(number: int, protocol: str = "TCP") -> list[Manifest]:
        return [{"protocol": protocol, "port": number}]

    def app(name: str) -> Manifest:
        return {"podSelector": {"matchLabels": {"app": name}}}

    def space(name: str) -> Manifest:
        return {"namespaceSelector": {"matchLabels": {"name": name}}}

    def egress(name: str, to: Manifest, ports: list[Manifest]) -> Manifest:
        return policy(
            name, {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [to], "ports": ports}]}
        )

    def ingress(name: str, selector: Manifest, source: Manifest) -> Manifest:
        spec = {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [source], "ports": port(3000)}],
        }
        return policy(name, spec)

    return [
        policy("default-deny-ingress", {"podSelector": {}, "policyTypes": ["Ingress"]}),
        policy("default-deny-egress", {"podSelector": {}, "policyTypes": ["Egress"]}),
        ingress("allow-from-ingress", {"matchLabels": {"app": "api-gateway"}}, space("ingress-nginx")),
        ingress("allow-inter-service", {}, {"podSelector": {}}),
        ingress("allow-monitoring-ingress", {}, space("monitoring")),
        egress("allow-dns-egress", space("kube-system"), port(53, "UDP")),
        egress("allow-database-egress", app("postgres"), port(5432)),
        egress("allow-redis-egress", app("redis"), port(6379)),
        egress("allow-rabbitmq-egress", app("rabbitmq"), port(5672)),
        egress("allow-https-egress", {"namespaceSelector": {}}, port(443)),
    ]
