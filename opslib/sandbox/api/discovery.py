"""Discovery documents: /api, /apis, one per group and one per version (k8s.io/apiserver/pkg/endpoints/discovery)."""

from __future__ import annotations

import base64
import hashlib
import platform

from opslib.sandbox.api.errors import Json
from opslib.sandbox.api.registry import METRICS_GROUP, Registry, Resource

VERSION = "v1.32.8"
_ORDER = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
)


def version_info() -> Json:
    """/version."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": "32",
        "gitVersion": VERSION,
        "gitCommit": hashlib.sha1(VERSION.encode(), usedforsecurity=False).hexdigest(),
        "gitTreeState": "clean",
        "buildDate": "2025-08-13T14:21:22Z",
        "goVersion": "go1.23.11",
        "compiler": "gc",
        "platform": f"linux/{machine}",
    }


def core_versions(address: str) -> Json:
    """/api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _rank(name: str) -> tuple[int, int, str]:
    return (0, _ORDER.index(name), "") if name in _ORDER else (1, 0, name)


def groups(registry: Registry) -> Json:
    """/apis."""
    versions = registry.versions()
    names = sorted((n for n in versions if n), key=_rank)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(n, versions[n]) for n in names]}


def group(registry: Registry, name: str) -> Json | None:
    """/apis/GROUP."""
    versions = registry.versions().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions and name else None


def _storage_hash(row: Resource) -> str:
    text = f"{row.key[0]}/{row.storage_version or row.version}/{row.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def resources(registry: Registry, group_name: str, version: str) -> Json | None:
    """/api/v1 or /apis/GROUP/VERSION."""
    rows = registry.of_version(group_name, version)
    if not rows:
        return None
    listed: list[Json] = []
    for row in rows:
        item: Json = {
            "name": row.plural,
            "singularName": row.singular or row.kind.lower(),
            "namespaced": row.namespaced,
            "kind": row.kind,
            "verbs": sorted(row.verbs),
        }
        if row.short:
            item["shortNames"] = list(row.short)
        if row.categories:
            item["categories"] = list(row.categories)
        if "watch" in row.verbs and group_name != METRICS_GROUP:
            item["storageVersionHash"] = _storage_hash(row)
        listed.append(item)
        for sub in row.subresources:
            entry: Json = {
                "name": f"{row.plural}/{sub.name}",
                "singularName": "",
                "namespaced": row.namespaced,
                "kind": sub.kind or row.kind,
                "verbs": sorted(sub.verbs),
            }
            if sub.group:
                entry["group"], entry["version"] = sub.group, sub.version
            listed.append(entry)
    gv = f"{group_name}/{version}" if group_name else version
    document: Json = {"kind": "APIResourceList", "groupVersion": gv, "resources": listed}
    if group_name:
        document["apiVersion"] = "v1"
    return document
