"""Protobuf bodies, as kubectl's create commands, autoscale, auth can-i and drain send them.

Only what those commands can fill in is known here (the field numbers of k8s.io/api's wire format). A message with a
field that is not in the table is refused with 415, never half read. Answers are always JSON, which clients accept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api.errors import ApiError, Json, bad_request, unsupported_media_type

MAGIC = b"k8s\x00"

# One line a message: NUMBER NAME TYPE. Types: string, bytes, int, bool (absent when zero), int? and bool? (pointers:
# zero is a value), time, quantity, intstr, skip (dropped: a status), a message's name; [] for repeated, {} for maps.
_MESSAGES = """
ObjectMeta: 1 name string, 2 generateName string, 3 namespace string, 4 selfLink skip, 5 uid string,
    6 resourceVersion string, 7 generation skip, 8 creationTimestamp skip, 9 deletionTimestamp skip,
    10 deletionGracePeriodSeconds skip, 11 labels {}string, 12 annotations {}string, 13 ownerReferences []OwnerReference,
    14 finalizers []string
OwnerReference: 1 kind string, 3 name string, 4 uid string, 5 apiVersion string, 6 controller bool?,
    7 blockOwnerDeletion bool?
LabelSelector: 1 matchLabels {}string, 2 matchExpressions []LabelSelectorRequirement
LabelSelectorRequirement: 1 key string, 2 operator string, 3 values []string
Namespace: 1 metadata ObjectMeta, 2 spec skip, 3 status skip
ConfigMap: 1 metadata ObjectMeta, 2 data {}string, 3 binaryData {}bytes, 4 immutable bool?
Secret: 1 metadata ObjectMeta, 2 data {}bytes, 3 type string, 4 stringData {}string, 5 immutable bool?
ServiceAccount: 1 metadata ObjectMeta, 4 automountServiceAccountToken bool?
ResourceQuota: 1 metadata ObjectMeta, 2 spec ResourceQuotaSpec, 3 status skip
ResourceQuotaSpec: 1 hard {}quantity, 2 scopes []string
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status skip
ServiceSpec: 1 ports []ServicePort, 2 selector {}string, 3 clusterIP string, 4 type string, 5 externalIPs []string,
    7 sessionAffinity string, 8 loadBalancerIP string, 9 loadBalancerSourceRanges []string, 10 externalName string,
    11 externalTrafficPolicy string, 12 healthCheckNodePort int, 13 publishNotReadyAddresses bool, 18 clusterIPs []string
ServicePort: 1 name string, 2 protocol string, 3 port int, 4 targetPort intstr, 5 nodePort int, 6 appProtocol string
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status skip
DeploymentSpec: 1 replicas int?, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy,
    5 minReadySeconds int, 6 revisionHistoryLimit int?, 7 paused bool, 9 progressDeadlineSeconds int?
DeploymentStrategy: 1 type string, 2 rollingUpdate RollingUpdateDeployment
RollingUpdateDeployment: 1 maxUnavailable intstr, 2 maxSurge intstr
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PodSpec: 2 containers []Container, 3 restartPolicy string, 4 terminationGracePeriodSeconds int?,
    5 activeDeadlineSeconds int?, 6 dnsPolicy string, 7 nodeSelector {}string, 8 serviceAccountName string,
    9 serviceAccount string, 10 nodeName string, 11 hostNetwork bool, 12 hostPID bool, 13 hostIPC bool,
    16 hostname string, 17 subdomain string, 19 schedulerName string, 24 priorityClassName string, 25 priority int?,
    30 enableServiceLinks bool?
Container: 1 name string, 2 image string, 3 command []string, 4 args []string, 5 workingDir string,
    6 ports []ContainerPort, 7 env []EnvVar, 8 resources ResourceRequirements, 13 terminationMessagePath string,
    14 imagePullPolicy string, 16 stdin bool, 17 stdinOnce bool, 18 tty bool, 20 terminationMessagePolicy string
ContainerPort: 1 name string, 2 hostPort int, 3 containerPort int, 4 protocol string, 5 hostIP string
EnvVar: 1 name string, 2 value string
ResourceRequirements: 1 limits {}quantity, 2 requests {}quantity
Job: 1 metadata ObjectMeta, 2 spec JobSpec, 3 status skip
JobSpec: 1 parallelism int?, 2 completions int?, 3 activeDeadlineSeconds int?, 4 selector LabelSelector,
    5 manualSelector bool?, 6 template PodTemplateSpec, 7 backoffLimit int?, 8 ttlSecondsAfterFinished int?,
    9 completionMode string, 10 suspend bool?, 14 podReplacementPolicy string
CronJob: 1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status skip
CronJobSpec: 1 schedule string, 2 startingDeadlineSeconds int?, 3 concurrencyPolicy string, 4 suspend bool?,
    5 jobTemplate JobTemplateSpec, 6 successfulJobsHistoryLimit int?, 7 failedJobsHistoryLimit int?, 8 timeZone string
JobTemplateSpec: 1 metadata ObjectMeta, 2 spec JobSpec
CrossVersionObjectReference: 1 kind string, 2 name string, 3 apiVersion string
HorizontalPodAutoscaler/v1: 1 metadata ObjectMeta, 2 spec HorizontalPodAutoscalerSpec/v1, 3 status skip
HorizontalPodAutoscalerSpec/v1: 1 scaleTargetRef CrossVersionObjectReference, 2 minReplicas int?, 3 maxReplicas int,
    4 targetCPUUtilizationPercentage int?
HorizontalPodAutoscaler/v2: 1 metadata ObjectMeta, 2 spec HorizontalPodAutoscalerSpec/v2, 3 status skip
HorizontalPodAutoscalerSpec/v2: 1 scaleTargetRef CrossVersionObjectReference, 2 minReplicas int?, 3 maxReplicas int,
    4 metrics []MetricSpec
