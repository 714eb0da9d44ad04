"""Could this many replicas of a Deployment be placed? A pure function over frames (defects A4, G7, B6).

Looked at: the autoscaler's maximum, the quota, the nodes that the pod may go to (selector, required node affinity,
taints, room, required anti-affinity), and the database's connections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame
from opslib.cluster.kinds import limits_of, requests_of

if TYPE_CHECKING:
    import pandas as pd

Json = Any
HOSTNAME = "kubernetes.io/hostname"
DATABASE_SHARE = 0.8  # of the usable connections; PLATFORM.md 7.1 B6


def headroom(
    deployment: Json,
    replicas: int,
    *,
    nodes: pd.DataFrame,
    quotas: pd.DataFrame,
    hpas: pd.DataFrame,
    pods: pd.DataFrame,
    connections_per_pod: int = 0,
    database: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row a limit: how many replicas it allows, how many are needed, and why.

    `deployment` is the Deployment object; the frames are those of the Cluster reads of the same name; `database` holds
    `usable` and `used` connections. Columns: limit (str), allows, needed (pods; allows is None when the limit could not
    be judged), ok (True, False, None for unknown), why (str).
    """
    name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
    running = int((pods["deployment"] == name).sum()) if len(pods) else 0
    extra = max(0, replicas - running)
    rows = [_autoscaler(name, replicas, hpas)]
    rows += _quota(template["spec"], replicas, running, quotas)
    rows.append(_nodes(template, replicas, running, nodes, pods, name))
    if connections_per_pod:
        rows.append(_database(replicas, extra, running, connections_per_pod, database))
    return frame("headroom", COLUMNS["headroom"], [row for row in rows if row])


def _row(limit: str, allows: int | None, needed: int, why: str) -> dict[str, Any]:
    ok = None if allows is None else allows >= needed
    return {"limit": limit, "allows": allows, "needed": needed, "ok": ok, "why": why}


def _autoscaler(name: str, replicas: int, hpas: pd.DataFrame) -> dict[str, Any] | None:
    mine = hpas[hpas["deployment"] == name]
    if mine.empty:
        return None
    top, low = int(mine.iloc[0]["max"]), int(mine.iloc[0]["min"])
    return _row("autoscaler", top, replicas, f"HPA {mine.iloc[0]['hpa']} keeps {low} to {top} replicas")


def _quota(spec: Json, replicas: int, running: int, quotas: pd.DataFrame) -> list[dict[str, Any]]:
    costs = {"pods": 1.0}
    for resource in ("cpu", "memory"):
        costs[f"requests.{resource}"] = costs[resource] = requests_of(spec, resource)
        costs[f"limits.{resource}"] = limits_of(spec, resource)
    rows = []
    for entry in quotas.to_dict("records"):
        cost = costs.get(str(entry["resource"]), 0.0)
        if cost > 0:
            free = float(entry["free"])
            allows = running + max(0, math.floor(free / cost + 1e-9))
            why = f"{entry['quota']}: {free:g} of {entry['hard']:g} free, {cost:g} a pod"
            rows.append(_row(f"quota {entry['resource']}", allows, replicas, why))
    return rows


def _nodes(
    template: Json, replicas: int, running: int, nodes: pd.DataFrame, pods: pd.DataFrame, name: str
) -> dict[str, Any]:
    if nodes.empty:
        return _row("nodes", None, replicas, "the nodes could not be read")
    spec = template["spec"]
    cpu, memory = requests_of(spec, "cpu"), requests_of(spec, "memory")
    alone = _keeps_apart(template)
    mine = set(pods.loc[pods["deployment"] == name, "node"]) if len(pods) else set()
    reasons: dict[str, int] = {}
    room = 0
    for node in nodes.to_dict("records"):
        why = _unfit(spec, node)
        fits = 0
        if not why:
            free_cpu = node["cpu_allocatable"] - node["cpu_requested"]
            free_memory = node["memory_allocatable"] - node["memory_requested"]
            fits = int(node["pods_allocatable"] - node["pods"])
            if cpu:
                fits = min(fits, math.floor(free_cpu / cpu + 1e-9))
            if memory:
                fits = min(fits, math.floor(free_memory / memory + 1e-9))
            if fits <= 0:
                why = "without room for one more"
            elif alone:
                fits, why = (0, "with a pod of its own kind already") if node["node"] in mine else (1, "")
        if why:
            reasons[why] = reasons.get(why, 0) + 1
        room += max(0, fits)
    placed = len([n for n in mine if n])
    says = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
    rule = "; required anti-affinity: one pod a node" if alone else ""
    held = placed if alone else min(running, _placed(pods, name))
    return _row("nodes", held + room, replicas, f"{len(nodes)} nodes: {says or 'all fit'}{rule}")


def _placed(pods: pd.DataFrame, name: str) -> int:
    return int(((pods["deployment"] == name) & (pods["node"] != "")).sum()) if len(pods) else 0


def _unfit(spec: Json, node: Mapping[Any, Any]) -> str:
    if not node["ready"]:
        return "not ready"
    if not node["schedulable"]:
        return "cordoned"
    labels = node["labels"] or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return "of another pool (node selector)"
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required and not any(_term(term, labels) for term in required.get("nodeSelectorTerms") or []):
        return "of another pool (node affinity)"
    if any(not _tolerated(taint, spec.get("tolerations") or []) for taint in node["taints"] or []):
        return "tainted"
    return ""


def _term(term: Json, labels: Mapping[str, str]) -> bool:
    def holds(rule: Json) -> bool:
        value, values = labels.get(rule["key"]), rule.get("values") or []
        return bool(
            {
                "In": value in values,
                "NotIn": value not in values,
                "Exists": value is not None,
                "DoesNotExist": value is None,
            }.get(rule["operator"], True)
        )

    return all(holds(rule) for rule in term.get("matchExpressions") or [])


def _tolerated(taint: Json, tolerations: list[Json]) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return True
    for t in tolerations:
        if t.get("effect") not in (None, "", taint.get("effect")):
            continue
        if t.get("operator") == "Exists" and t.get("key") in (None, "", taint.get("key")):
            return True
        if t.get("key") == taint.get("key") and t.get("value", "") == taint.get("value", ""):
            return True
    return False


def _keeps_apart(template: Json) -> bool:
    labels = (template.get("metadata") or {}).get("labels") or {}
    rules = ((template["spec"].get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or []
    for rule in rules:
        wanted = rule.get("labelSelector") or {}
        exact = all(labels.get(k) == v for k, v in (wanted.get("matchLabels") or {}).items())
        if rule.get("topologyKey") == HOSTNAME and exact and _term(wanted, labels):
            return True
    return False


def _database(
    replicas: int, extra: int, running: int, each: int, database: Mapping[str, float] | None
) -> dict[str, Any]:
    if not database:
        return _row("database connections", None, replicas, "the database's limit could not be read")
    allowed = database["usable"] * DATABASE_SHARE - database["used"]
    allows = running + max(0, math.floor(allowed / each))
    why = (
        f"{database['used']:g} of {database['usable']:g} connections in use, {each} a pod; "
        f"{extra * each} more wanted, at most {DATABASE_SHARE:.0%} to be used (B6)"
    )
    return _row("database connections", allows, replicas, why)
