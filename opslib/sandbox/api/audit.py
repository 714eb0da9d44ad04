"""The audit log: one audit.k8s.io/v1 Event a line (level Metadata, stage ResponseComplete), append-only."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from opslib.sandbox.api.auth import Attributes, User
from opslib.sandbox.api.errors import Json


def micro_time(moment: datetime) -> str:
    """A time stamp as metav1.MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class AuditLog:
    """Appends one line per finished request, unbuffered."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")
        path.chmod(0o600)

    def write(
        self,
        user: User | None,
        asked: Attributes | None,
        uri: str,
        received: datetime,
        code: int,
        agent: str,
        reason: str = "",
        message: str = "",
    ) -> None:
        """Record one request."""
        event: Json = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": str(uuid.uuid4()),
            "stage": "ResponseComplete",
            "requestURI": uri,
            "verb": asked.verb if asked else "",
            "user": {"username": user.name, "groups": list(user.groups)} if user else {},
            "sourceIPs": ["127.0.0.1"],
            "userAgent": agent,
        }
        if asked and asked.resource:
            ref = {
                "resource": asked.resource,
                "namespace": asked.namespace,
                "name": asked.name,
                "apiGroup": asked.group,
                "apiVersion": asked.version,
                "subresource": asked.subresource,
            }
            event["objectRef"] = {k: v for k, v in ref.items() if v}
        status: Json = {"metadata": {}, "code": code}
        if code >= 400:
            status.update(status="Failure", reason=reason, message=message)
        event["responseStatus"] = status
        event["requestReceivedTimestamp"] = micro_time(received)
        event["stageTimestamp"] = micro_time(datetime.now(UTC))
        self._file.write(json.dumps(event, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
