"""A container as the kubelet would show it to a program, without a kubelet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from opslib.sandbox.clock import Clock
from opslib.sandbox.inventory import services
from opslib.sandbox.inventory.names import BY_NAME
from opslib.sandbox.workloads.protocol import HttpAnswer


@dataclass
class Directory:
    """Answers calls to services: by a table, else 200."""

    answers: dict[str, HttpAnswer | None] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def call(self, service: str, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer | None:
        name = service.partition(":")[0]
        self.calls.append(f"{method} {name}{path}")
        return self.answers.get(name, HttpAnswer(200, "{}", 0.01))


@dataclass
class FakeContainer:
    pod: dict[str, Any]
    spec: dict[str, Any]
    env: dict[str, str]
    started_at: dt.datetime
    restarts: int = 0
    clock: Clock = field(default_factory=lambda: Clock(20.0))
    services: Directory = field(default_factory=Directory)
    lines: list[str] = field(default_factory=list)

    def log(self, line: str) -> None:
        self.lines.append(line)


Make = Callable[..., FakeContainer]


@pytest.fixture
def container() -> Make:
    """container("api-gateway", KEY="value") is a container of that service with its real environment and changes."""

    def make(name: str, *, age: float = 100.0, **changes: str | None) -> FakeContainer:
        service = BY_NAME[name]
        env = {
            **services.config(service),
            **services.secret_values(service),
            "REDIS_HOST": "redis",
            "RABBITMQ_HOST": "rabbitmq",
        }
        for key, value in changes.items():
            if value is None:
                env.pop(key, None)
            else:
                env[key] = value
        spec = services.pod_template(service, service.tag)["spec"]["containers"][0]
        pod = {"metadata": {"uid": f"uid-{name}", "name": f"{name}-0", "namespace": "pss-nano"}, "spec": {}}
        started = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age / 20.0)
        return FakeContainer(pod, spec, env, started)

    return make
