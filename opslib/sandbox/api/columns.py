"""Columns and cells of the built-in kinds, as k8s.io/kubernetes/pkg/printers/internalversion/printers.go prints them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api.columns_pod import pod_cells
from opslib.sandbox.api.columns_text import (
    access_modes,
    age,
    containers_images,
    hpa_targets,
    label_selector,
    map_text,
    service_ports,
    span,
)
from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import Resource

Column = tuple[str, str, str, int]
Cells = Callable[[Json, datetime], list[Any]]
NAME: Column = ("Name", "string", "name", 0)
AGE: Column = ("Age", "string", "", 0)
CREATED: Column = ("Created At", "date", "", 0)
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"

__all__ = ["age", "of"]


def _s(name: str, priority: int = 0, kind: str = "string") -> Column:
    return (name, kind, "", priority)


WIDE = (_s("Containers", 1), _s("Images", 1), _s("Selector", 1))


def _name(o: Json) -> str:
    return str(o["metadata"]["name"])


def _age(o: Json, now: datetime) -> str:
    return age(o["metadata"].get("creationTimestamp"), now)


def _spec(o: Json) -> Json:
    found: Json = o.get("spec") or {}
    return found


def _status(o: Json) -> Json:
    found: Json = o.get("status") or {}
    return found


def _workload_wide(o: Json) -> list[Any]:
    names, images = containers_images((_spec(o).get("template") or {}).get("spec") or {})
    return [names, images]


def _deployment(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    cells = [
        _name(o),
        ready,
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(o, now),
    ]
    return [*cells, *_workload_wide(o), label_selector(spec.get("selector"))]


def _replica_set(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    cells = [_name(o), spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [*cells, _age(o, now), *_workload_wide(o), label_selector(spec.get("selector"))]


def _replication_controller(o: Json, now: datetime) -> list[Any]:
    cells = _replica_set(o, now)
    return [*cells[:-1], map_text(_spec(o).get("selector"))]


def _stateful_set(o: Json, now: datetime) -> list[Any]:
    ready = f"{_status(o).get('readyReplicas', 0)}/{_spec(o).get('replicas', 0)}"
    return [_name(o), ready, _age(o, now), *_workload_wide(o)]


def _daemon_set(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    numbers = [status.get(n, 0) for n in (*names, "numberAvailable")]
    selector = map_text(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector"))
    return [
        _name(o),
        *numbers,
        selector,
        _age(o, now),
        *_workload_wide(o),
        label_selector(spec.get("selector")),
    ]


def _job(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    elif (spec.get("parallelism") or 0) > 1:
        completions = f"{done}/1 of {spec['parallelism']}"
    else:
        completions = f"{done}/1"
    state = "Running"
    held = {c["type"] for c in status.get("conditions") or () if c.get("status") == "True"}
    for kind, text in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if kind in held:
            state = text
            break
    else:
        if o["metadata"].get("deletionTimestamp"):
            state = "Terminating"
    duration = ""
    if status.get("startTime"):
        until = datetime.fromisoformat(status["completionTime"]) if status.get("completionTime") else now
        duration = span((until - datetime.fromisoformat(status["startTime"])).total_seconds())
    selector = label_selector(spec.get("selector"))
    return [_name(o), state, completions, duration, _age(o, now), *_workload_wide(o), selector]


def _cron_job(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    last = age(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    template = (((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}).get("spec") or {}
    names, images = containers_images(template)
    suspend = "True" if spec.get("suspend") else "False"
    active = len(status.get("active") or ())
    zone = spec.get("timeZone") or NONE
    cells = [_name(o), spec.get("schedule"), zone, suspend, active, last, _age(o, now), names, images]
    return [*cells, label_selector(((spec.get("jobTemplate") or {}).get("spec") or {}).get("selector"))]


def _service(o: Json, now: datetime) -> list[Any]:
    spec = _spec(o)
    kind = spec.get("type", "ClusterIP")
    external = ",".join(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        points = (_status(o).get("loadBalancer") or {}).get("ingress") or ()
        found = [p.get("ip") or p.get("hostname") for p in points] + list(spec.get("externalIPs") or ())
        external = ",".join(str(f) for f in found) or "<pending>"
    elif kind == "ExternalName":
        external = spec.get("externalName", "")
    cluster = spec.get("clusterIP") or NONE
    ports = service_ports(spec.get("ports") or [])
    return [_name(o), kind, cluster, external or NONE, ports, _age(o, now), map_text(spec.get("selector"))]


def _node(o: Json, now: datetime) -> list[Any]:
    spec, status, labels = _spec(o), _status(o), o["metadata"].get("labels") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    text = "Unknown" if ready is None else ("Ready" if ready["status"] == "True" else "NotReady")
    if spec.get("unschedulable"):
        text += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix) and k != prefix)
    if labels.get("kubernetes.io/role"):
        roles.append(labels["kubernetes.io/role"])
    info = status.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    return [
        _name(o),
        text,
        ",".join(roles) or NONE,
        _age(o, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _event(o: Json, now: datetime) -> list[Any]:
    first = o.get("firstTimestamp") or o.get("eventTime")
    last = o.get("lastTimestamp")
    series = o.get("series") or {}
    count = o.get("count") or series.get("count") or 1
    if series.get("lastObservedTime"):
        last = series["lastObservedTime"]
    last = last or first
    source = o.get("source") or {}
    component = source.get("component") or o.get("reportingComponent") or ""
    host = source.get("host") or o.get("reportingInstance") or ""
    target = o.get("involvedObject") or {}
    about = str(target.get("kind", "")).lower()
    if target.get("name"):
        about += f"/{target['name']}"
    return [
        age(last, now),
        o.get("type", ""),
        o.get("reason", ""),
        about,
        target.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(o.get("message", "")).strip(),
        age(first, now),
        count,
        _name(o),
    ]


def _hpa(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    ref = spec.get("scaleTargetRef") or {}
    targets = hpa_targets(spec.get("metrics") or [], status.get("currentMetrics") or [])
    low = str(spec["minReplicas"]) if spec.get("minReplicas") is not None else UNSET
    replicas = status.get("currentReplicas", 0)
    return [
        _name(o),
        f"{ref.get('kind')}/{ref.get('name')}",
        targets,
        low,
        spec.get("maxReplicas"),
        replicas,
        _age(o, now),
    ]


def _budget(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    low = "N/A" if spec.get("minAvailable") is None else str(spec["minAvailable"])
    high = "N/A" if spec.get("maxUnavailable") is None else str(spec["maxUnavailable"])
    return [_name(o), low, high, status.get("disruptionsAllowed", 0), _age(o, now)]


def _quota(o: Json, now: datetime) -> list[Any]:
    status = _status(o)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    limits: list[str] = []
    requests: list[str] = []
    for name in sorted(hard):
        (limits if "limits" in name else requests).append(f"{name}: {used.get(name, 0)}/{hard[name]}")
    return [_name(o), ", ".join(requests), ", ".join(limits), _age(o, now)]


def _claim(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    phase = "Terminating" if o["metadata"].get("deletionTimestamp") else status.get("phase", "")
    volume = spec.get("volumeName") or ""
    capacity = str((status.get("capacity") or {}).get("storage", "")) if volume else ""
    modes = access_modes(status.get("accessModes")) if volume else ""
    storage_class = spec.get("storageClassName") or ""
    attributes = spec.get("volumeAttributesClassName") or UNSET
    mode = spec.get("volumeMode") or UNSET
    return [_name(o), phase, volume, capacity, modes, storage_class, attributes, _age(o, now), mode]


def _volume(o: Json, now: datetime) -> list[Any]:
    spec, status = _spec(o), _status(o)
    claim = spec.get("claimRef") or {}
    phase = "Terminating" if o["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return [
        _name(o),
        str((spec.get("capacity") or {}).get("storage", "")),
        access_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        _age(o, now),
        spec.get("volumeMode") or UNSET,
    ]


def _ingress(o: Json, now: datetime) -> list[Any]:
    spec = _spec(o)
    kind = spec.get("ingressClassName") or (o["metadata"].get("annotations") or {}).get(
        "kubernetes.io/ingress.class"
    )
    hosts = [r["host"] for r in spec.get("rules") or () if r.get("host")]
    shown = "*"
    if hosts:
        shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    points = (_status(o).get("loadBalancer") or {}).get("ingress") or ()
    address = ",".join(str(p.get("ip") or p.get("hostname") or "") for p in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [_name(o), kind or NONE, shown, address, ports, _age(o, now)]


def _endpoints(o: Json, now: datetime) -> list[Any]:
    found = []
    for subset in o.get("subsets") or ():
        for port in subset.get("ports") or [None]:
            for address in subset.get("addresses") or ():
                found.append(f"{address['ip']}:{port['port']}" if port else address["ip"])
    text = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [_name(o), text or NONE, _age(o, now)]


def _slice(o: Json, now: datetime) -> list[Any]:
    ports = [str(p.get("port")) for p in o.get("ports") or () if p.get("port") is not None]
    addresses = [a for e in o.get("endpoints") or () for a in e.get("addresses") or ()]

    def short(values: list[str]) -> str:
        return ",".join(values[:3]) + (f" + {len(values) - 3} more..." if len(values) > 3 else "")

    return [
        _name(o),
        o.get("addressType", ""),
        short(ports) or UNSET,
        short(addresses) or UNSET,
        _age(o, now),
    ]


def _binding(o: Json, now: datetime) -> list[Any]:
    ref = o.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in o.get("subjects") or ():
        name = subject["name"]
        if subject["kind"] == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        by_kind.setdefault(subject["kind"], []).append(name)
    users = [", ".join(by_kind[k]) for k in ("User", "Group", "ServiceAccount")]
    return [_name(o), f"{ref.get('kind')}/{ref.get('name')}", _age(o, now), *users]


def _storage_class(o: Json, now: datetime) -> list[Any]:
    name = _name(o)
    if (o["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true":
        name += " (default)"
    expansion = bool(o.get("allowVolumeExpansion"))
    mode = o.get("volumeBindingMode") or UNSET
    return [name, o.get("provisioner"), o.get("reclaimPolicy"), mode, expansion, _age(o, now)]


def _api_service(o: Json, now: datetime) -> list[Any]:
    service = _spec(o).get("service")
    where = f"{service['namespace']}/{service['name']}" if service else "Local"
    ready = next((c for c in _status(o).get("conditions") or () if c["type"] == "Available"), None)
    state = UNKNOWN if ready is None else str(ready["status"])
    if ready is not None and ready["status"] != "True":
        state += f" ({ready.get('reason', '')})"
    return [_name(o), where, state, _age(o, now)]


def _created(o: Json, now: datetime) -> list[Any]:
    del now
    return [_name(o), o["metadata"].get("creationTimestamp")]


def _plain(o: Json, now: datetime) -> list[Any]:
    return [_name(o), _age(o, now)]


def _controller_revision(o: Json, now: datetime) -> list[Any]:
    refs = o["metadata"].get("ownerReferences") or ()
    owner = next((r for r in refs if r.get("controller")), None)
    text = NONE
    if owner:
        group = str(owner["apiVersion"]).rpartition("/")[0]
        text = (
            f"{owner['kind'].lower()}.{group}/{owner['name']}"
            if group
            else f"{owner['kind'].lower()}/{owner['name']}"
        )
    return [_name(o), text, o.get("revision"), _age(o, now)]


def _pod_template(o: Json, now: datetime) -> list[Any]:
    del now
    template = o.get("template") or {}
    names, images = containers_images(template.get("spec") or {})
    return [_name(o), names, images, map_text((template.get("metadata") or {}).get("labels"))]


POD = (
    NAME,
    _s("Ready"),
    _s("Status"),
    _s("Restarts"),
    AGE,
    _s("IP", 1),
    _s("Node", 1),
    _s("Nominated Node", 1),
    _s("Readiness Gates", 1),
)
EVENT = (
    _s("Last Seen"),
    _s("Type"),
    _s("Reason"),
    _s("Object"),
    _s("Subobject", 1),
    _s("Source", 1),
    _s("Message"),
    _s("First Seen", 1),
    _s("Count", 1),
    ("Name", "string", "name", 1),
)
_I = "integer"
_NUMBERS = (_s("Desired", 0, _I), _s("Current", 0, _I), _s("Ready", 0, _I))
_UP = (_s("Up-to-date", 0, _I), _s("Available", 0, _I))
_WEBHOOKS = (
    (NAME, _s("Webhooks", 0, _I), AGE),
    lambda o, now: [_name(o), len(o.get("webhooks") or ()), _age(o, now)],
)
_BINDINGS = ((NAME, _s("Role"), AGE, _s("Users", 1), _s("Groups", 1), _s("ServiceAccounts", 1)), _binding)

KINDS: dict[tuple[str, str], tuple[tuple[Column, ...], Cells]] = {
    ("", "configmaps"): (
        (NAME, _s("Data"), AGE),
        lambda o, now: [_name(o), len(o.get("data") or ()) + len(o.get("binaryData") or ()), _age(o, now)],
    ),
    ("", "endpoints"): ((NAME, _s("Endpoints"), AGE), _endpoints),
    ("", "events"): (EVENT, _event),
    ("", "limitranges"): ((NAME, CREATED), _created),
    ("", "namespaces"): (
        (NAME, _s("Status"), AGE),
        lambda o, now: [_name(o), _status(o).get("phase", ""), _age(o, now)],
    ),
    ("", "nodes"): (
        (
            NAME,
            _s("Status"),
            _s("Roles"),
            AGE,
            _s("Version"),
            _s("Internal-IP", 1),
            _s("External-IP", 1),
            _s("OS-Image", 1),
            _s("Kernel-Version", 1),
            _s("Container-Runtime", 1),
        ),
        _node,
    ),
    ("", "persistentvolumeclaims"): (
        (
            NAME,
            _s("Status"),
            _s("Volume"),
            _s("Capacity"),
            _s("Access Modes"),
            _s("StorageClass"),
            _s("VolumeAttributesClass"),
            AGE,
            _s("VolumeMode", 1),
        ),
        _claim,
    ),
    ("", "persistentvolumes"): (
        (
            NAME,
            _s("Capacity"),
            _s("Access Modes"),
            _s("Reclaim Policy"),
            _s("Status"),
            _s("Claim"),
            _s("StorageClass"),
            _s("VolumeAttributesClass"),
            _s("Reason"),
            AGE,
            _s("VolumeMode", 1),
        ),
        _volume,
    ),
    ("", "pods"): (POD, pod_cells),
    ("", "podtemplates"): ((NAME, _s("Containers"), _s("Images"), _s("Pod Labels")), _pod_template),
    ("", "replicationcontrollers"): ((NAME, *_NUMBERS, AGE, *WIDE), _replication_controller),
    ("", "resourcequotas"): ((NAME, _s("Request"), _s("Limit"), AGE), _quota),
    ("", "secrets"): (
        (NAME, _s("Type"), _s("Data"), AGE),
        lambda o, now: [_name(o), o.get("type", ""), len(o.get("data") or ()), _age(o, now)],
    ),
    ("", "serviceaccounts"): (
        (NAME, _s("Secrets"), AGE),
        lambda o, now: [_name(o), len(o.get("secrets") or ()), _age(o, now)],
    ),
    ("", "services"): (
        (NAME, _s("Type"), _s("Cluster-IP"), _s("External-IP"), _s("Port(s)"), AGE, _s("Selector", 1)),
        _service,
    ),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): _WEBHOOKS,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): _WEBHOOKS,
    ("apiextensions.k8s.io", "customresourcedefinitions"): ((NAME, CREATED), _created),
    ("apiregistration.k8s.io", "apiservices"): ((NAME, _s("Service"), _s("Available"), AGE), _api_service),
    ("apps", "controllerrevisions"): ((NAME, _s("Controller"), _s("Revision"), AGE), _controller_revision),
    ("apps", "daemonsets"): ((NAME, *_NUMBERS, *_UP, _s("Node Selector"), AGE, *WIDE), _daemon_set),
    ("apps", "deployments"): ((NAME, _s("Ready"), *_UP, AGE, *WIDE), _deployment),
    ("apps", "replicasets"): ((NAME, *_NUMBERS, AGE, *WIDE), _replica_set),
    ("apps", "statefulsets"): ((NAME, _s("Ready"), AGE, *WIDE[:2]), _stateful_set),
    ("autoscaling", "horizontalpodautoscalers"): (
        (NAME, _s("Reference"), _s("Targets"), _s("MinPods"), _s("MaxPods"), _s("Replicas"), AGE),
        _hpa,
    ),
    ("batch", "cronjobs"): (
        (
            NAME,
            _s("Schedule"),
            _s("Timezone"),
            _s("Suspend", 0, "boolean"),
            _s("Active", 0, _I),
            _s("Last Schedule"),
            AGE,
            *WIDE,
        ),
        _cron_job,
    ),
    ("batch", "jobs"): ((NAME, _s("Status"), _s("Completions"), _s("Duration"), AGE, *WIDE), _job),
    ("coordination.k8s.io", "leases"): (
        (NAME, _s("Holder"), AGE),
        lambda o, now: [_name(o), _spec(o).get("holderIdentity", ""), _age(o, now)],
    ),
    ("discovery.k8s.io", "endpointslices"): (
        (NAME, _s("AddressType"), _s("Ports"), _s("Endpoints"), AGE),
        _slice,
    ),
    ("networking.k8s.io", "ingressclasses"): (
        (NAME, _s("Controller"), _s("Parameters"), AGE),
        lambda o, now: [_name(o), _spec(o).get("controller", ""), NONE, _age(o, now)],
    ),
    ("networking.k8s.io", "ingresses"): (
        (NAME, _s("Class"), _s("Hosts"), _s("Address"), _s("Ports"), AGE),
        _ingress,
    ),
    ("networking.k8s.io", "networkpolicies"): (
        (NAME, _s("Pod-Selector"), AGE),
        lambda o, now: [_name(o), label_selector(_spec(o).get("podSelector")), _age(o, now)],
    ),
    ("node.k8s.io", "runtimeclasses"): (
        (NAME, _s("Handler"), AGE),
        lambda o, now: [_name(o), o.get("handler", ""), _age(o, now)],
    ),
    ("policy", "poddisruptionbudgets"): (
        (NAME, _s("Min Available"), _s("Max Unavailable"), _s("Allowed Disruptions", 0, _I), AGE),
        _budget,
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDINGS,
    ("rbac.authorization.k8s.io", "clusterroles"): ((NAME, CREATED), _created),
    ("rbac.authorization.k8s.io", "rolebindings"): _BINDINGS,
    ("rbac.authorization.k8s.io", "roles"): ((NAME, CREATED), _created),
    ("scheduling.k8s.io", "priorityclasses"): (
        (NAME, _s("Value", 0, _I), _s("Global-Default", 0, "boolean"), AGE, _s("PreemptionPolicy")),
        lambda o, now: [
            _name(o),
            o.get("value", 0),
            bool(o.get("globalDefault")),
            _age(o, now),
            o.get("preemptionPolicy", ""),
        ],
    ),
    ("storage.k8s.io", "storageclasses"): (
        (
            NAME,
            _s("Provisioner"),
            _s("ReclaimPolicy"),
            _s("VolumeBindingMode"),
            _s("AllowVolumeExpansion"),
            AGE,
        ),
        _storage_class,
    ),
}


def of(resource: Resource) -> tuple[tuple[Column, ...], Cells]:
    """Columns and the function that fills them; name and age for a kind that has no printer."""
    return KINDS.get(resource.key, ((NAME, AGE), _plain))


def utc_now() -> datetime:
    """Now, for callers that print a single row."""
    return datetime.now(UTC)
