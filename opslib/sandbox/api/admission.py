"""Admission: LimitRange defaults and limits, ResourceQuota, ServiceAccount, tolerations, namespace life cycle.

Source: k8s.io/kubernetes/plugin/pkg/admission/{limitranger,serviceaccount,defaulttolerationseconds} and
k8s.io/apiserver/pkg/admission/plugin/resourcequota; messages are theirs.
"""

from __future__ import annotations

from decimal import Decimal

from opslib.sandbox.api.errors import ApiError, Json, forbidden, not_found
from opslib.sandbox.api.quantities import canonical, parse, pod_requests
from opslib.sandbox.api.registry import Resource, StorageKey
from opslib.sandbox.api.store import Entry, Store
from opslib.sandbox.api.strategy import suffix

QUOTAS: StorageKey = ("", "resourcequotas")
RANGES: StorageKey = ("", "limitranges")
PODS: StorageKey = ("", "pods")
LIMIT_RANGER = "kubernetes.io/limit-ranger"
_COUNTED = {
    ("", "pods"): "pods",
    ("", "services"): "services",
    ("", "secrets"): "secrets",
    ("", "configmaps"): "configmaps",
    ("", "persistentvolumeclaims"): "persistentvolumeclaims",
    ("", "replicationcontrollers"): "replicationcontrollers",
    ("", "resourcequotas"): "resourcequotas",
}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105


def namespace_open(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Refuse new content in a namespace that is missing (404) or terminating (403)."""
    if not resource.namespaced:
        return
    entry = store.get(("", "namespaces"), "", namespace)
    if entry is None:
        raise not_found("namespaces", "", namespace)
    if entry.obj["metadata"].get("deletionTimestamp"):
        text = f"unable to create new content in namespace {namespace} because it is being terminated"
        error = forbidden(resource.plural, resource.group, name, text)
        error.details = {
            **(error.details or {}),
            "causes": [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ],
        }
        raise error


def mutate_pod(store: Store, obj: Json) -> None:
    """What mutating admission does to a new pod."""
    namespace = obj["metadata"].get("namespace", "")
    _limit_defaults(store, obj, namespace)
    _service_account(store, obj, namespace)
    _priority(store, obj)
    _tolerations(obj["spec"])


def _limits(store: Store, namespace: str) -> list[tuple[str, Json]]:
    found = []
    for (_, name), entry in store.items(RANGES, namespace):
        found += [(name, item) for item in (entry.obj.get("spec") or {}).get("limits") or ()]
    return found


def _limit_defaults(store: Store, obj: Json, namespace: str) -> None:
    notes = []
    for _, item in _limits(store, namespace):
        if item.get("type") != "Container":
            continue
        defaults = {"requests": item.get("defaultRequest") or {}, "limits": item.get("default") or {}}
        for part in ("containers", "initContainers"):
            for container in obj["spec"].get(part) or ():
                resources = container.setdefault("resources", {})
                for kind in ("requests", "limits"):
                    missing = [k for k in defaults[kind] if k not in (resources.get(kind) or {})]
                    if not missing:
                        continue
                    held = resources.setdefault(kind, {})
                    held.update({k: defaults[kind][k] for k in missing})
                    label = "init container" if part == "initContainers" else "container"
                    text = f"{', '.join(sorted(missing))} {kind[:-1]} for {label} {container.get('name')}"
                    if text not in notes:
                        notes.append(text)
    if notes:
        annotations = obj["metadata"].get("annotations") or {}
        annotations[LIMIT_RANGER] = "LimitRanger plugin set: " + "; ".join(notes)
        obj["metadata"]["annotations"] = annotations


def check_limits(store: Store, resource: Resource, obj: Json) -> None:
    """Raise 403 when a pod or claim is outside a LimitRange's minimum or maximum."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    problems: list[str] = []
    for _, item in _limits(store, meta.get("namespace", "")):
        kind = item.get("type")
        if kind == "Container" and resource.kind == "Pod":
            for part in ("containers", "initContainers"):
                for container in spec.get(part) or ():
                    held = container.get("resources") or {}
                    requests = {k: parse(v) for k, v in (held.get("requests") or {}).items()}
                    limits = {k: parse(v) for k, v in (held.get("limits") or {}).items()}
                    problems += _outside(item, kind, requests, limits)
        elif kind == "Pod" and resource.kind == "Pod":
            problems += _outside(item, kind, pod_requests(spec, "requests"), pod_requests(spec, "limits"))
        elif kind == "PersistentVolumeClaim" and resource.kind == kind:
            requests = {k: parse(v) for k, v in ((spec.get("resources") or {}).get("requests") or {}).items()}
            problems += _outside(item, kind, requests, requests)
    if problems:
        text = problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]"
        raise forbidden(resource.plural, resource.group, meta.get("name", ""), text)


