"""Confirmations: `NAME@DIGEST`, printed by an observing run, good for that change on that cluster, 30 minutes, once.

A proposal is a file in <evidence>/proposals; using it makes a claim in <evidence>/confirmations, created
exclusively, so that of two
runs with the same confirmation one gets it. A claim also ends all earlier proposals of the same change.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from opslib.errors import EvidenceError, ParameterError, StaleConfirmation
from opslib.records import journal
from opslib.records.change import Change
from opslib.records.model import now, plain, stamp

VALID = timedelta(minutes=30)  # DESIGN.md: a confirmation expires
_FORM = re.compile(r"[a-z0-9][a-z0-9-]*@[0-9a-f]{12}")
OBSERVE = "observe again and confirm what that run proposes"


@dataclass(frozen=True)
class Proposal:
    """A change that a run proposed: who, when, on which cluster."""

    confirmation: str
    run: str
    at: datetime
    cluster_uid: str
    title: str

    @property
    def expires(self) -> datetime:
        """When the confirmation is no longer taken."""
        return self.at + VALID


@dataclass(frozen=True)
class Claim:
    """A confirmation that was used: by which run, when, how and by whom."""

    confirmation: str
    proposed_by: str
    run: str
    at: datetime
    by: str


def parse(approve: str) -> list[str]:
    """The confirmations in the parameter `approve`, comma-separated.

    Raises ParameterError for anything else.
    """
    parts = [part.strip() for part in approve.split(",") if part.strip()]
    for part in parts:
        if not _FORM.fullmatch(part):
            raise ParameterError(
                f"{part!r} is not a confirmation: NAME@DIGEST with 12 hex digits",
                target="approve",
                next="copy it from the proposal of an observing run",
            )
    return parts


class Confirmations:
    """The proposals and claims of one archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proposals = root / "proposals"
        self.claims = root / "confirmations"

    def propose(self, run: str, change: Change) -> datetime:
        """Keep a proposal; returns when it expires. Raises EvidenceError."""
        at = now()
        body = {
            "confirmation": change.confirmation,
            "run": run,
            "at": stamp(at),
            "expires": stamp(at + VALID),
            "cluster_uid": change.target.cluster_uid,
            "title": change.title,
        }
        _write_new(self.proposals / f"{change.confirmation}.{run}.json", body, replace=True)
        return at + VALID

    def check(self, confirmation: str, cluster_uid: str) -> Proposal:
        """The newest proposal of a confirmation, if it may still be used;

        raises StaleConfirmation, saying why not.
        """
        known = self._proposals(confirmation)
        if not known:
            raise StaleConfirmation(
                "no run in this archive proposed that",
                target=f"{confirmation} in {self.root.name}",
                next=OBSERVE,
            )
        proposal = max(known, key=lambda item: item.at)
        for claim in self.claimed(confirmation):
            if claim.proposed_by == proposal.run or claim.at >= proposal.at:
                raise StaleConfirmation(
                    f"used already, by run {claim.run} at {stamp(claim.at)}",
                    target=confirmation,
                    next=OBSERVE,
                )
        if now() > proposal.expires:
            raise StaleConfirmation(
                f"expired at {stamp(proposal.expires)}; run {proposal.run} proposed it at {stamp(proposal.at)}",
                target=confirmation,
                next=OBSERVE,
            )
        if cluster_uid and proposal.cluster_uid and cluster_uid != proposal.cluster_uid:
            raise StaleConfirmation(
                f"for another cluster: proposed on {proposal.cluster_uid}, this is {cluster_uid}",
                target=confirmation,
                next="choose the context of the cluster it was proposed on",
            )
        return proposal

    def claim(self, proposal: Proposal, run: str, by: str) -> Claim:
        """Use a confirmation up, atomically. Raises StaleConfirmation when another run was faster."""
        self.check(proposal.confirmation, proposal.cluster_uid)
        at = now()
        body = {
            "confirmation": proposal.confirmation,
            "proposed_by": proposal.run,
            "run": run,
            "at": stamp(at),
            "by": by,
        }
        path = self.claims / f"{proposal.confirmation}.{proposal.run}.json"
        if not _write_new(path, body):
            raise StaleConfirmation(
                "used already, by another run just now", target=proposal.confirmation, next=OBSERVE
            )
        return Claim(proposal.confirmation, proposal.run, run, at, by)

    def claimed(self, confirmation: str) -> list[Claim]:
        """Who used it, oldest first."""
        found = [
            Claim(
                body["confirmation"],
                body["proposed_by"],
                body["run"],
                datetime.fromisoformat(body["at"]),
                body["by"],
            )
            for body in _read_all(self.claims, confirmation)
        ]
        return sorted(found, key=lambda claim: claim.at)

    def lost(self, confirmation: str) -> tuple[str, int] | None:
        """(run, requests begun) when the last run that used it died before it knew the result; else None."""
        for claim in reversed(self.claimed(confirmation)):
            if result := lost_by(self.root, claim.run, confirmation):
                return result
        return None

    def _proposals(self, confirmation: str) -> list[Proposal]:
        return [
            Proposal(
                body["confirmation"],
                body["run"],
                datetime.fromisoformat(body["at"]),
                str(body.get("cluster_uid", "")),
                str(body.get("title", "")),
            )
            for body in _read_all(self.proposals, confirmation)
        ]


def lost_by(root: Path, run: str, confirmation: str) -> tuple[str, int] | None:
    """(run, requests begun) when that run's journal has an intent for the change and no result; else None."""
    path = journal.find(root, run)
    if path is None:
        return None
    read_back = journal.read(path)
    if any(entry["confirmation"] == confirmation for entry in read_back.unfinished()):
        return run, len(read_back.writes(confirmation))
    return None


def _read_all(folder: Path, confirmation: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob(f"{confirmation}.*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise EvidenceError(
                f"the file cannot be read: {error}",
                target=str(path),
                next="repair or remove it, then observe again",
            ) from error
    return found


def _write_new(path: Path, body: Mapping[str, Any], *, replace: bool = False) -> bool:
    """Write a file that must not be there yet, complete or not at all; False when it is there."""
    data = json.dumps(plain(body), indent=1).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            # A hard link fails when the name is taken: exclusive as O_EXCL, but never seen half-written.
            temporary.replace(path) if replace else path.hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"the confirmation cannot be kept: {error.strerror or error}",
            target=str(path),
            next="make the evidence folder writable; nothing was changed",
        ) from error
    return True
