"""A rolling restart, as kubectl does it: an annotation in the pod template (defect A5)."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opslib.cluster import workloads
from opslib.cluster.changes.change import KubernetesChange
from opslib.cluster.changes.edits import Edit, Field
from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.changes.rollback import rollout_risk
from opslib.records.change import Risk, Target

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
RESTARTED = "kubectl.kubernetes.io/restartedAt"
DEPARTS = (
    "A5: surge pods never become ready when the image, a setting or a store is the cause: read why the pods fail first",
    "A7: a time limit on the rollout, and users' requests are measured after it",
)


def restart(api: Api, namespace: str, name: str, cluster_uid: str) -> KubernetesChange:
    """See Cluster.restart."""
    owner = workloads.deployment(api, namespace, name)
    spec, where = owner["spec"], f"{api.cluster}/{namespace}/deployment/{name}"
    if spec.get("paused"):
        raise NotApplicable("the Deployment's rollouts are paused", target=where, next="resume it first")
    if spec.get("replicas", 1) == 0:
        raise NotApplicable(
            "it is scaled to zero: there is nothing to restart", target=where, next="scale it up"
        )
    before = spec["template"]
    after, shown = (copy.deepcopy(before) for _ in range(2))
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for template, value in ((after, moment), (shown, "<time of the restart>")):
        meta = template.setdefault("metadata", {})
        meta["annotations"] = {**(meta.get("annotations") or {}), RESTARTED: value}
    edit = Edit(
        "patch",
        "Deployment",
        namespace,
        name,
        owner["metadata"]["uid"],
        (Field("/spec/template", before, after, shown),),
    )
    risk = rollout_risk(owner, "Warm caches and the pods' own logs are lost: save them first.")
    return KubernetesChange(
        api,
        name=f"restart-{name}",
        title=f"Restart the pods of {name}, one after another",
        operation="restart",
        target=Target(api.cluster, cluster_uid, namespace, f"deployment/{name}", owner["metadata"]["uid"]),
        edits=[edit],
        risk=Risk("medium", risk.says, risk.touches),
        waits=[{"for": "rollout", "namespace": namespace, "name": name}],
        commands=[
            f"kubectl -n {namespace} rollout restart deployment/{name}",
            f"kubectl -n {namespace} rollout status deployment/{name} --timeout=5m",
        ],
        departs=DEPARTS,
    )
