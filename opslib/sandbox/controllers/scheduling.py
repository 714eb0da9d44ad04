"""Which node a pod may run on, and why not; no I/O.

Source: kubernetes pkg/scheduler/framework/plugins (v1.32): the default filters in their order, their texts,
and FitError's message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opslib.sandbox.client import Manifest
from opslib.sandbox.controllers.objects import matches, millis, requests_of

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
RESOURCE_NAMES = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "ephemeral-storage"}


@dataclass
class NodeState:
    """A node and the pods that occupy it."""

    node: Manifest
    pods: list[Manifest] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.node["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.node["metadata"].get("labels") or {})

    def add(self, pod: Manifest) -> None:
        self.pods.append(pod)
        for name, value in requests_of(pod).items():
            self.used[name] = self.used.get(name, 0) + value


@dataclass(frozen=True)
class Rejection:
    """Why a node is out; `resolvable` when removing pods from it could help (preemption)."""

    reasons: tuple[str, ...]
    resolvable: bool


def tolerates(pod: Manifest, taint: Mapping[str, Any]) -> bool:
    """Whether one of a pod's tolerations matches a taint (v1helper.TolerationsTolerateTaint)."""
    for toleration in pod["spec"].get("tolerations") or []:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        if toleration.get("key") and toleration["key"] != taint.get("key"):
            continue
        if toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def untolerated(pod: Manifest, node: Manifest, effects: set[str]) -> Mapping[str, Any] | None:
    """The first taint with one of these effects that the pod does not tolerate."""
    for taint in node["spec"].get("taints") or []:
        if taint.get("effect") in effects and not tolerates(pod, taint):
            found: Mapping[str, Any] = taint
            return found
    return None


def node_term_matches(term: Manifest, node: Manifest) -> bool:
    """One nodeSelectorTerm; an empty one matches nothing."""
    expressions = term.get("matchExpressions") or []
    fields = term.get("matchFields") or []
    if not expressions and not fields:
        return False
    by_label = matches({"matchExpressions": expressions}, node["metadata"].get("labels"))
    by_field = matches({"matchExpressions": fields}, {"metadata.name": node["metadata"]["name"]})
    return by_label and by_field


