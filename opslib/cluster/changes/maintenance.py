"""Maintenance mode: a page with status 503 and Retry-After in front of users (defect A6: its file was never written).

A ConfigMap, a Deployment and a Service are made, then every Ingress that claims the host is pointed at them. Undo
gives the Ingresses back first and removes the page last, so that users never meet a missing backend.
"""

from __future__ import annotations

import copy
import html
import json
from typing import TYPE_CHECKING, Any

from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.edits import Edit, Field
from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.changes.leases import lease_name
from opslib.cluster.changes.pausing import DEPARTS as PAUSE_DEPARTS
from opslib.cluster.changes.pausing import pause_for
from opslib.cluster.kinds import KINDS
from opslib.cluster.network import ingress_items
from opslib.errors import NotFound
from opslib.records.change import Risk, Target

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
NAME = "opslib-maintenance"
IMAGE = "nginxinc/nginx-unprivileged:1.27-alpine"
PORT = 8080
LABELS = {
    "app.kubernetes.io/name": NAME,
    "app.kubernetes.io/part-of": NAME,
    "app.kubernetes.io/managed-by": "opslib",
}
DEPARTS = (
    "A6: the runbook's maintenance-mode.yaml does not exist; this makes the page, and says how to end it",
)


def maintenance_mode(
    api: Api,
    namespace: str,
    ingress: str,
    message: str,
    retry_after: int,
    cluster_uid: str,
    *,
    replicas: int = 2,
) -> KubernetesChange:
    """See Cluster.maintenance_mode."""
    items = ingress_items(api, namespace)
    named = next((item for item in items if item["metadata"]["name"] == ingress), None)
    where = f"{api.cluster}/{namespace}/ingress/{ingress}"
    if named is None:
        raise NotFound(
            f"there is no Ingress {ingress}", target=where, next="`kubectl get ingress` lists them"
        )
    hosts = {rule.get("host", "") for rule in named["spec"].get("rules") or []}
    # A10: every Ingress of the host must be pointed away, or a part of the users meets the broken service.
    shared = [i for i in items if hosts & {rule.get("host", "") for rule in i["spec"].get("rules") or []}]
    patches = [edit for item in shared if (edit := _point(item, hosts))]
    if not patches:
        raise NotApplicable(
            f"{ingress} shows the maintenance page already", target=where, next="undo it to end it"
        )
    pauses, follow_ups, commands = pause_for(api, [(item, "Ingress", "/spec/rules") for item in shared])
    page = [
        Edit("create", manifest["kind"], namespace, manifest["metadata"]["name"], "", (), manifest)
        for manifest in _page(namespace, message, retry_after, replicas)
    ]
    says = (
        f"All requests to {', '.join(sorted(hosts))} get 503 with a maintenance page; "
        f"{len(patches)} Ingresses change. There is no way past the page for testers: use a port-forward."
    )
    return KubernetesChange(
        api,
        name=f"maintenance-mode-{ingress}",
        title=f"Show a maintenance page on {', '.join(sorted(hosts))}",
        operation="maintenance-mode",
        target=Target(api.cluster, cluster_uid, namespace, f"ingress/{ingress}", named["metadata"]["uid"]),
        edits=[*pauses, *page, *patches],
        risk=Risk("high", says, tuple(edit.object for edit in (*page, *patches))),
        waits=[{"for": "replicas", "namespace": namespace, "name": NAME, "replicas": replicas}],
        leased=[(namespace, lease_name(f"ingress/{ingress}"))],
        commands=[*commands, *_commands(namespace, page, patches)],
        follow_ups=[
            *follow_ups,
            "the maintenance page is on: end it with opslib undo when users can be served",
        ],
        departs=[*DEPARTS, *([PAUSE_DEPARTS] if pauses else [])],
    )


def _point(item: Json, hosts: set[str]) -> Edit | None:
    before = item["spec"].get("rules") or []
    after = copy.deepcopy(before)
    backend = {"service": {"name": NAME, "port": {"number": 80}}}
    for rule in after:
        if rule.get("host", "") in hosts:
            for path in (rule.get("http") or {}).get("paths") or []:
                path["backend"] = copy.deepcopy(backend)
    if before == after:
        return None
    meta = item["metadata"]
    change = (Field("/spec/rules", before, after),)
    return Edit("patch", "Ingress", meta["namespace"], meta["name"], meta["uid"], change, needs=NAME)


def _page(namespace: str, message: str, retry_after: int, replicas: int) -> list[Json]:
    meta = {"name": NAME, "namespace": namespace, "labels": dict(LABELS)}
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Maintenance</title></head>'
        f"<body><h1>We will be back soon</h1><p>{html.escape(message)}</p></body></html>"
    )
    config = (
        "server {\n"
        f"  listen {PORT};\n"
        "  location = /healthz { return 200; }\n"
        "  location / { try_files /none @page; }\n"
        "  location @page {\n"
        f'    add_header Retry-After "{int(retry_after)}" always;\n'
        '    add_header Cache-Control "no-store" always;\n'
        '    add_header X-Maintenance "opslib" always;\n'
        "    return 503;\n"
        "  }\n"
        "  error_page 503 /index.html;\n"
        "  location = /index.html {\n"
        f'    add_header Retry-After "{int(retry_after)}" always;\n'
        '    add_header Cache-Control "no-store" always;\n'
        '    add_header X-Maintenance "opslib" always;\n'
        "    root /page;\n"
        "    internal;\n"
        "  }\n"
        "}\n"
    )
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2}
    container = {
        "name": "page",
        "image": IMAGE,
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": probe,
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "page", "mountPath": "/page/index.html", "subPath": "index.html"},
            {"name": "page", "mountPath": "/etc/nginx/conf.d/default.conf", "subPath": "default.conf"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the container
        ],
    }
    pod = {
        "containers": [container],
        # A page for an emergency goes wherever there is room: the service's own nodes may be what is missing.
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 101,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "page", "configMap": {"name": NAME}}, {"name": "tmp", "emptyDir": {}}],
    }
    select = {"app.kubernetes.io/name": NAME}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": copy.deepcopy(meta),
            "data": {"index.html": body, "default.conf": config},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": copy.deepcopy(meta),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": select},
                "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": copy.deepcopy(meta),
            "spec": {"selector": select, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
    ]


def _commands(namespace: str, page: list[Edit], patches: list[Edit]) -> list[str]:
    objects = {"apiVersion": "v1", "kind": "List", "items": [edit.manifest for edit in page]}
    made = [f"kubectl apply -f - <<'EOF'\n{json.dumps(objects, indent=1)}\nEOF"]
    made.append(f"kubectl -n {namespace} rollout status deployment/{NAME} --timeout=2m")
    for edit in patches:
        operations = [{"op": "replace", "path": f.pointer, "value": f.after} for f in edit.fields]
        plural = KINDS["ingress"].plural
        made.append(
            f"kubectl -n {namespace} patch {plural} {edit.name} --type json -p '{json.dumps(operations)}'"
        )
    return made
