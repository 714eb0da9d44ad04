"""A change: everything known about one write before, while and after it happens.

A noun (`cluster`, `database`, ...) returns a Change and touches nothing. Only `run.apply(change)` calls `apply`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Any
AboutTo = Callable[[Mapping[str, Json]], None]
Progress = Callable[[str], None]


class Undo(StrEnum):
    """How a change can be taken back."""

    EXACT = "exact"
    COMPENSATING = "compensating"
    NONE = "none"


class DryRun(StrEnum):
    """How a change can be tried without making it."""

    SERVER = "server"
    ESTIMATE = "estimate"
    NONE = "none"


@dataclass(frozen=True)
class Target:
    """What a record or a change is about."""

    cluster: str = ""
    cluster_uid: str = ""
    namespace: str = ""
    object: str = ""  # kind/name in lower case, e.g. deployment/api-gateway
    uid: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.cluster, self.namespace, self.object) if part)


@dataclass(frozen=True)
class Risk:
    """What a change can cost: its level, one sentence, and what it touches."""

    level: str  # low, medium, high
    says: str
    touches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mark:
    """What an applied change leaves on the object, set in the same request as the change itself."""

    run: str
    digest: str


@dataclass(frozen=True)
class Tried:
    """The result of a permission check or a dry run: ok, not permitted, rejected, unknown or none."""

    status: str
    says: str = ""


@dataclass(frozen=True)
class Settled:
    """Whether the platform carried the change out (rollout complete, object gone), and what it says."""

    ok: bool
    says: str
    data: Mapping[str, Json] = field(default_factory=dict)


class Change(ABC):
    """One write, not yet made. Subclasses live with their noun."""

    name: str  # [a-z0-9-]+, stable over runs: rollback-api-gateway
    title: str  # one line for people
    operation: str  # rollback, scale, restart, maintenance-mode, undo
    target: Target
    before: Mapping[str, Json]  # normalised values now; no time stamps, no status
    after: Mapping[str, Json]  # normalised values then
    guard: str = ""  # what must still be so when applied, e.g. the pod-template hash
    risk: Risk
    dry_run_kind: DryRun = DryRun.NONE
    undo_kind: Undo = Undo.NONE
    commands: Sequence[str] = ()  # what a person can type when this tool is not at hand
    follow_ups: Sequence[str] = ()  # what stays to be done after it, e.g. resume Argo CD
    departs: Sequence[
        str
    ] = ()  # where it departs from the runbook, and why (defect numbers of PLATFORM.md 7.1)

    @property
    def digest(self) -> str:
        """Twelve hex digits over cluster, object, operation, guard and the values after (DESIGN.md, confirmation)."""
        body = [
            self.target.cluster_uid,
            self.target.uid or self.target.object,
            self.operation,
            self.guard,
            self.after,
        ]
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[
            :12
        ]

    @property
    def confirmation(self) -> str:
        """`NAME@DIGEST`, what an operator passes to confirm exactly this change."""
        return f"{self.name}@{self.digest}"

    def diff(self) -> str:
        """Unified diff of the normalised values before and after, as text."""
        old, new = (_lines(values) for values in (self.before, self.after))
        return "\n".join(difflib.unified_diff(old, new, "before", "after", lineterm="", n=2))

    @abstractmethod
    def permitted(self) -> Tried:
        """Ask the platform, by access reviews only, whether this identity may make the change."""

    def dry_run(self) -> Tried:
        """Try the change as far as it declares; never changes anything."""
        return Tried("none", "this change cannot be tried beforehand")

    @abstractmethod
    def lease(self, holder: str) -> AbstractContextManager[None]:
        """Hold the lease on the target while applying. Raises LeaseHeld, naming the holder."""

    @abstractmethod
    def mark_now(self) -> Mark | None:
        """The mark the object carries now, if any: answers 'was it applied?'."""

    @abstractmethod
    def apply(self, mark: Mark, about_to: AboutTo) -> Mapping[str, Json]:
        """Make the change; `about_to(entry)` is called before every single request that writes.

        Returns a receipt (JSON): what was written, object by object. Raises TargetChanged when the guard no longer
        holds, NotPermitted, Unreachable; an error after a first write carries `receipt` as an attribute.
        """

    @abstractmethod
    async def settle(self, receipt: Mapping[str, Json], progress: Progress, deadline: float) -> Settled:
        """Wait, up to `deadline` seconds, until the platform carried the change out."""

    @abstractmethod
    def undo_spec(self, receipt: Mapping[str, Json]) -> Mapping[str, Json] | None:
        """JSON from which the noun can build the undoing Change in another process; None when there is none."""


def _lines(values: Mapping[str, Json]) -> list[str]:
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False).splitlines() if values else []
