"""The columns of every frame that an Edge read returns, also when the frame is empty."""

from __future__ import annotations

COLUMNS: dict[str, list[str]] = {
    "probe": ["at", "path", "status", "seconds", "failed", "error", "body_head", "served_by"],
    "tls": [
        "host", "not_before", "not_after", "days", "names", "issuer", "hostname_ok", "chain_trusted", "problem",
        "serial",
    ],
}  # fmt: skip