def _outside(item: Json, kind: str, requests: dict[str, Decimal], limits: dict[str, Decimal]) -> list[str]:
    found = []
    for name, bound in sorted((item.get("min") or {}).items()):
        if name not in requests:
            found.append(f"minimum {name} usage per {kind} is {bound}.  No request is specified")
        elif requests[name] < parse(bound):
            shown = canonical(requests[name], str(bound))
            found.append(f"minimum {name} usage per {kind} is {bound}, but request is {shown}")
    for name, bound in sorted((item.get("max") or {}).items()):
        if name not in limits:
            found.append(f"maximum {name} usage per {kind} is {bound}.  No limit is specified")
        elif limits[name] > parse(bound):
            shown = canonical(limits[name], str(bound))
            found.append(f"maximum {name} usage per {kind} is {bound}, but limit is {shown}")
    return found


def _service_account(store: Store, obj: Json, namespace: str) -> None:
    spec = obj["spec"]
    name = spec.get("serviceAccountName") or "default"
    account = store.get(("", "serviceaccounts"), namespace, name)
    if account is None:
        text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden("pods", "", obj["metadata"].get("name", ""), text)
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if not spec.get("imagePullSecrets") and account.obj.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account.obj["imagePullSecrets"]
    mount = spec.get("automountServiceAccountToken")
    if mount is None:
        mount = account.obj.get("automountServiceAccountToken", True)
    if mount is False:
        return
    containers = [c for part in ("containers", "initContainers") for c in spec.get(part) or ()]
    bare = [
        c for c in containers if all(m.get("mountPath") != _TOKEN_MOUNT for m in c.get("volumeMounts") or ())
    ]
    if not bare:
        return
    volume = f"kube-api-access-{suffix()}"
    sources: list[Json] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                ]
            }
        },
    ]
    spec.setdefault("volumes", []).append(
        {"name": volume, "projected": {"sources": sources, "defaultMode": 420}}
    )
    for container in bare:
        entry = {"name": volume, "readOnly": True, "mountPath": _TOKEN_MOUNT}
        container.setdefault("volumeMounts", []).append(entry)


def _priority(store: Store, obj: Json) -> None:
    spec = obj["spec"]
    name = spec.get("priorityClassName")
    if not name:
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        return
    system = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
    entry = store.get(("scheduling.k8s.io", "priorityclasses"), "", name)
    if entry is None and name not in system:
        text = f"no PriorityClass with name {name} was found"
        raise forbidden("pods", "", obj["metadata"].get("name", ""), text)
    spec["priority"] = entry.obj.get("value", 0) if entry else system[name]
    spec["preemptionPolicy"] = (entry.obj if entry else {}).get("preemptionPolicy") or "PreemptLowerPriority"


def _tolerations(spec: Json) -> None:
    held = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if any(t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "") for t in held):
            continue
        held.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


# quota


def _terminal(obj: Json) -> bool:
    return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def usage(resource: StorageKey, obj: Json) -> dict[str, Decimal]:
    """What one object counts for in a quota (k8s.io/kubernetes/pkg/quota/v1/evaluator/core)."""
    used: dict[str, Decimal] = {}
    group, plural = resource
    used[f"count/{plural}.{group}" if group else f"count/{plural}"] = Decimal(1)
    if resource == PODS:
        # quota counts a pod until it is terminal, also while it is being deleted
        if _terminal(obj):
            return used
        used["pods"] = Decimal(1)
        for part in ("requests", "limits"):
            for name, value in pod_requests(obj.get("spec") or {}, part).items():
                used[f"{part}.{name}"] = value
                if part == "requests" and name in _COMPUTE:
                    used[name] = value
        return used
    if resource in _COUNTED:
        used[_COUNTED[resource]] = Decimal(1)
    spec = obj.get("spec") or {}
    if resource == ("", "persistentvolumeclaims"):
        storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        if storage:
            used["requests.storage"] = parse(storage)
            if storage_class := spec.get("storageClassName"):
                used[f"{storage_class}.storageclass.storage.k8s.io/requests.storage"] = parse(storage)
    if resource == ("", "services"):
        if spec.get("type") == "LoadBalancer":
            used["services.loadbalancers"] = Decimal(1)
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            used["services.nodeports"] = Decimal(len(spec.get("ports") or ()))
    return used


def _in_scope(quota: Json, resource: StorageKey, obj: Json) -> bool:
    scopes = (quota.get("spec") or {}).get("scopes") or ()
    if not scopes or resource != PODS:
        return not scopes
    best_effort = (obj.get("status") or {}).get("qosClass") == "BestEffort"
    terminating = (obj.get("spec") or {}).get("activeDeadlineSeconds") is not None
    held = {
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "Terminating": terminating,
        "NotTerminating": not terminating,
    }
    return all(held.get(s, True) for s in scopes)


