"""Deployments: ReplicaSets per template, rolling updates, revisions, status.

Source: kubernetes pkg/controller/deployment (v1.32); reasons and messages are upstream's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from opslib.sandbox.client import DEPLOYMENTS, PODS, REPLICASETS, ApiError, Manifest
from opslib.sandbox.controllers import rollout
from opslib.sandbox.controllers.deploymentstatus import Conditions
from opslib.sandbox.controllers.objects import (
    condition,
    is_terminating,
    matches,
    phase,
)
from opslib.sandbox.controllers.rollout import Counts, current, wanted
from opslib.sandbox.controllers.runtime import Context, Controller, owner_keys, owner_of, owner_reference
from opslib.sandbox.controllers.templates import HASH_LABEL, equal_templates, template_hash
from opslib.sandbox.informer import split_key


class DeploymentController(Controller):
    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.deployments = self.watch(DEPLOYMENTS)
        self.sets = self.watch(REPLICASETS, self._owners_of_set)
        self.pods = self.watch(PODS, self._recreate_waits)

    def _owners_of_set(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        found = set(owner_keys("Deployment")(old, new))
        if new is not None and owner_of(new) is None:
            # an orphan: whoever selects it may adopt it
            for deployment in self.deployments.all(new["metadata"]["namespace"]):
                if matches(deployment["spec"].get("selector"), new["metadata"].get("labels")):
                    found.add(f"{new['metadata']['namespace']}/{deployment['metadata']['name']}")
        return found

    def _recreate_waits(self, old: Manifest | None, new: Manifest | None) -> Iterable[str]:
        # Recreate starts the new pods when the last old one is gone
        if old is None or new is not None:
            return []
        reference = owner_of(old)
        namespace = old["metadata"].get("namespace")
        rs = self.sets.get(f"{namespace}/{reference['name']}") if reference else None
        owner = owner_of(rs) if rs is not None else None
        return [f"{namespace}/{owner['name']}"] if owner else []

    async def reconcile(self, key: str) -> float | None:
        deployment = self.deployments.get(key)
        if deployment is None:
            return None
        return await _Sync(self, copy.deepcopy(deployment)).run()


class _Sync:
    """One pass over one Deployment."""

    def __init__(self, controller: DeploymentController, deployment: Manifest) -> None:
        self.c = controller
        self.d = deployment
        self.namespace, self.name = split_key(
            f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
        )
        self.conditions = Conditions(deployment, controller.clock)
        self.new: Manifest | None = None
        self.old: list[Manifest] = []

    @property
    def all(self) -> list[Manifest]:
        return [*self.old, self.new] if self.new is not None else list(self.old)

    async def run(self) -> float | None:
        await self._find_sets()
        if is_terminating(self.d):
            return await self._sync_status(estimate=False)
        self.conditions.note_paused()
        if self.d["spec"].get("paused") or self._is_scaling_event():
            await self._sync_revision(create=False)
            await self._scale()
            if self.d["spec"].get("paused"):
                await self._clean_up()
            return await self._sync_status(estimate=False)
        if rollout.is_rolling(self.d):
            await self._sync_revision(create=True)
            changed = await self._grow_new() or await self._shrink_old()
        else:
            await self._sync_revision(create=False)
            changed = await self._recreate()
        if not changed and rollout.complete(self.d, Counts.of(self.all, self.new)):
            await self._clean_up()
        return await self._sync_status(estimate=True)

    async def _find_sets(self) -> None:
        owned = []
        for rs in self.c.sets.all(self.namespace):
            owner = owner_of(rs)
            if owner is not None:
                if owner.get("uid") == self.d["metadata"]["uid"]:
                    owned.append(rs)
            elif (
                matches(self.d["spec"].get("selector"), rs["metadata"].get("labels"))
                and not is_terminating(rs)
                and not is_terminating(self.d)
            ):
                owned.append(await self._adopt(rs))
        owned.sort(key=rollout.created)
        template = self.d["spec"]["template"]
        self.new = next((rs for rs in owned if equal_templates(rs["spec"]["template"], template)), None)
        self.old = [rs for rs in owned if rs is not self.new]

    async def _adopt(self, rs: Manifest) -> Manifest:
        body = {
            "metadata": {
                "uid": rs["metadata"]["uid"],
                "ownerReferences": [
                    *(rs["metadata"].get("ownerReferences") or []),
                    owner_reference(self.d),
                ],
            }
        }
        return self._seen(
            await self.c.client.patch(REPLICASETS, self.namespace, rs["metadata"]["name"], body)
        )

    def _seen(self, rs: Manifest) -> Manifest:
        self.c.sets.observe(rs)
        return rs

    def _is_scaling_event(self) -> bool:
        for rs in self.all:
            if wanted(rs) > 0:
                noted = (rs["metadata"].get("annotations") or {}).get(rollout.DESIRED)
                if noted is not None and noted != str(wanted(self.d)):
                    return True
        return False

    # revisions ------------------------------------------------------------------------------------------

    async def _sync_revision(self, create: bool) -> None:
        number = max((rollout.revision(rs) for rs in self.old), default=0) + 1
        if self.new is None:
            if create:
                await self._create_new(number)
            return
        annotations = self._annotations_for(self.new, number)
        ready_seconds = int(self.d["spec"].get("minReadySeconds") or 0)
        body: Manifest = {}
        if annotations:
            body["metadata"] = {"annotations": annotations}
        if int(self.new["spec"].get("minReadySeconds") or 0) != ready_seconds:
            body["spec"] = {"minReadySeconds": ready_seconds}
        if body:
            name = self.new["metadata"]["name"]
            self.new = self._seen(await self.c.client.patch(REPLICASETS, self.namespace, name, body))
        if self.conditions.has_deadline and self.conditions.get("Progressing") is None:
            text = f'Found new replica set "{self.new["metadata"]["name"]}"'
            self.conditions.set("Progressing", "True", "FoundNewReplicaSet", text)
        await self._note_revision(str(max(number, rollout.revision(self.new))))

    def _annotations_for(self, rs: Manifest, number: int) -> Manifest:
        """The annotations to change on the new ReplicaSet: copies of the Deployment's, and its revision."""
        have = rs["metadata"].get("annotations") or {}
        source = self.d["metadata"].get("annotations") or {}
        change = {k: v for k, v in source.items() if k not in rollout.NOT_COPIED and have.get(k) != v}
        before = rollout.revision(rs)
        if before < number:
            change[rollout.REVISION] = str(number)
            if before:
                history = [part for part in have.get(rollout.REVISION_HISTORY, "").split(",") if part]
                change[rollout.REVISION_HISTORY] = ",".join([*history, str(before)])
        return change

    async def _note_revision(self, number: str) -> None:
        if (self.d["metadata"].get("annotations") or {}).get(rollout.REVISION) == number:
            return
        body = {"metadata": {"annotations": {rollout.REVISION: number}}}
        patched = await self.c.client.patch(DEPLOYMENTS, self.namespace, self.name, body)
        self.c.deployments.observe(patched)
        self.d["metadata"] = copy.deepcopy(patched["metadata"])

    async def _create_new(self, number: int) -> None:
        template = copy.deepcopy(self.d["spec"]["template"])
        collisions = int((self.d.get("status") or {}).get("collisionCount") or 0)
        digest = template_hash(template, collisions)
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = digest
        selector = copy.deepcopy(self.d["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
        replicas = rollout.new_replicas(self.d, self.old, None)
        source = self.d["metadata"].get("annotations") or {}
        rs: Manifest = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{self.name}-{digest}",
                "namespace": self.namespace,
                "labels": dict(template["metadata"]["labels"]),
                "annotations": {
                    **{k: v for k, v in source.items() if k not in rollout.NOT_COPIED},
                    rollout.REVISION: str(number),
                    **self._replica_annotations(),
                },
                "ownerReferences": [owner_reference(self.d)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": int(self.d["spec"].get("minReadySeconds") or 0),
                "selector": selector,
                "template": template,
            },
        }
        try:
            self.new = self._seen(await self.c.client.create(REPLICASETS, rs))
        except ApiError as error:
            await self._creation_failed(error, rs["metadata"]["name"], collisions)
            raise
        if replicas > 0:
            self._event(f"Scaled up replica set {rs['metadata']['name']} from 0 to {replicas}")
        if self.conditions.has_deadline:
            text = f'Created new replica set "{rs["metadata"]["name"]}"'
            self.conditions.set("Progressing", "True", "NewReplicaSetCreated", text)
        await self._note_revision(str(number))

    async def _creation_failed(self, error: ApiError, name: str, collisions: int) -> None:
        if error.reason == "AlreadyExists":
            existing = await self.c.client.find(REPLICASETS, self.namespace, name)
            owner = owner_of(existing) if existing else None
            if existing is not None and (
                owner is None
                or owner.get("uid") != self.d["metadata"]["uid"]
                or not equal_templates(existing["spec"]["template"], self.d["spec"]["template"])
            ):
                status = copy.deepcopy(self.d)
                status.setdefault("status", {})["collisionCount"] = collisions + 1
                self.c.deployments.observe(await self.c.client.update_status(DEPLOYMENTS, status))
            elif existing is not None:
                self._seen(existing)  # the cache was behind; the next try finds it
            return
        text = f'Failed to create new replica set "{name}": {error.message}'
        self.conditions.set("Progressing", "False", "ReplicaSetCreateError", text)
        self.c.recorder.event(self.d, "Warning", "ReplicaSetCreateError", text)
        await self._sync_status(estimate=False)

    def _replica_annotations(self) -> dict[str, str]:
        replicas = wanted(self.d)
        return {
            rollout.DESIRED: str(replicas),
            rollout.MAXIMUM: str(replicas + rollout.limits(self.d)[0]),
        }

    # scaling --------------------------------------------------------------------------------------------

    def _event(self, message: str) -> None:
        self.c.recorder.event(self.d, "Normal", "ScalingReplicaSet", message)

    async def _scale_set(self, rs: Manifest, replicas: int) -> bool:
        """Write a ReplicaSet's replicas (and the notes on it); True when its size changed."""
        before = wanted(rs)
        have = rs["metadata"].get("annotations") or {}
        notes = {k: v for k, v in self._replica_annotations().items() if have.get(k) != v}
        if before == replicas and not notes:
            return False
        body: Manifest = {
            "metadata": {"resourceVersion": rs["metadata"]["resourceVersion"]},
            "spec": {"replicas": replicas},
        }
        if notes:
            body["metadata"]["annotations"] = notes
        name = rs["metadata"]["name"]
        changed = self._seen(await self.c.client.patch(REPLICASETS, self.namespace, name, body))
        if self.new is rs:
            self.new = changed
        self.old = [changed if item is rs else item for item in self.old]
        if before != replicas:
            verb = "up" if replicas > before else "down"
            self._event(f"Scaled {verb} replica set {name} from {before} to {replicas}")
        return before != replicas

    async def _grow_new(self) -> bool:
        if self.new is None or wanted(self.new) == wanted(self.d):
            return False
        if wanted(self.new) > wanted(self.d):
            return await self._scale_set(self.new, wanted(self.d))
        target = rollout.new_replicas(self.d, self.all, self.new)
        return target != wanted(self.new) and await self._scale_set(self.new, target)

    async def _shrink_old(self) -> bool:
        if self.new is None or not any(wanted(rs) for rs in self.old):
            return False
        limit = rollout.old_scale_down(self.d, self.all, self.new)
        if limit <= 0:
            return False
        changed = False
        for rs, replicas in rollout.unhealthy_first(self.old, limit):
            changed |= await self._scale_set(rs, replicas)
        for rs, replicas in rollout.healthy_next(self.d, self.all, self.old):
            changed |= await self._scale_set(rs, replicas)
        return changed

    async def _recreate(self) -> bool:
        changed = False
        for rs in list(self.old):
            if wanted(rs) > 0:
                changed |= await self._scale_set(rs, 0)
        if changed or self._old_pods_run():
            return True
        if self.new is None:
            await self._sync_revision(create=True)
        return self.new is not None and await self._scale_set(self.new, wanted(self.d))

    def _old_pods_run(self) -> bool:
        keep = self.new["metadata"]["uid"] if self.new is not None else None
        sets = {rs["metadata"]["uid"] for rs in self.old}
        for pod in self.c.pods.all(self.namespace):
            owner = owner_of(pod)
            if owner is None or owner["uid"] == keep or owner["uid"] not in sets:
                continue
            if phase(pod) not in {"Succeeded", "Failed"}:
                return True
        return False

    async def _scale(self) -> None:
        active = [rs for rs in self.all if wanted(rs) > 0]
        if len(active) <= 1:
            only = active[0] if active else self.new or (max(self.old, key=rollout.created, default=None))
            if only is not None and wanted(only) != wanted(self.d):
                await self._scale_set(only, wanted(self.d))
            return
        new = self.new
        if new is not None and self._saturated(new):
            for rs in list(self.old):
                if wanted(rs) > 0:
                    await self._scale_set(rs, 0)
            return
        if rollout.is_rolling(self.d):
            for rs, replicas in rollout.proportional(self.d, active):
                await self._scale_set(rs, replicas)

    def _saturated(self, new: Manifest) -> bool:
        noted = (new["metadata"].get("annotations") or {}).get(rollout.DESIRED)
        replicas = wanted(self.d)
        return (
            wanted(new) == replicas
            and noted == str(replicas)
            and current(new, "availableReplicas") == replicas
        )

    async def _clean_up(self) -> None:
        limit = self.d["spec"].get("revisionHistoryLimit")
        if limit is None:
            limit = 10
        candidates = [rs for rs in self.old if not is_terminating(rs)]
        surplus = len(candidates) - int(limit)
        for rs in sorted(candidates, key=rollout.revision)[: max(0, surplus)]:
            observed = current(rs, "observedGeneration")
            if current(rs) or wanted(rs) or int(rs["metadata"].get("generation") or 0) > observed:
                continue
            name = rs["metadata"]["name"]
            await self.c.client.delete(REPLICASETS, self.namespace, name, propagation="Background")
            self.c.sets.forget(rs)
            self.old.remove(rs)

    # status ---------------------------------------------------------------------------------------------

    async def _sync_status(self, estimate: bool) -> float | None:
        counts = Counts.of(self.all, self.new)
        self.conditions.judge(counts, self.new, [self.new, *self.old], estimate)
        status: Manifest = {
            "observedGeneration": self.d["metadata"].get("generation", 1),
            **counts.as_status(),
        }
        if self.conditions.entries:
            status["conditions"] = self.conditions.entries
        before = self.d.get("status") or {}
        if "collisionCount" in before:
            status["collisionCount"] = before["collisionCount"]
        if status != before:
            body = {**self.d, "status": status}
            written = await self.c.client.update_status(DEPLOYMENTS, body)
            self.c.deployments.observe(written)
            self.d["status"] = status
        if not estimate or rollout.complete(self.d, counts):
            return None
        entry = condition(self.d, "Progressing")
        if entry is None or entry.get("reason") == "ProgressDeadlineExceeded":
            return None
        left = rollout.deadline_left(self.d, self.c.clock.now(), self.c.clock.speed)
        # one real second more, as stamps are whole seconds
        return None if left is None else max(0.0, left) + self.c.clock.speed
