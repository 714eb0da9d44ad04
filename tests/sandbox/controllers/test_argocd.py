"""Argo CD over the real API: releases through git, drift healed, what survives, what is told."""

from __future__ import annotations

import copy
import json

import pytest

from opslib.sandbox.client import APPLICATIONS, CONFIGMAPS, DEPLOYMENTS, NAMESPACES, Resource

pytestmark = pytest.mark.asyncio(loop_scope="module")

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
REFRESH = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}


async def install(cluster) -> None:
    if await cluster.client.find(NAMESPACES, None, "argocd") is not None:
        return
    open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {
        "type": "object",
        "properties": {"spec": open_schema, "status": open_schema, "operation": open_schema},
    }
    body = {
        "metadata": {"name": "applications.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"plural": "applications", "singular": "application", "kind": "Application"},
            "versions": [
                {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
    await cluster.client.create(CRDS, body)
    await cluster.namespace("argocd")


class Git:
    """The folder that one Application follows."""

    def __init__(self, cluster, app: str) -> None:
        self.cluster, self.app = cluster, app
        self.folder = cluster.sandbox.path / "git" / app
        self.folder.mkdir(parents=True)

    async def commit(self, *manifests: dict) -> None:
        kept = set()
        for manifest in copy.deepcopy(manifests):
            meta = manifest["metadata"]
            group = manifest["apiVersion"].rpartition("/")[0]
            track = f"{self.app}:{group}/{manifest['kind']}:{meta['namespace']}/{meta['name']}"
            meta.setdefault("annotations", {})["argocd.argoproj.io/tracking-id"] = track
            path = self.folder / f"{manifest['kind'].lower()}-{meta['name']}.json"
            path.write_text(json.dumps(manifest))
            kept.add(path)
        for path in set(self.folder.glob("*.json")) - kept:
            path.unlink()
        if await self.cluster.client.find(APPLICATIONS, "argocd", self.app):
            await self.cluster.client.patch(APPLICATIONS, "argocd", self.app, REFRESH)


def in_git(make_deployment, ns: str, tag: str = "ok", env: list | None = None) -> dict:
    body = make_deployment(ns, "web", tag)
    del body["spec"]["replicas"]
    if env is not None:
        body["spec"]["template"]["spec"]["containers"][0]["env"] = env
    return {"apiVersion": "apps/v1", "kind": "Deployment", **body}


def config(ns: str, name: str = "web", **data: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": ns},
        "data": data,
    }


async def follow(cluster, ns: str, *manifests: dict, automated: dict | None = None) -> Git:
    await install(cluster)
    await cluster.namespace(ns)
    git = Git(cluster, ns)
    await git.commit(*manifests)
    policy = {"prune": True, "selfHeal": True} if automated is None else automated
    app = {
        "metadata": {"name": ns, "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://example.org/repo.git", "path": "chart", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": ns},
            "syncPolicy": {"automated": policy} if policy else {},
            "ignoreDifferences": [
                {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
            ],
        },
    }
    await cluster.client.create(APPLICATIONS, app)
    return git


async def until(cluster, ns: str, what: str, check) -> dict:
    async def look():
        app = await cluster.get(APPLICATIONS, "argocd", ns)
        status = app.get("status") or {}
        return app if {"sync", "health"} <= status.keys() and check(status) else None

    return await cluster.wait(what, look)


def settled(status: dict) -> bool:
    return status["sync"]["status"] == "Synced" and status["health"]["status"] == "Healthy"


async def image_of(cluster, ns: str) -> str:
    d = await cluster.get(DEPLOYMENTS, ns, "web")
    return d["spec"]["template"]["spec"]["containers"][0]["image"]


async def test_a_release_through_git_is_rolled_out_and_recorded(cluster, make_deployment):
    git = await follow(cluster, "release", in_git(make_deployment, "release"), config("release", A="1"))
    first = await until(cluster, "release", "the first sync", settled)
    assert len(first["status"]["history"]) == 1
    assert {r["kind"] for r in first["status"]["resources"]} == {"ConfigMap", "Deployment"}
    await git.commit(in_git(make_deployment, "release", "ok2"), config("release", A="1"))
    second = await until(cluster, "release", "the release", lambda s: len(s["history"]) == 2 and settled(s))
    assert await image_of(cluster, "release") == "test/web:ok2"
    status = second["status"]
    assert status["sync"]["revision"] == status["history"][-1]["revision"]
    assert status["history"][0]["revision"] != status["history"][1]["revision"]
    assert status["operationState"]["phase"] == "Succeeded"
    assert status["operationState"]["operation"]["initiatedBy"] == {"automated": True}
    assert status["summary"]["images"] == ["test/web:ok2"]
    await cluster.manager.sink.flush()
    reasons = {e["reason"] for e in await cluster.events("argocd", "OperationCompleted")}
    assert reasons == {"OperationCompleted"}


async def test_a_manual_undo_is_reverted_but_additions_and_replicas_stay(cluster, make_deployment):
    ns = "selfheal"
    git = await follow(cluster, ns, in_git(make_deployment, ns))
    await until(cluster, ns, "the first sync", settled)
    await git.commit(in_git(make_deployment, ns, "ok2"))
    await until(cluster, ns, "the release", lambda s: len(s["history"]) == 2 and settled(s))
    code, _, err = await cluster.kubectl("-n", ns, "rollout", "undo", "deployment/web")
    assert code == 0, err
    assert await image_of(cluster, ns) == "test/web:ok"
    drifted = await until(cluster, ns, "the drift to be seen", lambda s: s["sync"]["status"] == "OutOfSync")
    assert [r["status"] for r in drifted["status"]["resources"]] == ["OutOfSync"]
    healed = await until(cluster, ns, "the drift to be healed", settled)
    assert await image_of(cluster, ns) == "test/web:ok2"
    assert len(healed["status"]["history"]) == 2  # healing is no release
    assert healed["status"]["operationState"]["operation"]["sync"]["resources"] == [
        {"group": "apps", "kind": "Deployment", "name": "web"}
    ]
    await cluster.kubectl("-n", ns, "set", "env", "deployment/web", "EXTRA=1")
    await cluster.kubectl("-n", ns, "scale", "deployment/web", "--replicas=1")
    await cluster.client.patch(APPLICATIONS, "argocd", ns, REFRESH)

    async def refreshed():
        app = await cluster.get(APPLICATIONS, "argocd", ns)
        return "argocd.argoproj.io/refresh" not in (app["metadata"].get("annotations") or {})

    await cluster.wait("the refresh", refreshed)
    await until(cluster, ns, "it to be settled", settled)
    d = await cluster.get(DEPLOYMENTS, ns, "web")
    assert d["spec"]["replicas"] == 1
    assert d["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "EXTRA", "value": "1"}]


async def test_what_git_drops_is_pruned_also_a_single_variable(cluster, make_deployment):
    ns = "prune"
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    git = await follow(
        cluster, ns, in_git(make_deployment, ns, env=env), config(ns, "keep", A="1", B="2"), config(ns, "old")
    )
    await until(cluster, ns, "the first sync", settled)
    await git.commit(in_git(make_deployment, ns, env=env[:1]), config(ns, "keep", A="1"))
    await until(cluster, ns, "the second sync", lambda s: len(s["history"]) == 2 and settled(s))
    assert await cluster.client.find(CONFIGMAPS, ns, "old") is None
    assert (await cluster.get(CONFIGMAPS, ns, "keep"))["data"] == {"A": "1"}
    d = await cluster.get(DEPLOYMENTS, ns, "web")
    assert d["spec"]["template"]["spec"]["containers"][0]["env"] == env[:1]


async def test_without_automation_drift_is_only_reported_and_a_sync_can_be_asked_for(
    cluster, make_deployment
):
    ns = "manual"
    git = await follow(cluster, ns, in_git(make_deployment, ns))
    await until(cluster, ns, "the first sync", settled)
    # how a responder pauses it
    await cluster.client.patch(APPLICATIONS, "argocd", ns, {"spec": {"syncPolicy": {"automated": None}}})
    await cluster.kubectl("-n", ns, "set", "image", "deployment/web", "web=test/web:ok3")
    await until(
        cluster,
        ns,
        "the drift to be reported, and rolled out",
        lambda s: s["sync"]["status"] == "OutOfSync" and s["health"]["status"] == "Healthy",
    )
    await cluster.rolled_out(ns, "web")
    assert await image_of(cluster, ns) == "test/web:ok3"
    await git.commit(in_git(make_deployment, ns, "ok4"))
    await cluster.client.patch(APPLICATIONS, "argocd", ns, {"operation": {"sync": {"prune": True}}})
    synced = await until(cluster, ns, "the sync asked for", lambda s: len(s["history"]) == 2 and settled(s))
    assert await image_of(cluster, ns) == "test/web:ok4"
    assert "operation" not in synced


async def test_a_repository_that_is_gone_is_unknown_not_synced(cluster, make_deployment):
    ns = "nogit"
    git = await follow(cluster, ns, in_git(make_deployment, ns))
    await until(cluster, ns, "the first sync", settled)
    await git.commit()
    lost = await until(cluster, ns, "the error", lambda s: s["sync"]["status"] == "Unknown")
    assert lost["status"]["conditions"][0]["type"] == "ComparisonError"
    assert await cluster.client.find(DEPLOYMENTS, ns, "web") is not None  # nothing is pruned on a guess


async def test_a_stalled_release_is_degraded(cluster, make_deployment):
    ns = "degraded"
    good, bad = in_git(make_deployment, ns), in_git(make_deployment, ns, "missing")
    for body in (good, bad):
        body["spec"]["progressDeadlineSeconds"] = 60
    git = await follow(cluster, ns, good)
    await until(cluster, ns, "the first sync", settled)
    await git.commit(bad)
    found = await until(cluster, ns, "the stall", lambda s: s["health"]["status"] == "Degraded")
    assert found["status"]["sync"]["status"] == "Synced"
    health = found["status"]["resources"][0]["health"]
    assert health["message"] == 'Deployment "web" exceeded its progress deadline'
