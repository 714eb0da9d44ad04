"""What a fault may wait for: each word looks at the cluster, the edge or a service as a responder could."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from opslib.sandbox.client import APPLICATIONS, EVENTS, PODS, Manifest
from opslib.sandbox.faults.stage import Stage, image, revision
from opslib.sandbox.inventory.names import APPLICATION, NAMESPACE, REGISTRY
from opslib.sandbox.state import read_json

Condition = Callable[[Stage, dict[str, Any]], Awaitable[None]]
SAMPLE = 10  # requests that one look at the edge makes


def waiting_reason(pod: Manifest) -> str:
    """Why the pod's first waiting container waits; empty when none does."""
    for one in (pod.get("status") or {}).get("containerStatuses") or []:
        if reason := ((one.get("state") or {}).get("waiting") or {}).get("reason"):
            return str(reason)
    return ""


async def rolled_out(stage: Stage, given: dict[str, Any]) -> None:
    """A Deployment's rollout is complete: deployment; tag (optional, of the image that must run)."""

    async def look() -> str:
        live = await stage.deployment(given["deployment"])
        status, wanted = live.get("status") or {}, live["spec"].get("replicas", 1)
        if given.get("tag") and image(live) != f"{REGISTRY}/{given['deployment']}:{given['tag']}":
            return f"it runs {image(live)}"
        if int(status.get("observedGeneration") or 0) < int(live["metadata"].get("generation") or 1):
            return "its change has not been seen yet"
        counts = [int(status.get(key) or 0) for key in ("updatedReplicas", "replicas", "availableReplicas")]
        return "" if counts == [wanted] * 3 else f"{counts[0]} updated, {counts[2]} available of {wanted}"

    await stage.until(f"the rollout of {given['deployment']}", look)


async def available(stage: Stage, given: dict[str, Any]) -> None:
    """A Deployment has so many available pods: deployment; at_most or at_least."""

    async def look() -> str:
        live = await stage.deployment(given["deployment"])
        count = int((live.get("status") or {}).get("availableReplicas") or 0)
        fits = given.get("at_least", 0) <= count <= given.get("at_most", 10**6)
        return "" if fits else f"{count} available"

    await stage.until(f"pods of {given['deployment']}", look)


async def pods(stage: Stage, given: dict[str, Any]) -> None:
    """So many pods of a service are in a state: service; state (a waiting reason or a phase); at_least or all."""

    async def look() -> str:
        found = await stage.pods_of(given["service"])
        states = [waiting_reason(pod) or (pod.get("status") or {}).get("phase", "") for pod in found]
        count = sum(state in given["state"].split("|") for state in states)
        enough = bool(found) and (
            count == len(found) if given.get("all") else count >= given.get("at_least", 1)
        )
        return "" if enough else f"{count} of {len(found)} pods {given['state']}"

    await stage.until(f"pods of {given['service']}", look)


async def no_pods(stage: Stage, given: dict[str, Any]) -> None:
    """A service has no pod left: service."""

    async def look() -> str:
        selector = {"labelSelector": f"app.kubernetes.io/name={given['service']}"}
        found, _ = await stage.client.list(PODS, NAMESPACE, selector)
        return f"{len(found)} left" if found else ""

    await stage.until(f"the pods of {given['service']} to end", look)


async def restarted(stage: Stage, given: dict[str, Any]) -> None:
    """Containers of a service restarted: service; at_least (sum over its pods)."""

    async def look() -> str:
        total = 0
        for pod in await stage.pods_of(given["service"]):
            for one in (pod.get("status") or {}).get("containerStatuses") or []:
                total += int(one.get("restartCount") or 0)
        return "" if total >= given["at_least"] else f"{total} restarts"

    await stage.until(f"restarts of {given['service']}", look)


async def revision_at_least(stage: Stage, given: dict[str, Any]) -> None:
    """A Deployment reached a revision: deployment, revision."""

    async def look() -> str:
        now = revision(await stage.deployment(given["deployment"]))
        return "" if now >= given["revision"] else f"revision {now}"

    await stage.until(f"revision {given['revision']} of {given['deployment']}", look)


async def condition(stage: Stage, given: dict[str, Any]) -> None:
    """A Deployment has a condition: deployment, type, status, reason (optional)."""

    async def look() -> str:
        live = await stage.deployment(given["deployment"])
        for one in (live.get("status") or {}).get("conditions") or []:
            if one["type"] == given["type"]:
                same = (
                    one["status"] == given["status"] and given.get("reason", one["reason"]) == one["reason"]
                )
                return "" if same else f"it is {one['status']} ({one['reason']})"
        return "it has none"

    await stage.until(f"{given['type']} of {given['deployment']}", look)


async def event(stage: Stage, given: dict[str, Any]) -> None:
    """An event was recorded: reason, about (part of the object's name), contains (part of its message)."""

    async def look() -> str:
        found, _ = await stage.client.list(EVENTS, NAMESPACE)
        for one in found:
            about = str((one.get("involvedObject") or one.get("regarding") or {}).get("name", ""))
            text = str(one.get("message") or one.get("note") or "")
            if one.get("reason") == given["reason"] and given["about"] in about and given["contains"] in text:
                return ""
        return "none yet"

    await stage.until(f"the event {given['reason']}", look)


async def edge(stage: Stage, given: dict[str, Any]) -> None:
    """Users get an answer at the edge: path; statuses (list); share (of requests, default all); method."""

    async def look() -> str:
        one = [stage.visit(given["path"], method=given.get("method", "GET")) for _ in range(SAMPLE)]
        statuses = await asyncio.gather(*one)
        hits = sum(status in given["statuses"] for status in statuses)
        if hits >= SAMPLE * given.get("share", 1.0):
            return ""
        return f"{hits} of {SAMPLE} requests answered {'/'.join(map(str, given['statuses']))}"

    await stage.until(f"{given['path']} at the edge", look)


async def service_down(stage: Stage, given: dict[str, Any]) -> None:
    """A data service does not answer: name, with url or host and port in its address file."""

    async def look() -> str:
        address = read_json(stage.state / given["name"] / "address.json") or {}
        return await asyncio.to_thread(_answers, address)

    await stage.until(f"{given['name']} to be away", look)


def _answers(address: dict[str, Any]) -> str:
    try:
        if address.get("url"):
            with urlopen(f"{address['url']}/-/ready", timeout=1.0):  # noqa: S310 - an address file of ours
                return "it answers"
        with socket.create_connection((address["host"], address["port"]), timeout=1.0):
            return "it answers"
    except (URLError, OSError, KeyError):
        return ""


async def application(stage: Stage, given: dict[str, Any]) -> None:
    """Argo CD's view: sync and health of the Application, those that are given."""

    async def look() -> str:
        live = await stage.client.get(APPLICATIONS, "argocd", APPLICATION)
        status = live.get("status") or {}
        seen = {key: (status.get(key) or {}).get("status") for key in ("sync", "health")}
        wrong = {key: seen[key] for key in given if seen[key] != given[key]}
        return json.dumps(wrong) if wrong else ""

    await stage.until("Argo CD", look)


CONDITIONS: dict[str, Condition] = {
    "rolled_out": rolled_out,
    "available": available,
    "pods": pods,
    "no_pods": no_pods,
    "restarted": restarted,
    "revision": revision_at_least,
    "condition": condition,
    "event": event,
    "edge": edge,
    "service_down": service_down,
    "application": application,
}
