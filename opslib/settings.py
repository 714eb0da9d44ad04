"""Which platform: a profile from `opslib.toml` or environment variables.

The environment wins over the file, so that `eval "$(opslib sandbox env)"` or a CI job need no file. Secrets are never
here: a profile names a kubeconfig context, a PGSERVICE or PGPASSFILE, and `REDISCLI_AUTH` stays in the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from opslib.errors import SettingsError

FILE = "opslib.toml"

# Environment variables that override a field; the usual names of the field's own tools first.
ENVIRONMENT = {
    "kubeconfig": "KUBECONFIG",
    "context": "OPSLIB_CONTEXT",
    "namespace": "OPSLIB_NAMESPACE",
    "cluster_uid": "OPSLIB_CLUSTER_UID",
    "prometheus": "PROMETHEUS_URL",
    "pgservice": "PGSERVICE",
    "redis": "REDIS_URL",
    "edge": "OPSLIB_EDGE",
    "edge_ca": "OPSLIB_EDGE_CA",
    "evidence": "OPSLIB_EVIDENCE",
}


@dataclass(frozen=True)
class Profile:
    """One platform and how to reach it. Empty means: the tool's own default (current context, libpq environment)."""

    name: str = "default"
    kubeconfig: str = ""
    context: str = ""
    namespace: str = "pss-nano"
    cluster_uid: str = ""  # uid of namespace kube-system; a run on another cluster is refused
    prometheus: str = ""
    pgservice: str = ""
    redis: str = ""
    edge: str = ""  # base address of the ingress when its own status does not tell, e.g. https://10.0.0.7
    edge_ca: str = ""  # CA file that signed the certificate at the edge, when it is not a public one
    evidence: str = "evidence"  # archive root; relative to the current folder
    production: bool = False


def load(name: str = "", *, environ: Mapping[str, str] | None = None, start: Path | None = None) -> Profile:
    """The profile `name` ('' means OPSLIB_PROFILE, else the file's `default`, else the environment alone).

    Raises SettingsError when the name or a key is unknown, or the file cannot be read.
    """
    env = os.environ if environ is None else environ
    file = find(env, start)
    table = _read(file) if file else {}
    profiles = table.get("profiles", {})
    wanted = name or env.get("OPSLIB_PROFILE", "") or str(table.get("default", ""))
    profile = Profile(name=wanted or "default")
    if wanted:
        if wanted not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise SettingsError(
                f"there is no profile {wanted!r}; known: {known}",
                target=str(file or FILE),
                next=f"add [profiles.{wanted}] to {FILE}, or leave the name empty",
            )
        profile = _from_table(profile, profiles[wanted], str(file))
    overrides = {key: env[variable] for key, variable in ENVIRONMENT.items() if env.get(variable)}
    return replace(profile, **overrides)  # type: ignore[arg-type]


def find(environ: Mapping[str, str], start: Path | None = None) -> Path | None:
    """The settings file: $OPSLIB_CONFIG, else opslib.toml in this folder or the nearest one above; None without."""
    if named := environ.get("OPSLIB_CONFIG"):
        path = Path(named)
        if not path.is_file():
            raise SettingsError(
                "the settings file does not exist", target=named, next="correct OPSLIB_CONFIG"
            )
        return path
    here = (start or Path.cwd()).resolve()
    return next((folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def _read(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the settings file cannot be read: {error}", target=str(path)) from error


def _from_table(profile: Profile, table: Mapping[str, object], file: str) -> Profile:
    known = {field.name: field.type for field in fields(Profile)} | {}
    known.pop("name")
    for key, value in table.items():
        if key not in known:
            raise SettingsError(
                f"profile {profile.name!r} has an unknown key {key!r}; known: {', '.join(known)}", target=file
            )
        wanted = bool if known[key] == "bool" else str
        if not isinstance(value, wanted):
            raise SettingsError(f"{key} of profile {profile.name!r} must be a {wanted.__name__}", target=file)
    return replace(profile, **table)  # type: ignore[arg-type]
