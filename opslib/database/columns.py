"""The columns of every frame that a Database read returns, also when the frame is empty."""

from __future__ import annotations

COLUMNS: dict[str, list[str]] = {
    "connections": [
        "user",
        "application",
        "state",
        "connections",
        "longest_state_seconds",
        "longest_xact_seconds",
    ],
    "headroom": [
        "max_connections",
        "reserved",
        "usable",
        "used",
        "free",
        "used_share",
        "idle_in_transaction",
    ],
    "reachable": ["server", "version", "database", "user", "read_only", "in_recovery", "seconds"],
}
