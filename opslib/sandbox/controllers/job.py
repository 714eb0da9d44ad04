"""Jobs: pods that run to their end.

Source: kubernetes pkg/controller/job (v1.32), non-indexed.
"""

from __future__ import annotations

import copy

from opslib.sandbox.client import JOBS, PODS, Manifest
from opslib.sandbox.clock import parse_stamp, stamp
from opslib.sandbox.controllers.objects import condition, is_active, is_ready, is_terminating, phase
from opslib.sandbox.controllers.podcontrol import PodControl, restarts_of
from opslib.sandbox.controllers.runtime import Context, Controller, owner_keys, owner_of

BACKOFF, MAX_BACKOFF = 10.0, 600.0  # platform seconds between pods after a failure


class JobController(Controller):
    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recorder = context.recorder.named(self.name)
        self.jobs = self.watch(JOBS)
        self.pods = self.watch(PODS, owner_keys("Job"))
        self.control = PodControl(self.client, self.pods, self.recorder)

    async def reconcile(self, key: str) -> float | None:
        found = self.jobs.get(key)
        if found is None or is_terminating(found):
            return None
        job = copy.deepcopy(found)
        if _finished(job):
            return await self._expire(job)
        pods = await self.control.claim(job, job["spec"].get("selector"))
        succeeded = sum(1 for pod in pods if phase(pod) == "Succeeded")
        failed = sum(1 for pod in pods if phase(pod) == "Failed")
        active = [pod for pod in pods if is_active(pod)]
        verdict = self._verdict(job, pods, succeeded, failed)
        again: float | None = None
        if verdict is not None or job["spec"].get("suspend"):
            for pod in active:
                await self.control.delete(job, pod)
            active = []
        else:
            again = await self._run_pods(job, pods, active, succeeded, failed)
            uid = job["metadata"]["uid"]
            active = [
                pod
                for pod in self.pods.all(job["metadata"]["namespace"])
                if (owner_of(pod) or {}).get("uid") == uid and is_active(pod)
            ]
        await self._sync_status(job, active, succeeded, failed, verdict)
        return again

    async def _run_pods(
        self, job: Manifest, pods: list[Manifest], active: list[Manifest], succeeded: int, failed: int
    ) -> float | None:
        parallel = int(job["spec"].get("parallelism") or 1)
        completions = job["spec"].get("completions")
        if completions is None:
            want = len(active) if succeeded else parallel  # a work queue: one success ends new starts
        else:
            want = min(parallel, int(completions) - succeeded)
        if len(active) > want:
            for pod in active[want:]:
                await self.control.delete(job, pod)
            return None
        if len(active) < want and failed:
            left = self._backoff_left(pods, failed)
            if left > 0:
                return left
        for _ in range(want - len(active)):
            await self.control.create(job, job["spec"]["template"])
        deadline = job["spec"].get("activeDeadlineSeconds")
        started = (job.get("status") or {}).get("startTime")
        if deadline is not None and started:
            return max(0.0, float(deadline) - self.clock.since(parse_stamp(started))) + self.clock.speed
        return None

    def _backoff_left(self, pods: list[Manifest], failed: int) -> float:
        ends = [end for pod in pods if phase(pod) == "Failed" and (end := _end_of(pod))]
        if not ends:
            return 0.0
        pause = min(BACKOFF * 2.0 ** min(failed - 1, 10), MAX_BACKOFF)
        return pause - self.clock.since(parse_stamp(max(ends)))

    def _verdict(
        self, job: Manifest, pods: list[Manifest], succeeded: int, failed: int
    ) -> tuple[str, str, str] | None:
        """(condition, reason, message) when the job is over."""
        limit = job["spec"].get("backoffLimit")
        limit = 6 if limit is None else int(limit)
        deadline = job["spec"].get("activeDeadlineSeconds")
        started = (job.get("status") or {}).get("startTime")
        retries = failed + sum(restarts_of(pod) for pod in pods if phase(pod) in {"Running", "Pending"})
        if retries > limit:
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if deadline is not None and started and self.clock.since(parse_stamp(started)) >= float(deadline):
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        completions = job["spec"].get("completions")
        active = any(is_active(pod) for pod in pods)
        if (completions is None and succeeded and not active) or (
            completions is not None and succeeded >= int(completions)
        ):
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        return None

    async def _sync_status(
        self,
        job: Manifest,
        active: list[Manifest],
        succeeded: int,
        failed: int,
        verdict: tuple[str, str, str] | None,
    ) -> None:
        now = stamp(self.clock.now())
        before = job.get("status") or {}
        conditions = list(before.get("conditions") or [])
        status: Manifest = {
            "startTime": before.get("startTime") or now,
            "ready": sum(1 for pod in active if is_ready(pod)),
            "terminating": 0,
            "uncountedTerminatedPods": {},
        }
        counts = {"active": len(active), "succeeded": succeeded, "failed": failed}
        status |= {name: value for name, value in counts.items() if value}
        if verdict is not None:
            kind, reason, message = verdict
            first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
            for name in (first, kind):
                conditions.append(
                    {
                        "type": name,
                        "status": "True",
                        "reason": reason,
                        "message": message,
                        "lastProbeTime": now,
                        "lastTransitionTime": now,
                    }
                )
            if kind == "Complete":
                status["completionTime"] = now
                self.recorder.event(job, "Normal", "Completed", "Job completed")
            else:
                self.recorder.event(job, "Warning", reason, message)
        if conditions:
            status["conditions"] = conditions
        if status != before:
            self.jobs.observe(await self.client.update_status(JOBS, {**job, "status": status}))

    async def _expire(self, job: Manifest) -> float | None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return None
        entry = condition(job, "Complete") or condition(job, "Failed") or {}
        left = float(seconds) - self.clock.since(parse_stamp(entry["lastTransitionTime"]))
        if left > 0:
            return left
        meta = job["metadata"]
        await self.client.delete(
            JOBS, meta["namespace"], meta["name"], uid=meta["uid"], propagation="Foreground"
        )
        return None


def _finished(job: Manifest) -> bool:
    return any((condition(job, kind) or {}).get("status") == "True" for kind in ("Complete", "Failed"))


def _end_of(pod: Manifest) -> str:
    ends = [
        ((entry.get("state") or {}).get("terminated") or {}).get("finishedAt") or ""
        for entry in (pod.get("status") or {}).get("containerStatuses") or []
    ]
    return max(ends, default="")
