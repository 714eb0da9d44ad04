"""The two processes of a sandbox that are ours: the API server and the platform that lives behind it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from opslib.sandbox import pki
from opslib.sandbox.admin import Admin
from opslib.sandbox.processes import copy, remove
from opslib.sandbox.services.base import Service
from opslib.sandbox.state import SandboxError, read_json, write_atomic

# One thread each is all they can use, and a child must find the same opslib that runs here.
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
ROOT = Path(__file__).resolve().parents[2]


def python(module: str, *arguments: str) -> list[str]:
    """The command line that runs one of opslib's modules."""
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """The environment of a child of ours."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**ENVIRONMENT, "PYTHONPATH": path}


class Part(Service):
    """A process that says where it listens by writing an address file with its pid."""

    part: ClassVar[str]  # the folder of its address file
    url_key: ClassVar[str]

    @property
    def port(self) -> int | None:
        address = self.sandbox.address(self.part) or {}
        return urlsplit(str(address.get(self.url_key, ""))).port

    def stop(self) -> None:
        self.supervisor.stop(self.name)

    def announced(self) -> bool:
        """Whether the process that runs now has written its address."""
        process = self.supervisor.record.processes.get(self.name)
        address = self.sandbox.address(self.part) or {}
        return process is not None and address.get("pid") == process.pid

    def start(self) -> None:
        if self.running():
            if not self.trouble():
                return
            self.abandon()
        self.run()

    def run(self) -> None:
        """Start it and wait for its address."""
        speed = f"{self.supervisor.record.speed:g}"
        argv = python(f"opslib.sandbox.{self.name}", "--state", str(self.sandbox.path), "--speed", speed)
        self.supervisor.start(
            self.name, [*argv, *self.arguments()], ready=self.announced, env=environment(), seconds=45.0
        )

    def arguments(self) -> list[str]:
        """More of its command line."""
        return []

    def trouble(self) -> str:
        if not self.running():
            return "not running"
        try:
            self.ask()
        except SandboxError as error:
            return error.what
        return ""

    def ask(self) -> None:
        """Raise SandboxError unless it answers."""
        raise NotImplementedError


class Api(Part):
    """The Kubernetes API server; its state is what a snapshot of the cluster is."""

    name: ClassVar[str] = "api"
    processes: ClassVar[tuple[str, ...]] = ("api",)
    part: ClassVar[str] = "kube"
    url_key: ClassVar[str] = "url"

    def run(self) -> None:
        super().run()
        pki.write_kubeconfigs(self.sandbox, str((self.sandbox.address("kube") or {})["url"]))

    def ask(self) -> None:
        Admin(self.sandbox).get("/api/v1/namespaces/kube-system", seconds=3.0)

    def save(self, target: Path) -> None:
        state = Admin(self.sandbox).get("/sandbox/v1/state", seconds=30.0)
        write_atomic(target, json.dumps(state))

    def restore(self, source: Path) -> None:
        self.start()
        Admin(self.sandbox).send("PUT", "/sandbox/v1/state", read_json(source))


class Platform(Part):
    """Controllers, kubelet, workloads, edge and traffic in one process; its git folder is what Argo CD follows."""

    name: ClassVar[str] = "platform"
    processes: ClassVar[tuple[str, ...]] = ("platform",)
    part: ClassVar[str] = "platform"
    url_key: ClassVar[str] = "edge_https"

    def arguments(self) -> list[str]:
        return ["--kubeconfig", str(self.sandbox.platform_kubeconfig)]

    def ask(self) -> None:
        Admin(self.sandbox).control("GET", "/healthz", seconds=3.0)

    def save(self, target: Path) -> None:
        git = self.sandbox.path / "git"
        if git.exists():
            copy(git, target)

    def restore(self, source: Path) -> None:
        """Put the git folder back; the process itself is told by `reset`."""
        remove(self.sandbox.path / "git")
        if source.exists():
            copy(source, self.sandbox.path / "git")

    def reset(self) -> None:
        """Let it forget what it knew and look at the cluster anew."""
        self.start()
        Admin(self.sandbox).control("POST", "/reset")
