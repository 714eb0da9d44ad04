"""Log levels as the platform really writes them (B4)."""

from __future__ import annotations

import pytest

from opslib.cluster.logs import cluster_messages, parse
from opslib.records.frames import frame


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("2026-11-22 14:02:11 [\x1b[31merror\x1b[39m]: no route", "error", "no route"),
        ("2026-11-22T14:02:11.123Z [WARN]: slow", "warning", "slow"),
        ('{"level":"error","message":"boom","timestamp":"x"}', "error", "boom"),
        ('{"level":50,"msg":"pino"}', "error", "pino"),
        ('{"severity":"WARNING","message":"cloud"}', "warning", "cloud"),
        ("ERROR: it broke", "error", "it broke"),
        ("level=warn msg=late", "warning", "level=warn msg=late"),
        ("Error: JWT_SECRET is required", "error", "JWT_SECRET is required"),
        ("TypeError: x is undefined", "error", "TypeError: x is undefined"),
        ("api-gateway listening on port 3000", "", "api-gateway listening on port 3000"),
        ("GET /api/v1/errors 200", "", "GET /api/v1/errors 200"),
        ('{"broken json', "", '{"broken json'),
    ],
)
def test_levels(line: str, level: str, message: str) -> None:
    assert parse(line) == (level, message)


def test_messages_that_differ_in_numbers_are_one() -> None:
    columns = ["at", "pod", "container", "previous", "level", "message"]
    rows = [
        {"at": f"2026-11-22T14:00:0{n}Z", "pod": f"p{n % 2}", "container": "c", "previous": False, "level": "error",
         "message": f"connect 10.4.1.{n}:5432 refused after {n} ms"}
        for n in range(6)
    ]  # fmt: skip
    rows.append(rows[0] | {"level": "info", "message": "started"})
    found = cluster_messages(frame("logs", columns, rows))
    assert found.iloc[0]["message"] == "connect <address> refused after <n> ms"
    assert (found.iloc[0]["count"], found.iloc[0]["pods"]) == (6, 2)
    assert len(found) == 2
    assert list(cluster_messages(frame("logs", columns, rows), levels=("info",))["message"]) == ["started"]