MetricSpec: 1 type string, 4 resource ResourceMetricSource
ResourceMetricSource: 1 name string, 2 target MetricTarget
MetricTarget: 1 type string, 2 value quantity, 3 averageValue quantity, 4 averageUtilization int?
Role: 1 metadata ObjectMeta, 2 rules []PolicyRule
ClusterRole: 1 metadata ObjectMeta, 2 rules []PolicyRule
PolicyRule: 1 verbs []string, 2 apiGroups []string, 3 resources []string, 4 resourceNames []string,
    5 nonResourceURLs []string
RoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
Subject: 1 kind string, 2 apiGroup string, 3 name string, 4 namespace string
RoleRef: 1 apiGroup string, 2 kind string, 3 name string
PriorityClass: 1 metadata ObjectMeta, 2 value int, 3 globalDefault bool, 4 description string, 5 preemptionPolicy string
PodDisruptionBudget: 1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status skip
PodDisruptionBudgetSpec: 1 minAvailable intstr, 2 selector LabelSelector, 3 maxUnavailable intstr
Eviction: 1 metadata ObjectMeta, 2 deleteOptions DeleteOptions
DeleteOptions: 1 gracePeriodSeconds int?, 2 preconditions Preconditions, 3 orphanDependents bool?,
    4 propagationPolicy string, 5 dryRun []string
Preconditions: 1 uid string, 2 resourceVersion string
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SubjectAccessReviewSpec, 3 status skip
SubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes
ResourceAttributes: 1 namespace string, 2 verb string, 3 group string, 4 version string, 5 resource string,
    6 subresource string, 7 name string
NonResourceAttributes: 1 path string, 2 verb string
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec SelfSubjectRulesReviewSpec, 3 status skip
SelfSubjectRulesReviewSpec: 1 namespace string
SelfSubjectReview: 1 metadata ObjectMeta, 2 status skip
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status skip
TokenRequestSpec: 1 audiences []string, 4 expirationSeconds int?
"""

Field = tuple[str, str]


def _table(text: str) -> dict[str, dict[int, Field]]:
    found: dict[str, dict[int, Field]] = {}
    for line in text.replace("\n    ", " ").strip().splitlines():
        name, _, fields = line.partition(": ")
        rows = [f.split() for f in fields.split(",")]
        found[name] = {int(number): (field, kind) for number, field, kind in rows}
    return found


MESSAGES = _table(_MESSAGES)


class _UnknownFieldError(Exception):
    pass


def decode(data: bytes) -> Json:
    """A body with Kubernetes' protobuf envelope as JSON data. Raises ApiError 415 for what is not known here."""
    if not data.startswith(MAGIC):
        raise bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = dict(_fields(data[len(MAGIC) :]))
        described = dict(_fields(_as_bytes(envelope.get(1, b""))))
        api_version = _as_bytes(described.get(1, b"")).decode()
        kind = _as_bytes(described.get(2, b"")).decode()
        name = kind if kind in MESSAGES else f"{kind}/{api_version.rpartition('/')[2]}"
        if name not in MESSAGES:
            raise _refused(kind)
        body = _message(name, _as_bytes(envelope.get(2, b"")))
    except (IndexError, UnicodeDecodeError, ValueError):
        raise bad_request("the body is not a valid protobuf message") from None
    except _UnknownFieldError as error:
        raise _refused(f"{kind} ({error})") from None
    return {"apiVersion": api_version, "kind": kind, **body}


def _refused(what: str) -> ApiError:
    error = unsupported_media_type(["application/json", "application/yaml"])
    error.message += (
        f" (this server cannot read {what} as protobuf: send JSON or YAML, as kubectl apply does)"
    )
    return error


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a message was expected")  # noqa: TRY004 (bad data, not a bad argument)
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number - (1 << 64) if number >= 1 << 63 else number
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("cut short")
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _message(name: str, data: bytes) -> Json:
    known, out = MESSAGES[name], dict[str, Any]()
    for number, raw in _fields(data):
        if number not in known:
            raise _UnknownFieldError(f"field {number} of {name.partition('/')[0]}")
        field, kind = known[number]
        if kind.startswith("[]"):
            out.setdefault(field, []).append(_value(kind[2:], raw))
        elif kind.startswith("{}"):
            pair = dict(_fields(_as_bytes(raw)))
            key = _as_bytes(pair.get(1, b"")).decode()
            out.setdefault(field, {})[key] = _value(kind[2:], pair.get(2, b""))
        elif kind != "skip":
            value = _value(kind.removesuffix("?"), raw)
            # values that Go does not keep behind a pointer are always sent; zero means that they were not set
            if kind.endswith("?") or kind[0].isupper() or value not in ("", 0, False):
                out[field] = value
    return out


def _value(kind: str, raw: int | bytes) -> Any:
    if kind == "int":
        return int(raw) if isinstance(raw, int) else 0
    if kind == "bool":
        return bool(raw)
    data = _as_bytes(raw)
    if kind == "string":
        return data.decode()
    if kind == "bytes":
        return base64.b64encode(data).decode()
    inner = dict(_fields(data)) if kind in ("quantity", "intstr", "time") else {}
    if kind == "quantity":
        return _as_bytes(inner.get(1, b"")).decode() or "0"
    if kind == "intstr":
        return _as_bytes(inner.get(3, b"")).decode() if inner.get(1) == 1 else int(inner.get(2, 0))
    if kind == "time":
        return datetime.fromtimestamp(int(inner.get(1, 0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _message(kind, data)
