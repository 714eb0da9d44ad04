"""Has the platform carried a change out? Rollouts and replica counts, watched until done, failed or out of time.

Source of the rollout rules: kubectl's rollout_status.go and the Deployment controller's conditions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.cluster import workloads
from opslib.cluster.changes.edits import Edit, holds
from opslib.cluster.kinds import KINDS
from opslib.errors import SourceError
from opslib.records.change import Progress, Settled

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
EVERY = 0.5
# An old state that is put back may be a broken one: its rollout stuck for so many seconds is as far as it comes.
STANDS_STILL = 5.0


async def settle(
    api: Api,
    waits: list[Mapping[str, Json]],
    edits: list[Edit],
    progress: Progress,
    deadline: float,
) -> Settled:
    """Wait for every wait in turn. `waits` are {"for": rollout | replicas, namespace, name, replicas, restored}.

    With `restored` the values stand for an old state: a rollout that does not complete is said, and is no failure.
    """
    end = time.monotonic() + deadline
    said: list[str] = []
    data: dict[str, Json] = {}
    for wait in waits:
        last, problem, since = "", "", time.monotonic()
        while True:
            try:
                ok, text = await asyncio.to_thread(_look, api, wait, edits)
                problem = ""
            except SourceError as error:  # an API that is away for a moment is not a failed rollout
                ok, text, problem = None, f"cannot be read now: {error.what}", error.what
            if text != last:
                progress(f"{wait['name']}: {text}")
                last, since = text, time.monotonic()
            if ok is not None:
                break
            still = wait.get("restored") and not problem and time.monotonic() - since > STANDS_STILL
            if still and (as_before := await asyncio.to_thread(_why_stuck, api, wait)):
                ok, text = True, f"the old state stands, its rollout does not go on: {text}{as_before}"
                break
            if time.monotonic() >= end:
                stuck = "" if problem else await asyncio.to_thread(_why_stuck, api, wait)
                says = f"{wait['name']} is not done after {deadline:.0f} s: {text}{stuck}"
                return Settled(ok=False, says=says, data=data)
            await asyncio.sleep(min(EVERY, max(0.0, end - time.monotonic())))
        data[str(wait["name"])] = text
        said.append(f"{wait['name']}: {text}")
        if not ok:
            stuck = await asyncio.to_thread(_why_stuck, api, wait)
            return Settled(ok=False, says=f"{wait['name']}: {text}{stuck}", data=data)
    return Settled(ok=True, says="; ".join(said) or "written; there is nothing to wait for", data=data)


def _look(api: Api, wait: Mapping[str, Json], edits: list[Edit]) -> tuple[bool | None, str]:
    item = workloads.deployment(api, wait["namespace"], wait["name"])
    for edit in edits:
        if edit.action == "patch" and (edit.kind, edit.name) == ("Deployment", wait["name"]):
            other = [f for f in holds(item, edit, "after") if f != "spec.replicas"]
            if other:
                who = _last_writer(item)
                return False, f"{', '.join(other)} was changed again{who} after this change"
    status, spec = item.get("status") or {}, item["spec"]
    desired = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return None, "waiting for the controller to see the change"
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if wait["for"] == "replicas":
        wanted = wait["replicas"]
        # An autoscaler may already have gone further up: enough is enough.
        done = (desired >= wanted and available >= wanted) if wanted else total == 0
        return (True if done else None), f"{available} of {wanted} replicas available"
    if workloads.condition(item, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        says = f"the rollout exceeded its progress deadline: {updated} of {desired} updated"
        return bool(wait.get("restored")), says
    if updated < desired:
        return None, f"{updated} of {desired} replicas updated"
    if total > updated:
        return None, f"{total - updated} old replicas are ending"
    if available < updated:
        return None, f"{available} of {updated} updated replicas available"
    return True, f"{available} of {desired} replicas updated and available"


def _last_writer(item: Json) -> str:
    writers = list(item["metadata"].get("managedFields") or [])
    templates = [
        w
        for w in writers
        if "f:template" in ((w.get("fieldsV1") or {}).get("f:spec") or {}) and w.get("time")
    ]
    last = max(templates, key=lambda w: w["time"], default=None)
    return f" by {last['manager']} at {last['time']}" if last else ""


def _why_stuck(api: Api, wait: Mapping[str, Json]) -> str:
    """What keeps the pods: their waiting reasons, or why they cannot be made or placed."""
    try:
        item = workloads.deployment(api, wait["namespace"], wait["name"])
        blocked = workloads.condition(item, "ReplicaFailure").get("message", "")
        wanted = workloads.selector(item["spec"]["selector"])
        pods = api.items(KINDS["pod"].path(wait["namespace"]), labelSelector=wanted)
    except SourceError:
        return ""
    reasons = {blocked} if blocked else set()
    for pod in map(workloads.pod_row, pods):
        if not pod["ready"] and (why := pod["waiting_reason"] or pod["message"] or pod["reason"]):
            reasons.add(why)
    return f" ({'; '.join(sorted(reasons))})" if reasons else ""