def fits_affinity(pod: Manifest, node: Manifest) -> bool:
    """nodeSelector and the required nodeAffinity."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(node_term_matches(term, node) for term in required.get("nodeSelectorTerms") or [])


def _terms(pod: Manifest, kind: str) -> list[Manifest]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or [])


def _selects(term: Manifest, owner: Manifest, other: Manifest) -> bool:
    namespaces = term.get("namespaces") or [owner["metadata"]["namespace"]]
    if term.get("namespaceSelector") == {}:
        namespaces = [other["metadata"]["namespace"]]
    return other["metadata"]["namespace"] in namespaces and matches(
        term.get("labelSelector"), other["metadata"].get("labels")
    )


class Cluster:
    """All nodes with their pods, as one scheduling attempt sees them."""

    def __init__(self, nodes: list[Manifest], pods: list[Manifest], assumed: Mapping[str, str]) -> None:
        self.nodes = {node["metadata"]["name"]: NodeState(node) for node in nodes}
        for pod in pods:
            name = pod["spec"].get("nodeName") or assumed.get(pod["metadata"]["uid"])
            if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
                continue
            if name in self.nodes:
                self.nodes[name].add(pod)

    def _domain(self, key: str, value: str) -> list[Manifest]:
        return [p for s in self.nodes.values() if s.labels.get(key) == value for p in s.pods]

    def check(self, pod: Manifest, state: NodeState) -> Rejection | None:
        """None when the pod may run there, else why not: the first filter's reasons."""
        node = state.node
        wanted = pod["spec"].get("nodeName")
        if wanted and wanted != state.name:
            return Rejection(("node(s) didn't match the requested node name",), False)
        cordon = {"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}
        if node["spec"].get("unschedulable") and not tolerates(pod, cordon):
            return Rejection(("node(s) were unschedulable",), False)
        taint = untolerated(pod, node, {"NoSchedule", "NoExecute"})
        if taint is not None:
            text = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
            return Rejection((text,), False)
        if not fits_affinity(pod, node):
            return Rejection(("node(s) didn't match Pod's node affinity/selector",), False)
        reasons = self._resources(pod, state)
        if reasons:
            return Rejection(tuple(reasons), True)
        return self._spread(pod, state) or self._inter_pod(pod, state)

    def _resources(self, pod: Manifest, state: NodeState) -> list[str]:
        free = (state.node.get("status") or {}).get("allocatable") or {}
        reasons = []
        if len(state.pods) + 1 > int(free.get("pods", 110)):
            reasons.append("Too many pods")
        for name, value in requests_of(pod).items():
            if value and value > millis(free.get(name, "0")) - state.used.get(name, 0):
                reasons.append(f"Insufficient {name}")
        return reasons

    def _spread(self, pod: Manifest, state: NodeState) -> Rejection | None:
        for rule in pod["spec"].get("topologySpreadConstraints") or []:
            if rule.get("whenUnsatisfiable", "DoNotSchedule") != "DoNotSchedule":
                continue
            key = rule["topologyKey"]
            if key not in state.labels:
                text = "node(s) didn't match pod topology spread constraints (missing required label)"
                return Rejection((text,), False)
            counts: dict[str, int] = {}
            for other in self.nodes.values():
                if key in other.labels and fits_affinity(pod, other.node):
                    counts.setdefault(other.labels[key], 0)
                    counts[other.labels[key]] += sum(
                        1
                        for p in other.pods
                        if p["metadata"]["namespace"] == pod["metadata"]["namespace"]
                        and matches(rule.get("labelSelector"), p["metadata"].get("labels"))
                    )
            if counts.get(state.labels[key], 0) + 1 - min(counts.values(), default=0) > int(rule["maxSkew"]):
                return Rejection(("node(s) didn't match pod topology spread constraints",), True)
        return None

    def _inter_pod(self, pod: Manifest, state: NodeState) -> Rejection | None:
        for term in _terms(pod, "podAffinity"):
            value = state.labels.get(term["topologyKey"])
            present = [p for s in self.nodes.values() for p in s.pods if _selects(term, pod, p)]
            if not present and _selects(term, pod, pod) and value is not None:
                continue  # the first of its kind may go anywhere
            domain = self._domain(term["topologyKey"], value) if value is not None else []
            if not any(_selects(term, pod, p) for p in domain):
                return Rejection(("node(s) didn't match pod affinity rules",), False)
        for term in _terms(pod, "podAntiAffinity"):
            value = state.labels.get(term["topologyKey"])
            if value is not None and any(
                _selects(term, pod, p) for p in self._domain(term["topologyKey"], value)
            ):
                return Rejection(("node(s) didn't match pod anti-affinity rules",), True)
        for other in self.nodes.values():
            for existing in other.pods:
                for term in _terms(existing, "podAntiAffinity"):
                    key = term["topologyKey"]
                    same = key in state.labels and state.labels.get(key) == other.labels.get(key)
                    if same and _selects(term, existing, pod):
                        text = "node(s) didn't satisfy existing pods anti-affinity rules"
                        return Rejection((text,), True)
        return None

    def score(self, pod: Manifest, state: NodeState) -> float:
        """Higher is better: emptier, preferred by affinity, away from pods to avoid, away from siblings."""
        free = (state.node.get("status") or {}).get("allocatable") or {}
        share = []
        for name in ("cpu", "memory"):
            capacity = millis(free.get(name, "0"))
            if capacity:
                wanted = state.used.get(name, 0) + requests_of(pod).get(name, 0)
                share.append(1 - wanted / capacity)
        total = sum(share) / len(share) * 100 if share else 0.0
        affinity = pod["spec"].get("affinity") or {}
        preferred = "preferredDuringSchedulingIgnoredDuringExecution"
        for entry in (affinity.get("nodeAffinity") or {}).get(preferred) or []:
            if node_term_matches(entry.get("preference") or {}, state.node):
                total += 100 * entry["weight"] / 100
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
            for entry in (affinity.get(kind) or {}).get(preferred) or []:
                term = entry["podAffinityTerm"]
                value = state.labels.get(term["topologyKey"])
                if value is not None and any(
                    _selects(term, pod, p) for p in self._domain(term["topologyKey"], value)
                ):
                    total += sign * 100 * entry["weight"] / 100
        if untolerated(pod, state.node, {"PreferNoSchedule"}) is not None:
            total -= 100
        owner = _owner_uid(pod)
        if owner:
            # the default topology spread: siblings on other nodes
            total -= 50 * sum(1 for p in state.pods if _owner_uid(p) == owner)
        return total

    def place(self, pod: Manifest) -> tuple[str | None, str]:
        """(node, '') or (None, FitError's message)."""
        rejections: list[Rejection] = []
        best: tuple[float, str] | None = None
        for state in sorted(self.nodes.values(), key=lambda s: s.name):
            rejection = self.check(pod, state)
            if rejection is not None:
                rejections.append(rejection)
                continue
            score = self.score(pod, state)
            if best is None or score > best[0]:
                best = (score, state.name)
        if best is not None:
            return best[1], ""
        return None, fit_error(len(self.nodes), rejections)


def _owner_uid(pod: Manifest) -> str:
    for reference in pod["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return str(reference.get("uid", ""))
    return ""


def fit_error(total: int, rejections: list[Rejection]) -> str:
    """framework.FitError.Error with the preemption part, as kubectl describe shows it."""
    if total == 0:
        return "no nodes available to schedule pods"
    counts: dict[str, int] = {}
    for rejection in rejections:
        for reason in rejection.reasons:
            counts[reason] = counts.get(reason, 0) + 1
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    helpless = sum(1 for r in rejections if not r.resolvable)
    parts = []
    if len(rejections) - helpless:
        parts.append(f"{len(rejections) - helpless} No preemption victims found for incoming pod")
    if helpless:
        parts.append(f"{helpless} Preemption is not helpful for scheduling")
    preemption = ", ".join(sorted(parts))
    return (
        f"0/{total} nodes are available: {reasons}. preemption: 0/{total} nodes are available: {preemption}."
    )
