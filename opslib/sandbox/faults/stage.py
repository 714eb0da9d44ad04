"""Where a fault is played: the sandbox's API as a client, its git folder, its edge, its data services."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from opslib.sandbox.client import (
    APPLICATIONS,
    CONFIGMAPS,
    DEPLOYMENTS,
    HPAS,
    INGRESSES,
    NODES,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICES,
    STATEFULSETS,
    Client,
    Manifest,
    Resource,
)
from opslib.sandbox.inventory import gitops
from opslib.sandbox.inventory.names import APPLICATION, HOST, NAMESPACE
from opslib.sandbox.state import SandboxError, read_json

KINDS: dict[str, Resource] = {
    resource.kind.lower(): resource
    for resource in (
        APPLICATIONS,
        CONFIGMAPS,
        DEPLOYMENTS,
        HPAS,
        INGRESSES,
        NODES,
        PODS,
        REPLICASETS,
        SECRETS,
        SERVICES,
        STATEFULSETS,
    )
}
REFRESH = "argocd.argoproj.io/refresh"
LONGEST = 90.0  # real seconds that a condition is waited for
Say = Callable[[str], None]


class Stage:
    """One sandbox, as faults act on it."""

    def __init__(self, state: Path, client: Client, say: Say) -> None:
        self.state = state
        self.client = client
        self.say = say

    @staticmethod
    def target(text: str) -> tuple[Resource, str | None, str]:
        """KIND/NAME or NAMESPACE/KIND/NAME as resource, namespace, name."""
        *space, kind, name = text.split("/")
        resource = KINDS.get(kind.lower())
        if resource is None:
            raise SandboxError(
                f"a fault acts on unknown kind {kind!r}.", next=f"use one of {', '.join(KINDS)}."
            )
        namespace = (space[0] if space else NAMESPACE) if resource.namespaced else None
        return resource, namespace, name

    async def deployment(self, name: str) -> Manifest:
        return await self.client.get(DEPLOYMENTS, NAMESPACE, name)

    async def pods_of(self, service: str) -> list[Manifest]:
        """The pods of a service that are not on their way out."""
        selector = {"labelSelector": f"app.kubernetes.io/name={service}"}
        pods, _ = await self.client.list(PODS, NAMESPACE, selector)
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    async def replicasets_of(self, deployment: str) -> list[Manifest]:
        """The ReplicaSets of a Deployment, oldest revision first."""
        selector = {"labelSelector": f"app.kubernetes.io/name={deployment}"}
        found, _ = await self.client.list(REPLICASETS, NAMESPACE, selector)
        return sorted(found, key=revision)

    def git_read(self, kind: str, name: str) -> Manifest:
        """A manifest as git has it. Raises SandboxError when it is not in git."""
        found = read_json(gitops.folder(self.state) / f"{kind.lower()}-{name}.json")
        if not isinstance(found, dict):
            raise SandboxError(f"git has no {kind} {name}.", next="run `opslib sandbox heal`.")
        return found

    async def git_commit(self, manifests: list[Manifest]) -> None:
        """Write manifests into git and tell Argo CD, as the repository's webhook does."""
        for manifest in manifests:
            path = gitops.folder(self.state) / gitops.file_name(manifest)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
            temporary.replace(path)
        note = {"metadata": {"annotations": {REFRESH: "normal"}}}
        await self.client.patch(APPLICATIONS, "argocd", APPLICATION, note)

    def in_git(self, kind: str, name: str) -> bool:
        return (gitops.folder(self.state) / f"{kind.lower()}-{name}.json").exists()

    async def visit(self, path: str, *, method: str = "GET", token: bool = True) -> int:
        """One request through the edge over TLS, as a user; its status, 0 when there was no answer."""
        address = read_json(self.state / "platform" / "address.json") or {}
        headers = {"Host": HOST, "User-Agent": "opslib-fault"}
        if token:
            headers["Authorization"] = "Bearer eyJhbGciOiJIUzI1NiJ9.sandbox"
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
                session.request(
                    method,
                    f"{address.get('edge_https')}{path}",
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=10),
                    allow_redirects=False,
                    server_hostname=HOST,
                ) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def until(self, what: str, look: Callable[[], Any], seconds: float = LONGEST) -> None:
        """Wait until `await look()` returns "" ; otherwise it returns what is still missing.

        Raises SandboxError when that takes longer than `seconds`.
        """
        end, shown = time.monotonic() + seconds, ""
        while missing := await look():
            if missing != shown:
                self.say(f"waiting for {what}: {missing}")
                shown = missing
            if time.monotonic() > end:
                raise SandboxError(
                    f"after {seconds:.0f} s {what} was still not there: {missing}.",
                    next="look at it with kubectl, or run `opslib sandbox heal` and try again.",
                )
            await asyncio.sleep(0.1)


def revision(obj: Manifest) -> int:
    """The revision of a Deployment or ReplicaSet; 0 when it has none yet."""
    notes = obj["metadata"].get("annotations") or {}
    return int(notes.get("deployment.kubernetes.io/revision", "0"))


def image(obj: Manifest) -> str:
    """The image of the first container of a pod template."""
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])
