"""What a kind does to an object before it is written: generated fields, generation, status kept or reset.

Source: the strategy.go files below k8s.io/kubernetes/pkg/registry, and rest.BeforeCreate and rest.BeforeUpdate.
"""

from __future__ import annotations

import ipaddress
import random
import string
import uuid
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api.errors import FieldError, Json, invalid
from opslib.sandbox.api.quantities import qos_class
from opslib.sandbox.api.registry import Resource
from opslib.sandbox.api.selectors import selector_matches
from opslib.sandbox.api.store import Store

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand
SERVICE_RANGE = ipaddress.IPv4Network("10.8.0.0/20")
NODE_PORTS = range(30000, 32768)
_SYSTEM_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def now() -> str:
    """The wall clock as metav1.Time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def suffix(length: int = 5) -> str:
    """A random suffix as generateName makes it."""
    return "".join(random.choices(ALPHABET, k=length))


def has_status(resource: Resource) -> bool:
    """Whether status is written by its own subresource only."""
    return resource.subresource("status") is not None


def generate_name(meta: Json) -> None:
    """Make metadata.name from generateName, cut as names.SimpleNameGenerator does."""
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = str(meta["generateName"])[:58] + suffix()


def before_create(resource: Resource, obj: Json, store: Store) -> None:
    """Fill what the server owns into a new object."""
    meta = obj["metadata"]
    for name in (*_SYSTEM_META, "resourceVersion", "generation"):
        meta.pop(name, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now()
    if resource.generation:
        meta["generation"] = 1
    if has_status(resource):
        reset_status(resource, obj)
    prepare = {
        ("", "Service"): _service,
        ("", "Pod"): _pod,
        ("batch", "Job"): _job,
        ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd_status,
    }.get((resource.group, resource.kind))
    if prepare:
        prepare(obj, store)


_EMPTY_STATUS: dict[tuple[str, str], Json] = {
    ("", "Namespace"): {"phase": "Active"},
    ("", "Service"): {"loadBalancer": {}},
    ("", "PersistentVolumeClaim"): {"phase": "Pending"},
    ("", "PersistentVolume"): {"phase": "Pending"},
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"replicas": 0, "availableReplicas": 0},
    ("apps", "DaemonSet"): {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    ("autoscaling", "HorizontalPodAutoscaler"): {"desiredReplicas": 0, "currentMetrics": None},
    ("networking.k8s.io", "Ingress"): {"loadBalancer": {}},
    ("policy", "PodDisruptionBudget"): {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
}


def reset_status(resource: Resource, obj: Json) -> None:
    """A client's status is dropped at creation; the kind's own beginning takes its place."""
    given = obj.pop("status", None)
    if resource.crd is not None:
        return
    if resource.kind in ("Node", "APIService"):
        # the kubelet creates its Node with a status, and the server keeps it
        if given:
            obj["status"] = given
        return
    obj["status"] = dict(_EMPTY_STATUS.get((resource.group, resource.kind), {}))


def _pod(obj: Json, _: Store) -> None:
    obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj.get("spec") or {})}


def _job(obj: Json, _: Store) -> None:
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    labels.update(
        {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
    )
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _service(obj: Json, store: Store) -> None:
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    taken, ports = set(), set()
    for _, entry in store.items(("", "services")):
        taken.add((entry.obj.get("spec") or {}).get("clusterIP"))
        ports |= {p.get("nodePort") for p in (entry.obj.get("spec") or {}).get("ports") or ()}
    if not spec.get("clusterIP"):
        hosts = int(SERVICE_RANGE.num_addresses) - 2
        while True:
            address = str(SERVICE_RANGE[random.randint(2, hosts)])
            if address not in taken:
                break
        spec["clusterIP"] = address
    elif spec["clusterIP"] != "None" and spec["clusterIP"] in taken:
        error = FieldError(
            "FieldValueInvalid",
            "spec.clusterIPs",
            "failed to allocate IP " + spec["clusterIP"] + ": provided IP is already allocated",
            [spec["clusterIP"]],
        )
        raise invalid("Service", "", obj["metadata"]["name"], [error])
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                port["nodePort"] = random.choice([p for p in NODE_PORTS if p not in ports])
                ports.add(port["nodePort"])


def _crd_status(obj: Json, _: Store) -> None:
    spec, stamp = obj["spec"], now()
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    obj["status"] = {
        "conditions": [
            {"type": t, "status": "True", "lastTransitionTime": stamp, "reason": r, "message": m}
            for t, r, m in conditions
        ],
        "acceptedNames": dict(spec["names"]),
        "storedVersions": [v["name"] for v in spec["versions"] if v.get("storage")],
    }


def before_update(resource: Resource, obj: Json, old: Json) -> None:
    """Keep what an update may not change, and count the generation (rest.BeforeUpdate)."""
    meta, was = obj["metadata"], old["metadata"]
    for name in _SYSTEM_META:
        if name in was:
            meta[name] = was[name]
        else:
            meta.pop(name, None)
    if has_status(resource):
        if "status" in old:
            obj["status"] = old["status"]
        else:
            obj.pop("status", None)
    if (resource.group, resource.kind) == ("", "Service"):
        _keep_service(obj, old)
    if (resource.group, resource.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        obj["status"] = dict(old.get("status") or {})
        stored = obj["status"].setdefault("storedVersions", [])
        stored += [v["name"] for v in obj["spec"]["versions"] if v.get("storage") and v["name"] not in stored]
        obj["status"]["acceptedNames"] = dict(obj["spec"]["names"])
    if resource.generation:
        generation = int(was.get("generation", 1))
        if _changes_generation(resource, obj, old):
            generation += 1
        meta["generation"] = generation
    else:
        meta.pop("generation", None)


def _changes_generation(resource: Resource, obj: Json, old: Json) -> bool:
    if resource.crd is not None or resource.kind in ("EndpointSlice", "PriorityClass"):
        skip = ("metadata", "status", "apiVersion", "kind") if has_status(resource) else ("metadata",)
        return {k: v for k, v in obj.items() if k not in skip} != {
            k: v for k, v in old.items() if k not in skip
        }
    if resource.kind.endswith("WebhookConfiguration"):
        return bool(obj.get("webhooks") != old.get("webhooks"))
    if obj.get("spec") != old.get("spec"):
        return True
    # deploymentStrategy.PrepareForUpdate counts annotations too
    return resource.kind == "Deployment" and (
        (obj["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {})
    )


def _keep_service(obj: Json, old: Json) -> None:
    spec, was = obj["spec"], old.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not spec.get(name) and was.get(name):
            spec[name] = was[name]
    before = {p.get("name", ""): p for p in was.get("ports") or ()}
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or ():
            held = before.get(port.get("name", "")) or {}
            if not port.get("nodePort") and held.get("nodePort"):
                port["nodePort"] = held["nodePort"]


def status_update(resource: Resource, obj: Json, old: Json) -> Json:
    """The object that a write to /status makes: the new status on the old rest."""
    result = dict(old)
    result["metadata"] = dict(old["metadata"])
    if resource.crd is None:
        # built-in strategies let a status write touch metadata other than labels and owners
        for name in ("annotations", "finalizers"):
            given = obj["metadata"].get(name)
            if given:
                result["metadata"][name] = given
            elif name in result["metadata"]:
                del result["metadata"][name]
        if resource.kind == "Node" and obj["metadata"].get("labels"):
            result["metadata"]["labels"] = obj["metadata"]["labels"]
    if "managedFields" in obj["metadata"]:
        result["metadata"]["managedFields"] = obj["metadata"]["managedFields"]
    if "status" in obj:
        result["status"] = obj["status"]
    else:
        result.pop("status", None)
    return result


def check_selector(obj: Json) -> list[FieldError]:
    """A workload's selector must select its own template."""
    spec = obj.get("spec") or {}
    selector: Any = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector and not selector_matches(selector, labels):
        text = "`selector` does not match template `labels`"
        return [FieldError("FieldValueInvalid", "spec.template.metadata.labels", text, labels)]
    return []


def random_token(length: int = 32) -> str:
    """Letters and digits."""
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))
