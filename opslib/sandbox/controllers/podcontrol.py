"""Creating, deleting and claiming pods for a controller.

Sources: kubernetes pkg/controller/controller_utils.go (RealPodControl, ActivePodsWithRanks),
controller_ref_manager.go (PodControllerRefManager).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from opslib.sandbox.client import PODS, ApiError, Client, Manifest
from opslib.sandbox.clock import parse_stamp
from opslib.sandbox.controllers.events import Recorder
from opslib.sandbox.controllers.objects import is_ready, is_terminating, matches, phase, ready_since
from opslib.sandbox.controllers.runtime import owner_of, owner_reference
from opslib.sandbox.controllers.templates import pod_of
from opslib.sandbox.informer import Informer

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass
class PodControl:
    """Writes pods on behalf of an owner, with upstream's events on that owner."""

    client: Client
    pods: Informer
    recorder: Recorder

    async def create(self, owner: Manifest, template: Manifest, name: str | None = None) -> Manifest:
        """Create a pod of a template. Raises ApiError after the FailedCreate event."""
        body = pod_of(template, owner, None if name else f"{owner['metadata']['name']}-")
        if name:
            body["metadata"]["name"] = name
        return await self.create_pod(owner, body)

    async def create_pod(self, owner: Manifest, body: Manifest) -> Manifest:
        try:
            pod = await self.client.create(PODS, body)
        except ApiError as error:
            # a namespace that is going away refuses everything: no event, as upstream
            if "because it is being terminated" not in error.message:
                self.recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.pods.observe(pod)
        text = f"Created pod: {pod['metadata']['name']}"
        self.recorder.event(owner, "Normal", "SuccessfulCreate", text)
        return pod

    async def delete(self, owner: Manifest, pod: Manifest) -> None:
        """Delete a pod gracefully; one that is gone already is fine."""
        meta = pod["metadata"]
        try:
            answer = await self.client.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        except ApiError as error:
            if error.code in {404, 409}:
                self.pods.forget(pod)
                return
            text = f"Error deleting: {error.message}"
            self.recorder.event(owner, "Warning", "FailedDelete", text)
            raise
        if answer.get("kind") == "Pod" and answer["metadata"].get("deletionTimestamp"):
            self.pods.observe(answer)
        else:
            self.pods.forget(pod)
        self.recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}")

    async def claim(self, owner: Manifest, selector: Manifest | None) -> list[Manifest]:
        """The owner's pods: adopts matching orphans, releases those whose labels no longer match."""
        namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
        mine: list[Manifest] = []
        for pod in self.pods.all(namespace):
            reference = owner_of(pod)
            fits = matches(selector, pod["metadata"].get("labels"))
            if reference is not None and reference.get("uid") != uid:
                continue
            if reference is not None:
                if fits:
                    mine.append(pod)
                elif not is_terminating(owner):
                    await self._release(pod, uid)
            elif fits and not is_terminating(pod) and not is_terminating(owner):
                adopted = await self._adopt(pod, owner)
                if adopted is not None:
                    mine.append(adopted)
        return mine

    async def _adopt(self, pod: Manifest, owner: Manifest) -> Manifest | None:
        references = [*(pod["metadata"].get("ownerReferences") or []), owner_reference(owner)]
        return await self._set_owners(pod, references)

    async def _release(self, pod: Manifest, uid: str) -> None:
        kept = [r for r in pod["metadata"].get("ownerReferences") or [] if r.get("uid") != uid]
        await self._set_owners(pod, kept)

    async def _set_owners(self, pod: Manifest, references: list[Manifest]) -> Manifest | None:
        meta = pod["metadata"]
        body = {"metadata": {"uid": meta["uid"], "ownerReferences": references or None}}
        try:
            changed = await self.client.patch(PODS, meta["namespace"], meta["name"], body)
        except ApiError as error:
            if error.code in {404, 409, 422}:  # gone, or replaced by a namesake
                return None
            raise
        self.pods.observe(changed)
        return changed


def victims(
    pods: list[Manifest], count: int, related: Iterable[Manifest], now: dt.datetime
) -> list[Manifest]:
    """Which `count` pods to delete first (getPodsToDelete, ActivePodsWithRanks).

    Unassigned before assigned, pending before running, not ready before ready, lower deletion cost, more
    siblings on the same node, shorter ready, more restarts, younger.
    """
    if count >= len(pods):
        return list(pods)
    on_node: dict[str, int] = {}
    for pod in related:
        node = pod["spec"].get("nodeName") or ""
        on_node[node] = on_node.get(node, 0) + 1
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Manifest) -> tuple[float | int | str, ...]:
        node = pod["spec"].get("nodeName") or ""
        since = ready_since(pod)
        cost = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
        created = parse_stamp(pod["metadata"].get("creationTimestamp") or now.isoformat())
        return (
            1 if node else 0,
            phases.get(phase(pod), 2),
            1 if is_ready(pod) else 0,
            int(cost) if cost.lstrip("-").isdigit() else 0,
            -on_node.get(node, 0),
            -since.timestamp() if since else 0.0,
            -restarts_of(pod),
            -created.timestamp(),
            pod["metadata"]["name"],
        )

    return sorted(pods, key=rank)[:count]


def restarts_of(pod: Manifest) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return max((int(s.get("restartCount") or 0) for s in statuses), default=0)
