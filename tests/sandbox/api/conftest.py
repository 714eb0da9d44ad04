"""A running API server in a temporary folder, and ways to talk to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from opslib.sandbox import pki
from opslib.sandbox.state import Sandbox

KUBECTL = Path(sys.executable).parent / "kubectl"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@dataclass
class Cluster:
    """One API server process and its state folder."""

    path: Path
    process: subprocess.Popen[bytes] | None = None
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox.at(self.path)

    @property
    def address(self) -> Path:
        return self.path / "kube" / "address.json"

    @property
    def url(self) -> str:
        return str(json.loads(self.address.read_text())["url"])

    def start(self) -> None:
        log = (self.path / "api.log").open("ab")
        command = [sys.executable, "-m", "opslib.sandbox.api", "--state", str(self.path), "--speed", "20"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError((self.path / "api.log").read_text())
            try:
                if json.loads(self.address.read_text())["pid"] == self.process.pid:
                    break
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        pki.write_kubeconfigs(self.sandbox, self.url)

    def stop(self, sig: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(sig)
        self.process.wait(10)

    def token(self, user: str = "admin") -> str:
        return pki.token(self.sandbox, user)

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **options: Any
    ) -> requests.Response:
        headers = options.pop("headers", {})
        user = options.pop("user", "admin")
        if user:
            headers.setdefault("Authorization", f"Bearer {self.token(user)}")
        data = None
        if body is not None:
            headers.setdefault("Content-Type", kind)
            data = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.session.request(
            method,
            self.url + path,
            data=data,
            headers=headers,
            verify=str(self.path / "pki" / "ca.crt"),
            **options,
        )

    def ok(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **options: Any
    ) -> Any:
        answer = self.request(method, path, body, kind, **options)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def kubectl(self, *arguments: str, stdin: str = "", user: str = "admin", check: bool = True) -> str:
        done = self.kubectl_raw(*arguments, stdin=stdin, user=user)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def kubectl_raw(
        self, *arguments: str, stdin: str = "", user: str = "admin"
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.sandbox.kubeconfig), "HOME": str(self.path)}
        return subprocess.run(
            [str(KUBECTL), "--context", user, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )

    def watch(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Events of a watch that is open when this returns, until the server ends it."""
        answer = self.request("GET", path, params={"watch": "true", **query}, stream=True, timeout=60)
        assert answer.status_code == 200, answer.text
        return (json.loads(line) for line in answer.iter_lines())

    def namespace(self, name: str) -> str:
        self.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name


def make_cluster(path: Path) -> Cluster:
    cluster = Cluster(path)
    pki.ensure(cluster.sandbox)
    return cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One server that the whole session shares; tests use namespaces of their own."""
    made = make_cluster(tmp_path_factory.mktemp("api") / "shared")
    made.start()
    yield made
    made.stop()
    made.session.close()
    assert "Traceback" not in (made.path / "api.log").read_text()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A server that one test may stop, kill and restart."""
    made = make_cluster(tmp_path / "own")
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    made.session.close()
    assert "Traceback" not in (made.path / "api.log").read_text()


_COUNT = iter(range(1_000_000))


@pytest.fixture
def ns(cluster: Cluster) -> str:
    """A fresh namespace."""
    return cluster.namespace(f"t{os.getpid()}-{next(_COUNT)}")


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    """A small Deployment."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example/app:v1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A small Pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example/app:v1"}], **spec},
    }
