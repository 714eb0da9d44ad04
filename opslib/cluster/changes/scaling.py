"""More or fewer replicas: through the autoscaler where there is one (defects A4, G7, E1, E3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster import workloads
from opslib.cluster.capacity import hpa_for, hpa_items
from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.edits import Edit, Field
from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.changes.leases import lease_name
from opslib.cluster.changes.pausing import DEPARTS as PAUSE_DEPARTS
from opslib.cluster.changes.pausing import pause_for
from opslib.cluster.kinds import KINDS
from opslib.records.change import Risk, Target

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
DEPARTS = (
    "G7: with an autoscaler its minimum is set; `kubectl scale` would be walked back",
    "A4: nodes, quota, anti-affinity and the database's connections are looked at first (cluster.headroom)",
)


def scale(
    api: Api, namespace: str, name: str, replicas: int, cluster_uid: str, *, raise_maximum: bool
) -> KubernetesChange:
    """See Cluster.scale."""
    return scale_many(api, namespace, {name: replicas}, cluster_uid, raise_maximum=raise_maximum)


def scale_many(
    api: Api, namespace: str, wanted: Mapping[str, int], cluster_uid: str, *, raise_maximum: bool
) -> KubernetesChange:
    """See Cluster.scale_many."""
    autoscalers = hpa_items(api, namespace)
    edits: list[Edit] = []
    waits: list[dict[str, Json]] = []
    commands: list[str] = []
    says: list[str] = []
    first: Json = None
    owned: list[tuple[Json, str, str]] = []
    for name, replicas in wanted.items():
        owner = workloads.deployment(api, namespace, name)
        first = first or owner
        found = _edits(api, owner, hpa_for(autoscalers, name), replicas, raise_maximum=raise_maximum)
        if not found:
            continue
        edits += found
        owned += _reverted(owner, hpa_for(autoscalers, name), found)
        waits.append({"for": "replicas", "namespace": namespace, "name": name, "replicas": replicas})
        commands += [_command(edit) for edit in found]
        available = (owner.get("status") or {}).get("availableReplicas", 0)
        says.append(f"{name} {owner['spec'].get('replicas', 1)} → {replicas} ({available} available now)")
    if not edits:
        raise NotApplicable(
            f"{', '.join(wanted)}: as many replicas as asked for already", target=f"{api.cluster}/{namespace}"
        )
    pauses, follow_ups, first_commands = pause_for(api, owned)
    if any(e.kind == "HorizontalPodAutoscaler" for e in edits):
        follow_ups.append("put the autoscaler's minimum back when the incident is over (opslib undo)")
    single = len(wanted) == 1
    names = list(wanted)
    down = any(
        n < m
        for n, m in ((f.after or 0, f.before or 0) for e in edits for f in e.fields if "eplicas" in f.pointer)
    )
    touches = tuple(f"deployment/{w['name']}" for w in waits)
    return KubernetesChange(
        api,
        name=f"scale-{names[0]}" if single else f"scale-{len(names)}-deployments",
        title=_title(wanted),
        operation="scale",
        target=Target(
            api.cluster,
            cluster_uid,
            namespace,
            f"deployment/{names[0]}" if single else "deployments/" + "+".join(sorted(names)),
            first["metadata"]["uid"] if single else "",
        ),
        edits=[*pauses, *edits],
        risk=Risk("medium" if down else "low", f"Replicas: {'; '.join(says)}.", touches),
        waits=waits,
        leased=[(namespace, lease_name(f"deployment/{name}")) for name in names],
        commands=[*first_commands, *commands],
        follow_ups=follow_ups,
        departs=[*DEPARTS, *([PAUSE_DEPARTS] if pauses else [])],
    )


def _title(wanted: Mapping[str, int]) -> str:
    if len(wanted) <= 3:
        return f"Scale {', '.join(f'{name} to {count}' for name, count in wanted.items())}"
    counts = sorted(set(wanted.values()))
    return f"Scale {len(wanted)} Deployments to {' or '.join(map(str, counts))} replicas each"


def _edits(
    api: Api, owner: Json, autoscaler: Json | None, replicas: int, *, raise_maximum: bool
) -> list[Edit]:
    meta, now = owner["metadata"], owner["spec"].get("replicas", 1)
    where = f"{api.cluster}/{meta['namespace']}/deployment/{meta['name']}"
    if replicas < 0:
        raise NotApplicable(f"{replicas} is no number of replicas", target=where)

    def own(count: int) -> Edit:
        change = (Field("/spec/replicas", now, count),)
        return Edit("patch", "Deployment", meta["namespace"], meta["name"], meta["uid"], change)

    if autoscaler is None or replicas == 0:  # at 0 the autoscaler stands aside by itself (E3)
        return [own(replicas)] if replicas != now else []
    low, top = autoscaler["spec"].get("minReplicas", 1), autoscaler["spec"]["maxReplicas"]
    fields: list[Field] = []
    if replicas > top:
        if not raise_maximum:
            raise NotApplicable(
                f"the autoscaler allows at most {top} replicas, {replicas} are asked for",
                target=where,
                next="ask for fewer, or pass raise_maximum=True after looking at cluster.headroom",
            )
        fields.append(Field("/spec/maxReplicas", top, replicas))
    if replicas != low:
        fields.append(Field("/spec/minReplicas", autoscaler["spec"].get("minReplicas"), replicas))
    found = []
    if fields:
        scaler = autoscaler["metadata"]
        found.append(
            Edit(
                "patch",
                "HorizontalPodAutoscaler",
                scaler["namespace"],
                scaler["name"],
                scaler["uid"],
                tuple(fields),
            )
        )
    # A Deployment at 0 has switched its autoscaler off: only its own replicas bring it back.
    if now == 0:
        found.append(own(replicas))
    return found


def _reverted(owner: Json, autoscaler: Json | None, edits: list[Edit]) -> list[tuple[Json, str, str]]:
    """What of these writes Argo CD might put back: (object, kind, pointer)."""
    objects = {"Deployment": owner, "HorizontalPodAutoscaler": autoscaler}
    return [(objects[edit.kind], edit.kind, change.pointer) for edit in edits for change in edit.fields]


def _command(edit: Edit) -> str:
    if edit.kind == "Deployment":
        return f"kubectl -n {edit.namespace} scale deployment/{edit.name} --replicas={edit.fields[0].after}"
    values = ",".join(f'"{f.pointer.rsplit("/", 1)[-1]}":{f.after}' for f in edit.fields)
    plural = KINDS["horizontalpodautoscaler"].kind.lower()
    return (
        f"kubectl -n {edit.namespace} patch {plural} {edit.name} --type merge -p '{{\"spec\":{{{values}}}}}'"
    )