def check_quota(store: Store, resource: Resource, obj: Json, old: Json | None = None) -> None:
    """Raise 403 when a quota of the namespace does not allow this object. Counts what is there, never stale."""
    namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"].get("name", "")
    needs = usage(resource.key, obj)
    before = usage(resource.key, old) if old else {}
    for (_, quota_name), entry in store.items(QUOTAS, namespace):
        if not _in_scope(entry.obj, resource.key, obj):
            continue
        hard = (entry.obj.get("spec") or {}).get("hard") or {}
        if resource.key == PODS and old is None:
            _must_specify(resource, quota_name, name, hard, obj)
        extra = {k: needs[k] - before.get(k, Decimal(0)) for k in needs if k in hard}
        extra = {k: v for k, v in extra.items() if v > 0}
        if not extra:
            continue
        used = tally(store, namespace, hard, entry.obj)
        over = sorted(k for k, v in extra.items() if used[k] + v > parse(hard[k]))
        if not over:
            continue
        requested = ",".join(f"{k}={canonical(extra[k], str(hard[k]))}" for k in over)
        taken = ",".join(f"{k}={canonical(used[k], str(hard[k]))}" for k in over)
        limited = ",".join(f"{k}={hard[k]}" for k in over)
        text = f"exceeded quota: {quota_name}, requested: {requested}, used: {taken}, limited: {limited}"
        raise forbidden(resource.plural, resource.group, name, text)


def _must_specify(resource: Resource, quota: str, name: str, hard: Json, obj: Json) -> None:
    missing: dict[str, list[str]] = {}
    for key in hard:
        part, _, compute = key.rpartition(".")
        part = part or "requests"
        if part not in ("requests", "limits") or compute not in _COMPUTE:
            continue
        for container in (obj["spec"].get("containers") or []) + (obj["spec"].get("initContainers") or []):
            if compute not in ((container.get("resources") or {}).get(part) or {}):
                missing.setdefault(container["name"], []).append(key)
    if missing:
        by_key: dict[str, list[str]] = {}
        for container, keys in missing.items():
            for key in keys:
                by_key.setdefault(key, []).append(container)
        texts = [f"{k} for: {','.join(sorted(v))}" for k, v in sorted(by_key.items())]
        raise forbidden(
            resource.plural, resource.group, name, f"failed quota: {quota}: must specify {'; '.join(texts)}"
        )


def tally(store: Store, namespace: str, hard: Json, quota: Json) -> dict[str, Decimal]:
    """What a namespace uses of each resource that a quota limits."""
    used = {name: Decimal(0) for name in hard}
    keys: set[StorageKey] = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            keys.add((group, plural))
        elif name.startswith("services."):
            keys.add(("", "services"))
        elif name == "requests.storage" or ".storageclass." in name:
            keys.add(("", "persistentvolumeclaims"))
        else:
            keys.add(next((k for k, v in _COUNTED.items() if v == name), PODS))
    for key in keys:
        for _, entry in store.items(key, namespace):
            if not _in_scope(quota, key, entry.obj):
                continue
            for name, value in usage(key, entry.obj).items():
                if name in used:
                    used[name] += value
    return used


def refresh_quotas(store: Store, namespace: str) -> None:
    """Bring status.used of the namespace's quotas up to date (the quota controller's work, done at once)."""
    for (_, name), entry in store.items(QUOTAS, namespace):
        status = quota_status(store, entry)
        if status != (entry.obj.get("status") or {}):
            obj = entry.copy()
            obj["status"] = status
            store.put(QUOTAS, namespace, name, obj)


def quota_status(store: Store, entry: Entry) -> Json:
    """The status that a quota ought to have now."""
    hard = (entry.obj.get("spec") or {}).get("hard") or {}
    used = tally(store, entry.obj["metadata"].get("namespace", ""), hard, entry.obj)
    return {"hard": dict(hard), "used": {k: canonical(v, str(hard[k])) for k, v in used.items()}}


def quota_touched(key: StorageKey, new: Json | None, old: Json | None) -> bool:
    """Whether a change may alter a quota's usage."""
    if key == QUOTAS:
        return new is not None and (old is None or new.get("spec") != old.get("spec") or "status" not in new)
    before = usage(key, old) if old else {}
    after = usage(key, new) if new else {}
    return before != after


def check_bound_namespace(obj: Json, namespace: str) -> None:
    """400 when the object names another namespace than the request."""
    given = obj["metadata"].get("namespace")
    if given and given != namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise ApiError(400, "BadRequest", text)
