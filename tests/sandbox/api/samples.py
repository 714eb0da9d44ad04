"""The smallest valid object of every resource in the registry that can be created."""

from __future__ import annotations

from typing import Any

_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
_JOB_TEMPLATE = {"spec": {**_TEMPLATE["spec"], "restartPolicy": "Never"}}
_SELECTOR = {"matchLabels": {"a": "b"}}
_WEBHOOK = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
_VERSION = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}

SAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("", "configmaps"): {"data": {"k": "v"}},
    ("", "endpoints"): {"subsets": [{"addresses": [{"ip": "10.4.0.1"}], "ports": [{"port": 80}]}]},
    ("", "events"): {
        "involvedObject": {"kind": "Pod", "name": "x"},
        "reason": "R",
        "message": "m",
        "type": "Normal",
    },
    ("", "limitranges"): {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "8"}}]}},
    ("", "namespaces"): {},
    ("", "nodes"): {},
    ("", "persistentvolumeclaims"): {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    ("", "persistentvolumes"): {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    },
    ("", "pods"): {"spec": _TEMPLATE["spec"]},
    ("", "podtemplates"): {"template": _TEMPLATE},
    ("", "replicationcontrollers"): {"spec": {"selector": {"a": "b"}, "template": _TEMPLATE}},
    ("", "resourcequotas"): {"spec": {"hard": {"configmaps": "100"}}},
    ("", "secrets"): {"stringData": {"k": "v"}},
    ("", "serviceaccounts"): {},
    ("", "services"): {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): {"webhooks": [_WEBHOOK]},
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): {"webhooks": [_WEBHOOK]},
    ("apiregistration.k8s.io", "apiservices"): {
        "spec": {"group": "g.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    },
    ("apps", "controllerrevisions"): {"revision": 1},
    ("apps", "daemonsets"): {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps", "deployments"): {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps", "replicasets"): {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps", "statefulsets"): {"spec": {"serviceName": "s", "selector": _SELECTOR, "template": _TEMPLATE}},
    ("autoscaling", "horizontalpodautoscalers"): {
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
        }
    },
    ("batch", "cronjobs"): {
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": _JOB_TEMPLATE}}}
    },
    ("batch", "jobs"): {"spec": {"template": _JOB_TEMPLATE}},
    ("coordination.k8s.io", "leases"): {"spec": {"holderIdentity": "me"}},
    ("discovery.k8s.io", "endpointslices"): {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.4.0.1"]}],
        "ports": [{"port": 80}],
    },
    ("events.k8s.io", "events"): {
        "regarding": {"kind": "Pod", "name": "x"},
        "reason": "R",
        "note": "m",
        "type": "Normal",
        "action": "a",
        "reportingController": "c",
        "reportingInstance": "i",
        "eventTime": "2026-11-22T00:00:00.000000Z",
    },
    ("networking.k8s.io", "ingressclasses"): {"spec": {"controller": "k8s.io/ingress-nginx"}},
    ("networking.k8s.io", "ingresses"): {
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    },
    ("networking.k8s.io", "networkpolicies"): {"spec": {"podSelector": {}}},
    ("node.k8s.io", "runtimeclasses"): {"handler": "runc"},
    ("policy", "poddisruptionbudgets"): {"spec": {"minAvailable": 1, "selector": _SELECTOR}},
    ("rbac.authorization.k8s.io", "clusterrolebindings"): {"roleRef": {"kind": "ClusterRole", "name": "x"}},
    ("rbac.authorization.k8s.io", "clusterroles"): {
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    },
    ("rbac.authorization.k8s.io", "rolebindings"): {"roleRef": {"kind": "Role", "name": "x"}},
    ("rbac.authorization.k8s.io", "roles"): {
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    },
    ("scheduling.k8s.io", "priorityclasses"): {"value": 7},
    ("storage.k8s.io", "storageclasses"): {"provisioner": "x.example.com"},
}


def sample(group: str, version: str, kind: str, plural: str, name: str) -> dict[str, Any]:
    """A complete object of this row."""
    body = {
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": kind,
        "metadata": {"name": name},
    }
    if plural == "customresourcedefinitions":
        # a CRD's name must be PLURAL.GROUP
        names = {"plural": name, "kind": name.title().replace("-", "")}
        body["metadata"] = {"name": f"{name}.example.com"}  # type: ignore[assignment]
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [_VERSION]}
        return {**body, "spec": spec}
    if plural == "apiservices":
        body["metadata"] = {"name": "v1.g.example.com"}  # type: ignore[assignment]
    return {**body, **SAMPLES[group, plural]}
