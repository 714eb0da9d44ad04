"""StatefulSets: pods with stable names, in order.

Source: kubernetes pkg/controller/statefulset (v1.32). Volumes are claimed by name as upstream does; revisions are kept
as ControllerRevisions.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from opslib.sandbox.client import CONTROLLERREVISIONS, PODS, PVCS, STATEFULSETS, ApiError, Manifest
from opslib.sandbox.controllers.objects import available_in, is_ready, is_terminating, phase
from opslib.sandbox.controllers.podcontrol import PodControl
from opslib.sandbox.controllers.rollout import wanted
from opslib.sandbox.controllers.runtime import Context, Controller, owner_keys, owner_of, owner_reference
from opslib.sandbox.controllers.templates import equal_templates, pod_of, template_hash

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass
class _Revisions:
    current: Manifest
    update: Manifest


class StatefulSetController(Controller):
    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.sets = self.watch(STATEFULSETS)
        self.pods = self.watch(PODS, self._owners)
        self.revisions = self.watch(CONTROLLERREVISIONS, lambda _old, _new: [])
        self.control = PodControl(self.client, self.pods, self.recorder)

    def _owners(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        return owner_keys("StatefulSet")(old, new)

    async def reconcile(self, key: str) -> float | None:
        found = self.sets.get(key)
        if found is None or is_terminating(found):
            return None
        sts = copy.deepcopy(found)
        revisions = await self._revisions(sts)
        pods = await self._pods(sts)
        again = await self._manage(sts, pods, revisions)
        await self._sync_status(sts, revisions)
        return again

    async def _pods(self, sts: Manifest) -> dict[int, Manifest]:
        pattern = re.compile(re.escape(sts["metadata"]["name"]) + r"-(\d+)")
        found: dict[int, Manifest] = {}
        for pod in await self.control.claim(sts, sts["spec"].get("selector")):
            match = pattern.fullmatch(pod["metadata"]["name"])
            if match:
                found[int(match[1])] = pod
        return found

    # revisions ------------------------------------------------------------------------------------------

    async def _revisions(self, sts: Manifest) -> _Revisions:
        mine = sorted(
            (
                revision
                for revision in self.revisions.all(sts["metadata"]["namespace"])
                if (owner_of(revision) or {}).get("uid") == sts["metadata"]["uid"]
            ),
            key=lambda revision: int(revision["revision"]),
        )
        template = sts["spec"]["template"]
        update = next((r for r in mine if equal_templates(r["data"]["spec"]["template"], template)), None)
        if update is None:
            update = await self._new_revision(sts, int(mine[-1]["revision"]) + 1 if mine else 1)
        elif update is not mine[-1]:
            body = {"revision": int(mine[-1]["revision"]) + 1}
            meta = update["metadata"]
            update = await self.client.patch(CONTROLLERREVISIONS, meta["namespace"], meta["name"], body)
            self.revisions.observe(update)
        name = (sts.get("status") or {}).get("currentRevision")
        current = next((r for r in mine if r["metadata"]["name"] == name), update)
        await self._drop_old(sts, mine, {current["metadata"]["name"], update["metadata"]["name"]})
        return _Revisions(current, update)

    async def _new_revision(self, sts: Manifest, number: int) -> Manifest:
        meta = sts["metadata"]
        digest = template_hash(sts["spec"]["template"])
        body: Manifest = {
            "metadata": {
                "name": f"{meta['name']}-{digest}",
                "namespace": meta["namespace"],
                "labels": {
                    **(sts["spec"]["template"]["metadata"].get("labels") or {}),
                    REVISION_LABEL: digest,
                },
                "ownerReferences": [owner_reference(sts)],
            },
            "revision": number,
            "data": {"spec": {"template": {**sts["spec"]["template"], "$patch": "replace"}}},
        }
        try:
            created = await self.client.create(CONTROLLERREVISIONS, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            created = await self.client.get(CONTROLLERREVISIONS, meta["namespace"], body["metadata"]["name"])
        self.revisions.observe(created)
        return created

    async def _drop_old(self, sts: Manifest, mine: list[Manifest], live: set[str]) -> None:
        limit = sts["spec"].get("revisionHistoryLimit")
        used = live | {
            (pod["metadata"].get("labels") or {}).get(REVISION_LABEL, "")
            for pod in self.pods.all(sts["metadata"]["namespace"])
        }
        surplus = [r for r in mine if r["metadata"]["name"] not in used]
        for revision in surplus[: max(0, len(surplus) - (10 if limit is None else int(limit)))]:
            meta = revision["metadata"]
            await self.client.delete(CONTROLLERREVISIONS, meta["namespace"], meta["name"])
            self.revisions.forget(revision)

    # pods -----------------------------------------------------------------------------------------------

    async def _manage(self, sts: Manifest, pods: dict[int, Manifest], revisions: _Revisions) -> float | None:
        """One step in order; returns platform seconds until a pod becomes available, if one has to be awaited."""
        ordered = sts["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        start = int((sts["spec"].get("ordinals") or {}).get("start") or 0)
        ordinals = range(start, start + wanted(sts))
        min_ready = int(sts["spec"].get("minReadySeconds") or 0)
        for ordinal in ordinals:
            pod = pods.get(ordinal)
            if pod is not None and phase(pod) in {"Failed", "Succeeded"} and not is_terminating(pod):
                if phase(pod) == "Failed":
                    text = f"StatefulSet {sts['metadata']['namespace']}/{sts['metadata']['name']} is recreating failed Pod {pod['metadata']['name']}"
                    self.recorder.event(sts, "Warning", "RecreatingFailedPod", text)
                await self._delete(sts, pod)
                if ordered:
                    return None
                continue
            if pod is None:
                await self._create(sts, ordinal, revisions)
                if ordered:
                    return None
                continue
            if not ordered:
                continue
            wait = None if is_terminating(pod) else available_in(pod, min_ready, self.clock)
            if wait is None:
                return None
            if wait > 0:
                return wait
        condemned = sorted((n for n in pods if n not in ordinals), reverse=True)
        for ordinal in condemned:
            if not is_terminating(pods[ordinal]):
                await self._delete(sts, pods[ordinal])
            if ordered:
                return None
        return await self._update(sts, pods, ordinals, revisions)

    async def _update(
        self, sts: Manifest, pods: dict[int, Manifest], ordinals: range, revisions: _Revisions
    ) -> float | None:
        strategy = sts["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") == "OnDelete":
            return None
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        target = revisions.update["metadata"]["name"]
        for ordinal in reversed([n for n in ordinals if n >= partition]):
            pod = pods.get(ordinal)
            if pod is None or is_terminating(pod):
                return None
            if (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) != target:
                await self._delete(sts, pod)
                return None
            if not is_ready(pod):
                return None
        return None

    async def _create(self, sts: Manifest, ordinal: int, revisions: _Revisions) -> None:
        strategy = sts["spec"].get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        keep_old = strategy.get("type") != "OnDelete" and ordinal < partition
        revision = revisions.current if keep_old else revisions.update
        template = copy.deepcopy(revision["data"]["spec"]["template"])
        template.pop("$patch", None)
        body = pod_of(template, sts)
        name = f"{sts['metadata']['name']}-{ordinal}"
        body["metadata"]["name"] = name
        body["metadata"]["labels"] |= {
            POD_NAME_LABEL: name,
            INDEX_LABEL: str(ordinal),
            REVISION_LABEL: revision["metadata"]["name"],
        }
        body["spec"] |= {"hostname": name, "subdomain": sts["spec"].get("serviceName", "")}
        await self._claims(sts, name, body)
        text = f"create Pod {name} in StatefulSet {sts['metadata']['name']}"
        try:
            self.pods.observe(await self.client.create(PODS, body))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                failed = f"{text} failed error: {error.message}"
                self.recorder.event(sts, "Warning", "FailedCreate", failed)
            raise
        self.recorder.event(sts, "Normal", "SuccessfulCreate", f"{text} successful")

    async def _claims(self, sts: Manifest, pod: str, body: Manifest) -> None:
        for template in sts["spec"].get("volumeClaimTemplates") or []:
            claim = f"{template['metadata']['name']}-{pod}"
            volumes = [
                v for v in body["spec"].get("volumes") or [] if v["name"] != template["metadata"]["name"]
            ]
            volumes.append(
                {"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}}
            )
            body["spec"]["volumes"] = volumes
            if await self.client.find(PVCS, sts["metadata"]["namespace"], claim) is None:
                labels = (sts["spec"].get("selector") or {}).get("matchLabels") or {}
                new = {
                    "metadata": {
                        "name": claim,
                        "namespace": sts["metadata"]["namespace"],
                        "labels": {**(template["metadata"].get("labels") or {}), **labels},
                    },
                    "spec": copy.deepcopy(template["spec"]),
                }
                await self.client.create(PVCS, new)

    async def _delete(self, sts: Manifest, pod: Manifest) -> None:
        meta = pod["metadata"]
        text = f"delete Pod {meta['name']} in StatefulSet {sts['metadata']['name']}"
        try:
            answer = await self.client.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        except ApiError as error:
            if error.code not in {404, 409}:
                failed = f"{text} failed error: {error.message}"
                self.recorder.event(sts, "Warning", "FailedDelete", failed)
                raise
        else:
            if answer.get("kind") == "Pod":
                self.pods.observe(answer)
            self.recorder.event(sts, "Normal", "SuccessfulDelete", f"{text} successful")

    # status ---------------------------------------------------------------------------------------------

    async def _sync_status(self, sts: Manifest, revisions: _Revisions) -> None:
        uid = sts["metadata"]["uid"]
        pods = [
            pod
            for pod in self.pods.all(sts["metadata"]["namespace"])
            if (owner_of(pod) or {}).get("uid") == uid and phase(pod) not in {"Succeeded", "Failed"}
        ]
        min_ready = int(sts["spec"].get("minReadySeconds") or 0)
        current, update = revisions.current["metadata"]["name"], revisions.update["metadata"]["name"]

        def at(name: str) -> int:
            return sum(
                1
                for pod in pods
                if (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) == name
                and not is_terminating(pod)
            )

        ready = [pod for pod in pods if is_ready(pod) and not is_terminating(pod)]
        available = [pod for pod in ready if available_in(pod, min_ready, self.clock) == 0]
        updated = at(update)
        if updated == wanted(sts) == len(ready) == len(pods):
            current = update
        before = sts.get("status") or {}
        status: Manifest = {
            "observedGeneration": sts["metadata"].get("generation", 1),
            "replicas": len(pods),
            "readyReplicas": len(ready),
            "currentReplicas": at(current),
            "updatedReplicas": updated,
            "availableReplicas": len(available),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": int(before.get("collisionCount") or 0),
        }
        for name in ("readyReplicas", "currentReplicas", "updatedReplicas"):
            if not status[name]:
                del status[name]
        if before.get("conditions"):
            status["conditions"] = before["conditions"]
        if json.dumps(status, sort_keys=True) != json.dumps(before, sort_keys=True):
            body = {**sts, "status": status}
            self.sets.observe(await self.client.update_status(STATEFULSETS, body))
