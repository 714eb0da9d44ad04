"""The environment of a container, from env and envFrom.

Source: kubernetes pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), third_party/forked/golang/expansion.
"""

from __future__ import annotations

import base64
import math
import re

from opslib.sandbox.client import CONFIGMAPS, SECRETS, Client, Manifest, Resource
from opslib.sandbox.controllers.objects import quantity

_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


class ConfigError(Exception):
    """The container cannot be created (CreateContainerConfigError); the text is the kubelet's."""


class Sources:
    """ConfigMaps and Secrets of one namespace, read fresh from the API, each once."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._read: dict[tuple[str, str], dict[str, str] | None] = {}

    async def configmap(self, name: str) -> dict[str, str] | None:
        return await self._get(CONFIGMAPS, name)

    async def secret(self, name: str) -> dict[str, str] | None:
        return await self._get(SECRETS, name)

    async def _get(self, resource: Resource, name: str) -> dict[str, str] | None:
        key = (resource.plural, name)
        if key not in self._read:
            obj = await self.client.find(resource, self.namespace, name)
            data: dict[str, str] | None = None
            if obj is not None:
                data = dict(obj.get("data") or {})
                if resource is SECRETS:
                    data = {k: base64.b64decode(v).decode(errors="replace") for k, v in data.items()}
            self._read[key] = data
        return self._read[key]


async def resolve(sources: Sources, pod: Manifest, container: Manifest, status: Manifest) -> dict[str, str]:
    """The environment of a container of a pod whose status has its addresses.

    Raises ConfigError when a ConfigMap, a Secret or a key that is not optional does not exist.
    """
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": str(pod["metadata"]["name"]),
        "KUBERNETES_SERVICE_HOST": "10.8.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
    }
    for entry in container.get("envFrom") or []:
        env |= await _from_source(sources, entry)
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = await _value_from(sources, pod, container, status, entry["valueFrom"])
            if value is not None:
                env[name] = value
        else:
            env[name] = expand(str(entry.get("value") or ""), env)
    return env


async def _from_source(sources: Sources, entry: Manifest) -> dict[str, str]:
    prefix = entry.get("prefix") or ""
    if entry.get("configMapRef"):
        reference, kind = entry["configMapRef"], "configmap"
        data = await sources.configmap(reference["name"])
    else:
        reference, kind = entry["secretRef"], "secret"
        data = await sources.secret(reference["name"])
    if data is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    return {prefix + key: value for key, value in data.items() if _NAME.fullmatch(prefix + key)}


async def _value_from(
    sources: Sources, pod: Manifest, container: Manifest, status: Manifest, source: Manifest
) -> str | None:
    if source.get("fieldRef"):
        return field(pod, status, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        return _resource(container, source["resourceFieldRef"])
    if source.get("configMapKeyRef"):
        reference, kind, title = source["configMapKeyRef"], "configmap", "ConfigMap"
        data = await sources.configmap(reference["name"])
    else:
        reference, kind, title = source["secretKeyRef"], "secret", "Secret"
        data = await sources.secret(reference["name"])
    if data is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        where = f"{sources.namespace}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {title} {where}")
    return data[reference["key"]]


async def missing_volume(sources: Sources, pod: Manifest) -> str:
    """The kubelet's FailedMount text when a volume's ConfigMap or Secret does not exist, else ''."""
    for volume in pod["spec"].get("volumes") or []:
        for part, kind, key in (("configMap", "configmap", "name"), ("secret", "secret", "secretName")):
            source = volume.get(part)
            if not source or source.get("optional"):
                continue
            name = source.get(key, "")
            found = await (sources.configmap(name) if part == "configMap" else sources.secret(name))
            if found is None:
                return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {kind} "{name}" not found'
    return ""


def field(pod: Manifest, status: Manifest, path: str) -> str:
    """A downward API field (fieldpath.ExtractFieldPathAsString and podFieldSelectorRuntimeValue)."""
    meta = pod["metadata"]
    indexed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if indexed:
        return str((meta.get(indexed[1]) or {}).get(indexed[2], ""))
    values = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": status.get("hostIP", ""),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": status.get("podIP", ""),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path])


def _resource(container: Manifest, reference: Manifest) -> str:
    kind, _, name = str(reference["resource"]).partition(".")
    text = ((container.get("resources") or {}).get(kind) or {}).get(name, "0")
    divisor = quantity(reference.get("divisor") or "1") or quantity("1")
    return str(math.ceil(quantity(text) / divisor))


def expand(text: str, env: dict[str, str]) -> str:
    """$(NAME) replaced by earlier variables; an unknown one stays as it is, $$ is a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
