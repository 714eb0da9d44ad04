"""A kubeconfig with a plain token or certificate files, read directly: half a second less than the official package.

Everything else (exec plugins, auth providers, inline client certificates, impersonation, in-cluster) is left to the
official package; `static` returns None for it. Source: k8s.io/client-go/tools/clientcmd (merging: the first file to
define a name wins; relative paths are relative to their file).
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Any
CLUSTER = {
    "server", "certificate-authority", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify",
}  # fmt: skip
USER = {"token", "tokenFile", "client-certificate", "client-key"}


@dataclass(frozen=True)
class Static:
    """One context of a kubeconfig, resolved."""

    host: str
    context: str
    cluster: str
    namespace: str
    tls: ssl.SSLContext | None
    server_name: str
    token: str
    token_file: str

    def authorization(self) -> dict[str, str]:
        """The header; a token file is read each time, because it is rotated. Raises OSError."""
        token = Path(self.token_file).read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def static(files: str, context: str) -> Static | None:
    """The context (or the current one) of these files, separated as in KUBECONFIG; None to ask the official package."""
    import yaml

    loader: Json = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    merged: dict[str, dict[str, tuple[Json, Path]]] = {"contexts": {}, "clusters": {}, "users": {}}
    chosen = context
    for name in files.split(os.pathsep):
        file = Path(name).expanduser()
        if not name or not file.is_file():
            continue
        try:
            body = yaml.load(file.read_text(), Loader=loader)  # noqa: S506 - a safe loader
            for kind, found in merged.items():
                for entry in body.get(kind) or []:
                    found.setdefault(entry["name"], (entry[kind[:-1]] or {}, file.parent))
            chosen = chosen or body.get("current-context") or ""
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, OSError):
            return None  # the official package says what is wrong with it
    try:
        inner, _ = merged["contexts"][chosen]
        cluster, home = merged["clusters"][inner["cluster"]]
        user, user_home = merged["users"][inner["user"]]
    except KeyError:
        return None
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    if proxied or set(cluster) - CLUSTER or set(user) - USER or not cluster.get("server"):
        return None
    try:
        tls = _context(cluster, home, user, user_home)
    except (OSError, ValueError):
        return None
    token_file = user.get("tokenFile", "")
    return Static(
        cluster["server"].rstrip("/"),
        chosen,
        inner["cluster"],
        inner.get("namespace", ""),
        tls,
        cluster.get("tls-server-name", ""),
        user.get("token", ""),
        str(user_home / token_file) if token_file else "",
    )


def _context(cluster: Json, home: Path, user: Json, user_home: Path) -> ssl.SSLContext | None:
    if not cluster["server"].startswith("https"):
        return None
    made = ssl.create_default_context()
    if data := cluster.get("certificate-authority-data"):
        made = ssl.create_default_context(cadata=base64.b64decode(data).decode())
    elif file := cluster.get("certificate-authority"):
        made = ssl.create_default_context(cafile=str(home / file))
    if cluster.get("insecure-skip-tls-verify"):
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if user.get("client-certificate"):
        made.load_cert_chain(user_home / user["client-certificate"], user_home / user["client-key"])
    return made
