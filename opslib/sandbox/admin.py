"""The few requests that running a sandbox makes of its own processes: the API as administrator, the platform."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from opslib.sandbox import pki
from opslib.sandbox.state import Sandbox, SandboxError


class Admin:
    """Requests to the API server of a sandbox as its administrator, and to the platform process' control port."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def get(self, path: str, *, seconds: float = 10.0) -> Any:
        """The JSON that the API server answers; None for 404. Raises SandboxError for anything else."""
        return self._kube("GET", path, None, seconds)

    def send(self, method: str, path: str, body: Any, *, seconds: float = 60.0) -> Any:
        """POST or PUT a document to the API server; its JSON answer, None for 404."""
        return self._kube(method, path, json.dumps(body).encode(), seconds)

    def control(self, method: str, path: str, *, seconds: float = 30.0) -> str:
        """One request to the platform process; its answer as text. Raises SandboxError when there is none."""
        address = self._sandbox.address("platform") or {}
        return _fetch("the platform process", method, f"{address.get('control')}{path}", seconds=seconds)

    def _kube(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        address = self._sandbox.address("kube") or {}
        headers = {
            "Authorization": f"Bearer {pki.token(self._sandbox, 'admin')}",
            "Content-Type": "application/json",
        }
        trust = ssl.create_default_context(cafile=str(self._sandbox.pki / "ca.crt"))
        url = f"{address.get('url')}{path}"
        text = _fetch("the API server", method, url, seconds=seconds, headers=headers, body=body, trust=trust)
        return json.loads(text) if text else None


def _fetch(
    who: str,
    method: str,
    url: str,
    *,
    seconds: float,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    trust: ssl.SSLContext | None = None,
) -> str:
    """What is at a loopback address; empty for 404. Never by way of a proxy, whatever the environment says."""
    parts = urlsplit(url)
    again = "run `opslib sandbox status` to see what does not run, and `opslib sandbox up` to start it again."
    connection: HTTPConnection | None = None
    try:
        if trust is None:
            connection = HTTPConnection(str(parts.hostname), parts.port, timeout=seconds)
        else:
            connection = HTTPSConnection(str(parts.hostname), parts.port, timeout=seconds, context=trust)
        connection.request(method, url[len(f"{parts.scheme}://{parts.netloc}") :], body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, HTTPException, ValueError) as error:
        raise SandboxError(f"{who} did not answer {method} {parts.path}: {error}.", next=again) from error
    finally:
        if connection is not None:
            connection.close()
    if answer.status == 404:
        return ""
    if answer.status >= 400:
        raise SandboxError(
            f"{who} answered {method} {parts.path} with {answer.status}: {text[:400]}", next=again
        )
    return text
