"""What was released shortly before: rollouts and configuration, over all Deployments (PLATFORM.md 7.1, A2)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opslib.diagnosis.seen import Seen


@dataclass(frozen=True)
class Release:
    """The newest rollout of one Deployment in the window that was read."""

    deployment: str
    at: datetime  # UTC
    revision: int
    before: str
    after: str

    @property
    def version(self) -> str:
        """The new image's tag, else the revision."""
        tag = self.after.rsplit(":", 1)[-1] if ":" in self.after else ""
        return tag if tag and self.after != self.before else f"revision {self.revision}"

    @property
    def says(self) -> str:
        """One sentence: when, what, from what to what."""
        if not self.before:
            change = f"{self.after}; what it replaced is no longer kept"
        else:
            change = (
                f"{self.before} → {self.after}" if self.before != self.after else f"same image {self.after}"
            )
        return f"{self.deployment} rolled out revision {self.revision} at {self.at:%H:%M:%S}Z ({change})"


def releases(seen: Seen) -> dict[str, Release]:
    """The newest rollout of each Deployment among the recent changes; {} when they were not seen."""
    if not seen.known("changes") or not len(seen.changes):
        return {}
    rollouts = seen.changes[(seen.changes["kind"] == "Deployment") & seen.changes["revision"].notna()]
    # By revision, not by time: a rollback that was taken back runs an old ReplicaSet again (A3).
    rows = rollouts.sort_values(["revision", "at"])
    return {str(row["name"]): _release(row) for row in rows.to_dict("records")}


def _release(row: Mapping[Hashable, Any]) -> Release:
    return Release(
        str(row["name"]),
        row["at"].to_pydatetime(),
        int(row["revision"]),
        _text(row["before"]),
        _text(row["after"]),
    )


def running_at(seen: Seen, deployment: str, moment: datetime) -> Release | None:
    """The rollout that ran at a moment, among the recent changes; None when it is older than those."""
    rows = seen.changes[
        (seen.changes["kind"] == "Deployment")
        & (seen.changes["name"] == deployment)
        & seen.changes["revision"].notna()
        & (seen.changes["at"] <= moment)
    ].sort_values(["at", "revision"])
    return _release(rows.iloc[-1].to_dict()) if len(rows) else None


def taken_back(seen: Seen, release: Release) -> str:
    """What it looks like when a rollback was undone, by Argo CD for instance: the same images came, went and came again."""
    mine = seen.changes[(seen.changes["kind"] == "Deployment") & (seen.changes["name"] == release.deployment)]
    earlier = mine[(mine["revision"].astype(float) < release.revision)].sort_values(["revision", "at"])
    if not len(earlier) or release.after not in {_text(value) for value in earlier["after"]}:
        return ""
    number = int(earlier.iloc[-1]["revision"])
    return f"revision {number} went back from it, and was taken back by revision {release.revision}: who owns the Deployment? (G6)"


def changed_configuration(seen: Seen, deployment: str) -> list[str]:
    """ConfigMaps and Secrets named like the Deployment that changed in the window, one sentence each."""
    if not seen.known("changes") or not len(seen.changes):
        return []
    rows = seen.changes[seen.changes["kind"].isin(["ConfigMap", "Secret"])]
    return [
        f"{row['kind']} {row['name']} was changed at {row['at']:%H:%M:%S}Z by {row['by'] or 'unknown'}:"
        " an undo of the Deployment does not take that back (A3)"
        for row in rows.to_dict("records")
        if str(row["name"]).startswith(deployment)
    ]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
