"""The columns of every frame that a Cache read returns, also when the frame is empty."""

from __future__ import annotations

COLUMNS: dict[str, list[str]] = {
    "reachable": ["server", "version", "role", "seconds"],
    "info": ["section", "key", "value"],
    "keyspace": ["db", "keys", "expires"],
}
