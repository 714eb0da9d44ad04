"""Defaulting: the fields a genuine server fills in and clients read back.

Source: k8s.io/kubernetes/pkg/apis/{core,apps,batch,autoscaling,networking,policy,rbac}/v1/defaults.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from opslib.sandbox.api.errors import Json

_MODE = 420  # 0644


def apply(group: str, kind: str, obj: Json) -> None:
    """Fill defaults into an object of a stored kind, in place."""
    if found := _BY_KIND.get((group, kind)):
        found(obj)


def _fill(target: Json, **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def _probe(probe: Json | None) -> None:
    if not probe:
        return
    _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if get := probe.get("httpGet"):
        _fill(get, path="/", scheme="HTTP")
    if isinstance(probe.get("grpc"), dict):
        _fill(probe["grpc"], service="")


def image_tag(image: str) -> str:
    """The tag of an image reference; "latest" when there is neither tag nor digest."""
    if "@" in image:
        return "digest"
    last = image.rsplit("/", 1)[-1]
    return last.split(":", 1)[1] if ":" in last else "latest"


def _container(c: Json) -> None:
    _fill(c, resources={}, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    if c.get("imagePullPolicy") is None:
        c["imagePullPolicy"] = "Always" if image_tag(str(c.get("image", ""))) == "latest" else "IfNotPresent"
    for port in c.get("ports") or ():
        _fill(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        _probe(c.get(name))
    for env in c.get("env") or ():
        ref = (env.get("valueFrom") or {}).get("fieldRef")
        if ref:
            _fill(ref, apiVersion="v1")
    for hook in (c.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            _fill(hook["httpGet"], path="/", scheme="HTTP")
    limits = (c.get("resources") or {}).get("limits") or {}
    if limits:
        requests = c["resources"].setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)


def pod_spec(spec: Json) -> None:
    """Defaults of a pod's spec, alone or in a template."""
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for c in spec.get(name) or ():
            _container(c)
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes") or ():
        for name in ("configMap", "secret", "projected", "downwardAPI"):
            if isinstance(volume.get(name), dict):
                _fill(volume[name], defaultMode=_MODE)
        if isinstance(volume.get("hostPath"), dict):
            _fill(volume["hostPath"], type="")
        if len([k for k in volume if k != "name"]) == 0:
            volume["emptyDir"] = {}
    for constraint in spec.get("topologySpreadConstraints") or ():
        _fill(constraint, whenUnsatisfiable="DoNotSchedule")


def _template(template: Json | None) -> None:
    if template is not None:
        template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        pod_spec(template.setdefault("spec", {}))


def _pod(obj: Json) -> None:
    pod_spec(obj.setdefault("spec", {}))
    _fill(obj["spec"], enableServiceLinks=True)


def _deployment(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec.get("template"))
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    strategy = spec["strategy"]
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        _fill(rolling, maxUnavailable="25%", maxSurge="25%")


def _replica_set(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec.get("template"))
    _fill(spec, replicas=1)
    if not spec.get("selector") and (spec.get("template") or {}).get("metadata", {}).get("labels"):
        spec.setdefault("selector", {"matchLabels": dict(spec["template"]["metadata"]["labels"])})


def _stateful_set(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec.get("template"))
    _fill(
        spec,
        replicas=1,
        revisionHistoryLimit=10,
        podManagementPolicy="OrderedReady",
        updateStrategy={},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"},
    )
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={"partition": 0})
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        _fill(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        _fill(claim.setdefault("spec", {}), volumeMode="Filesystem")


def _daemon_set(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec.get("template"))
    _fill(spec, revisionHistoryLimit=10, updateStrategy={})
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], maxUnavailable=1, maxSurge=0)


def _job_spec(spec: Json) -> None:
    _template(spec.get("template"))
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="TerminatingOrFailed",
    )


def _job(obj: Json) -> None:
    _job_spec(obj.setdefault("spec", {}))


def _cron_job(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _fill(
        spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1
    )
    template = spec.get("jobTemplate")
    if template is not None:
        template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        inner = template.setdefault("spec", {})
        _template(inner.get("template"))


def _service(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _fill(spec, allocateLoadBalancerNodePorts=True)
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    obj.setdefault("status", {"loadBalancer": {}})


def _secret(obj: Json) -> None:
    _fill(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    for key, value in (plain or {}).items():
        obj.setdefault("data", {})
        if obj["data"] is None:
            obj["data"] = {}
        obj["data"][key] = base64.b64encode(str(value).encode()).decode()


def _hpa(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior:
        up, down = behavior.get("scaleUp"), behavior.get("scaleDown")
        if up is not None or down is not None:
            up = behavior.setdefault("scaleUp", {})
            _fill(up, stabilizationWindowSeconds=0, selectPolicy="Max")
            _fill(
                up,
                policies=[
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ],
            )
            down = behavior.setdefault("scaleDown", {})
            _fill(down, selectPolicy="Max", policies=[{"type": "Percent", "value": 100, "periodSeconds": 15}])


def _pvc(obj: Json) -> None:
    _fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    _fill(obj.setdefault("status", {}), phase="Pending")


def _pv(obj: Json) -> None:
    _fill(obj.setdefault("spec", {}), persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    _fill(obj.setdefault("status", {}), phase="Pending")


def _namespace(obj: Json) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    _fill(obj.setdefault("status", {}), phase="Active")
    labels = obj["metadata"].get("labels") or {}
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    obj["metadata"]["labels"] = labels


def _network_policy(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress"] + (["Egress"] if spec.get("egress") else [])
    for rule in (spec.get("ingress") or []) + (spec.get("egress") or []):
        for port in (rule or {}).get("ports") or ():
            _fill(port, protocol="TCP")


def _binding(obj: Json) -> None:
    ref = obj.get("roleRef") or {}
    _fill(ref, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup="rbac.authorization.k8s.io")


def _limit_range(obj: Json) -> None:
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        default = item.setdefault("default", {})
        for name, value in (item.get("max") or {}).items():
            default.setdefault(name, value)
        request = item.setdefault("defaultRequest", {})
        for source in (default, item.get("min") or {}):
            for name, value in source.items():
                request.setdefault(name, value)


def _storage_class(obj: Json) -> None:
    _fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _event(obj: Json) -> None:
    _fill(obj, source={}, firstTimestamp=None, lastTimestamp=None, eventTime=None, reportingComponent="")
    _fill(obj, reportingInstance="")


def _crd(obj: Json) -> None:
    names = obj["spec"].setdefault("names", {})
    kind = str(names.get("kind", ""))
    _fill(names, listKind=f"{kind}List", singular=kind.lower())
    _fill(obj["spec"], conversion={"strategy": "None"})


def _priority_class(obj: Json) -> None:
    _fill(obj, preemptionPolicy="PreemptLowerPriority")


_BY_KIND: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Pod"): _pod,
    ("", "PodTemplate"): lambda o: _template(o.get("template")),
    ("", "ReplicationController"): lambda o: _template(o.setdefault("spec", {}).get("template")),
    ("", "Service"): _service,
    ("", "Secret"): _secret,
    ("", "PersistentVolumeClaim"): _pvc,
    ("", "PersistentVolume"): _pv,
    ("", "Namespace"): _namespace,
    ("", "LimitRange"): _limit_range,
    ("", "Event"): _event,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): _hpa,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd,
}
