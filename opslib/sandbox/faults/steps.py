"""What a fault may do: each word changes Kubernetes objects, git or a service process, as people and CI would."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

from opslib.sandbox.client import (
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICASETS,
    ApiError,
    Manifest,
    retry_on_conflict,
)
from opslib.sandbox.faults.conditions import CONDITIONS
from opslib.sandbox.faults.stage import KINDS, Stage, image, revision
from opslib.sandbox.inventory.build import safe_hash
from opslib.sandbox.inventory.names import NAMESPACE, REGISTRY
from opslib.sandbox.state import SandboxError

Step = Callable[[Stage, dict[str, Any]], Awaitable[None]]
HASH = "pod-template-hash"


def _new_template(template: Manifest, given: dict[str, Any], name: str) -> Manifest:
    """The pod template of a release: image, version label, environment, and the checksum that the chart sets."""
    made = copy.deepcopy(template)
    container = made["spec"]["containers"][0]
    if tag := given.get("tag"):
        container["image"] = f"{REGISTRY}/{name}:{tag}"
        made["metadata"]["labels"]["version"] = tag
    for key, value in (given.get("env") or {}).items():
        kept = [entry for entry in container.get("env") or [] if entry["name"] != key]
        container["env"] = [*kept, {"name": key, "value": str(value)}]
    notes = made["metadata"].setdefault("annotations", {})
    notes["checksum/config"] = safe_hash([name, given], 40)
    return made


async def release(stage: Stage, given: dict[str, Any]) -> None:
    """CI releases a service: through git where Argo CD owns it, by a Helm upgrade where not.

    deployment; tag; env (name: value in the pod template); config (key: value in its ConfigMap).
    """
    name = given["deployment"]
    if stage.in_git("Deployment", name):
        desired = stage.git_read("Deployment", name)
        desired["spec"]["template"] = _new_template(desired["spec"]["template"], given, name)
        if given.get("tag"):
            desired["metadata"]["labels"]["app.kubernetes.io/version"] = given["tag"]
        commit = [desired]
        if config := given.get("config"):
            settings = stage.git_read("ConfigMap", name)
            settings["data"] |= {key: str(value) for key, value in config.items()}
            commit.insert(0, settings)
        await stage.git_commit(commit)
        wanted = image(desired)
        checksum = desired["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        async def synced() -> str:
            live = await stage.deployment(name)
            notes = live["spec"]["template"]["metadata"].get("annotations") or {}
            done = image(live) == wanted and notes.get("checksum/config") == checksum
            return "" if done else f"Argo CD has not yet applied {wanted}"

        await stage.until("the release", synced)
        return
    live = await stage.deployment(name)
    template = _new_template(live["spec"]["template"], given, name)
    await stage.client.patch(DEPLOYMENTS, NAMESPACE, name, {"spec": {"template": template}}, "strategic")


async def commit(stage: Stage, given: dict[str, Any]) -> None:
    """A commit to git that Argo CD applies: object (KIND/NAME), patch (a merge patch)."""
    kind, name = given["object"].split("/")
    desired = _merge(stage.git_read(kind, name), given["patch"])
    await stage.git_commit([desired])
    resource, namespace, _ = stage.target(given["object"])

    async def synced() -> str:
        live = await stage.client.get(resource, namespace, name)
        return "" if _merge(live, given["patch"]) == live else "Argo CD has not yet applied it"

    await stage.until(f"the commit to {given['object']}", synced)


def _merge(target: Manifest, patch: Manifest) -> Manifest:
    """RFC 7396 for objects; lists are replaced."""
    made = copy.deepcopy(target)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = _merge(made[key], value)
        else:
            made[key] = value
    return made


async def patch(stage: Stage, given: dict[str, Any]) -> None:
    """Somebody patches an object: object ([NAMESPACE/]KIND/NAME), patch (a merge patch)."""
    resource, namespace, name = stage.target(given["object"])
    await stage.client.patch(resource, namespace, name, given["patch"])


async def apply(stage: Stage, given: dict[str, Any]) -> None:
    """Somebody creates an object: object (a manifest)."""
    manifest = given["object"]
    manifest["metadata"].setdefault("namespace", NAMESPACE)
    try:
        await stage.client.create(KINDS[manifest["kind"].lower()], manifest)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


async def delete(stage: Stage, given: dict[str, Any]) -> None:
    """Somebody deletes an object: object ([NAMESPACE/]KIND/NAME)."""
    resource, namespace, name = stage.target(given["object"])
    try:
        await stage.client.delete(resource, namespace, name)
    except ApiError as error:
        if error.code != 404:
            raise


async def delete_pods(stage: Stage, given: dict[str, Any]) -> None:
    """All pods of a service are deleted at once: service; grace (seconds, default the pods' own)."""
    pods = await stage.pods_of(given["service"])

    async def one(pod: Manifest) -> None:
        try:
            await stage.client.delete(PODS, NAMESPACE, pod["metadata"]["name"], grace=given.get("grace"))
        except ApiError as error:
            if error.code != 404:
                raise

    await asyncio.gather(*(one(pod) for pod in pods))


async def scale(stage: Stage, given: dict[str, Any]) -> None:
    """Somebody scales Deployments: deployments (names), replicas."""
    body = {"spec": {"replicas": int(given["replicas"])}}
    await asyncio.gather(
        *(
            stage.client.patch(DEPLOYMENTS, NAMESPACE, name, body, subresource="scale")
            for name in given["deployments"]
        )
    )


async def cordon(stage: Stage, given: dict[str, Any]) -> None:
    """All nodes of a pool are cordoned: workload (api, worker, cache)."""
    nodes, _ = await stage.client.list(NODES, params={"labelSelector": f"workload={given['workload']}"})
    body = {"spec": {"unschedulable": True}}
    await asyncio.gather(
        *(stage.client.patch(NODES, None, node["metadata"]["name"], body, "strategic") for node in nodes)
    )


async def undo(stage: Stage, given: dict[str, Any]) -> None:
    """kubectl rollout undo: the template of the previous revision, by a JSON patch as kubectl sends it."""
    name = given["deployment"]

    async def attempt() -> None:
        live = await stage.deployment(name)
        older = [rs for rs in await stage.replicasets_of(name) if revision(rs) < revision(live)]
        if not older:
            raise SandboxError(
                f"deployment {name} has no earlier revision.", next="run `opslib sandbox heal`."
            )
        template = copy.deepcopy(older[-1]["spec"]["template"])
        template["metadata"]["labels"].pop(HASH, None)
        body = [{"op": "replace", "path": "/spec/template", "value": template}]
        await stage.client.patch(DEPLOYMENTS, NAMESPACE, name, body, "json")

    await retry_on_conflict(attempt)


async def retag_history(stage: Stage, given: dict[str, Any]) -> None:
    """Every earlier revision turns out to have pinned the same moving tag: deployment, tag."""
    name, tag = given["deployment"], given["tag"]
    live = await stage.deployment(name)
    for rs in await stage.replicasets_of(name):
        if revision(rs) < revision(live):
            body = {
                "spec": {
                    "template": {
                        "metadata": {"labels": {"version": tag}},
                        "spec": {"containers": [{"name": name, "image": f"{REGISTRY}/{name}:{tag}"}]},
                    }
                }
            }
            await stage.client.patch(REPLICASETS, NAMESPACE, rs["metadata"]["name"], body, "strategic")


async def service(stage: Stage, given: dict[str, Any]) -> None:
    """A data service's process is stopped or started: name (prometheus, redis, postgres), action."""
    from opslib.sandbox.services import control

    await asyncio.to_thread(control, stage.state, given["name"], given["action"])


async def wait(stage: Stage, given: dict[str, Any]) -> None:
    """Wait for conditions, see conditions.py: each a word with its arguments."""
    for word, arguments in given.items():
        await CONDITIONS[word](stage, arguments)


STEPS: dict[str, Step] = {
    "release": release,
    "commit": commit,
    "patch": patch,
    "apply": apply,
    "delete": delete,
    "delete_pods": delete_pods,
    "scale": scale,
    "cordon": cordon,
    "undo": undo,
    "retag_history": retag_history,
    "service": service,
    "wait": wait,
}
