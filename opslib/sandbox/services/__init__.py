"""The data services of a sandbox: PostgreSQL, Redis, Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from opslib.sandbox.processes import Supervisor
from opslib.sandbox.services.base import Service
from opslib.sandbox.services.postgres import Postgres
from opslib.sandbox.services.prometheus import Prometheus
from opslib.sandbox.services.redis import Redis
from opslib.sandbox.state import BadInputError, Sandbox, SandboxError

SERVICES: dict[str, type[Service]] = {"postgres": Postgres, "redis": Redis, "prometheus": Prometheus}
Action = Literal["stop", "start", "restart"]


def control(state: Path, service: str, action: Action) -> None:
    """Stop, start or restart one data service of the sandbox whose folder is `state`; a fault's way to its process.

    What runs already is not started again, what does not run is not stopped again. Raises BadInputError for a
    service or action there is not, SandboxError when there is no such sandbox or the service does not come up.
    """
    if service not in SERVICES:
        raise BadInputError(
            f"there is no data service {service!r}.", next=f"use one of {', '.join(SERVICES)}."
        )
    if action not in get_args(Action):
        raise BadInputError(f"{action!r} is no action.", next=f"use one of {', '.join(get_args(Action))}.")
    sandbox = Sandbox.at(state)
    with sandbox.lock():
        if not sandbox.exists():
            raise SandboxError(f"there is no sandbox at {state}.", next="run `opslib sandbox up` first.")
        record = sandbox.load()
        if service in record.left_out:
            raise SandboxError(
                f"this sandbox has no {service}: {record.left_out[service]}.",
                next=f"install {service}, then run `opslib sandbox down` and `opslib sandbox up`.",
            )
        it = SERVICES[service](Supervisor(sandbox, record))
        if action in {"stop", "restart"}:
            it.stop()
        if action in {"start", "restart"}:
            it.start()
