"""Pods' logs as frames: every pod, the previous container too, levels read, colours stripped (G1, G2, B4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from opslib.cluster.columns import COLUMNS
from opslib.cluster.frames import frame
from opslib.cluster.kinds import KINDS
from opslib.cluster.workloads import pods_of
from opslib.errors import NotFound, Refused, SourceError

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.client import Api

Json = Any
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
LEVELS = {
    "error": "error", "err": "error", "fatal": "error", "critical": "error", "crit": "error", "panic": "error",
    "emerg": "error", "alert": "error", "warn": "warning", "warning": "warning", "notice": "info", "info": "info",
    "http": "info", "verbose": "debug", "debug": "debug", "trace": "debug", "silly": "debug",
}  # fmt: skip
PINO = {10: "debug", 20: "debug", 30: "info", 40: "warning", 50: "error", 60: "error"}
# winston's console form: 2026-11-22T14:02:11.000Z [error]: message; also level=error, ERROR message, error: message.
WINSTON = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?)?\s*\[(?P<level>\w+)\]:?\s*(?P<rest>.*)$"
)
KEYED = re.compile(r"\b(?:level|lvl|severity)=\"?(?P<level>\w+)", re.IGNORECASE)
LEADING = re.compile(r"^(?:\S+\s+)?(?P<level>[A-Za-z]+)(?::|\s+-)\s")
UNCAUGHT = re.compile(r"^(?:\w*Error|\w*Exception|Traceback|panic|FATAL)\b")
VARIABLE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I), "<id>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", re.I), "<id>"),
    (re.compile(r"\b(?=[A-Z0-9]{6}\b)(?=[A-Z0-9]*\d)[A-Z0-9]{6}\b"), "<locator>"),
    (re.compile(r"\d+(?:\.\d+)?"), "<n>"),
)
MAX_PODS = 30


def parse(line: str) -> tuple[str, str]:
    """(level, message) of one log line: level is error, warning, info, debug or '' when it says none."""
    text = ANSI.sub("", line).strip()
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            said = entry.get("level") or entry.get("severity") or entry.get("lvl") or ""
            level = PINO.get(said, "") if isinstance(said, int) else LEVELS.get(str(said).lower(), "")
            message = entry.get("message") or entry.get("msg") or entry.get("error") or text
            return level, message if isinstance(message, str) else json.dumps(message)
    if (match := WINSTON.match(text)) and match["level"].lower() in LEVELS:
        return LEVELS[match["level"].lower()], match["rest"]
    if (match := KEYED.search(text)) and match["level"].lower() in LEVELS:
        return LEVELS[match["level"].lower()], text
    if (match := LEADING.match(text)) and match["level"].lower() in LEVELS:
        return LEVELS[match["level"].lower()], text[match.end() :]
    return ("error", text) if UNCAUGHT.match(text) else ("", text)


def logs(
    api: Api, namespace: str, *, deployment: str, pod: str, minutes: float, tail: int, previous: bool
) -> pd.DataFrame:
    """See Cluster.logs."""
    items = [api.get(KINDS["pod"].path(namespace, pod))] if pod else pods_of(api, namespace, deployment)
    # With many pods the newest speak: they are those of the last rollout.
    items.sort(key=lambda p: p["metadata"].get("creationTimestamp", ""), reverse=True)
    asked = [wish for item in items[:MAX_PODS] for wish in _streams(item, previous=previous)]
    problems: list[str] = []

    def read(wish: tuple[str, str, bool]) -> list[dict[str, Any]]:
        name, container, before = wish
        params: dict[str, Any] = {"container": container, "timestamps": True, "tailLines": tail}
        if before:
            params["previous"] = True
        else:
            params["sinceSeconds"] = max(1, int(minutes * 60))
        try:
            text = api.text(KINDS["pod"].path(namespace, name, "log"), **params)
        except (NotFound, Refused):
            return []  # no such container instance: nothing was ever logged
        except SourceError as error:
            problems.append(f"{name}: {error.what}")
            return []
        return [_line(name, container, line, previous=before) for line in text.splitlines() if line.strip()]

    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="logs") as workers:
        rows = [row for part in workers.map(read, asked) for row in part]
    if asked and len(problems) == len(asked):
        raise SourceError(
            f"no log could be read: {problems[0]}", target=f"{api.cluster}/{namespace}/{deployment or pod}"
        )
    rows.sort(key=lambda row: row["at"] or "")
    data = frame("logs", COLUMNS["logs"], rows)
    data.attrs["problems"] = problems
    if len(items) > MAX_PODS:
        data.attrs["left_out"] = f"{len(items) - MAX_PODS} older pods"
    return data


def _streams(item: Json, *, previous: bool) -> Iterable[tuple[str, str, bool]]:
    name = item["metadata"]["name"]
    states = {s["name"]: s for s in (item.get("status") or {}).get("containerStatuses") or []}
    for container in item["spec"].get("containers") or []:
        state = states.get(container["name"], {})
        started = (state.get("state") or {}).get("running") or (state.get("state") or {}).get("terminated")
        if started or state.get("restartCount"):
            yield name, container["name"], False
        if previous and state.get("restartCount") and (state.get("lastState") or {}).get("terminated"):
            yield name, container["name"], True


def _line(pod: str, container: str, line: str, *, previous: bool) -> dict[str, Any]:
    stamp, _, rest = line.partition(" ")
    if not re.match(r"\d{4}-\d\d-\d\dT", stamp):
        stamp, rest = "", line
    level, message = parse(rest)
    # The kubelet writes nanoseconds; time stamps hold microseconds everywhere else.
    at = re.sub(r"(\.\d{6})\d+", r"\1", stamp) or None
    return {
        "at": at,
        "pod": pod,
        "container": container,
        "previous": previous,
        "level": level,
        "message": message,
    }


def cluster_messages(lines: pd.DataFrame, top: int = 20, levels: tuple[str, ...] = ()) -> pd.DataFrame:
    """The most frequent messages of a `logs` frame, alike but for numbers, ids and addresses.

    Columns: count, level, message (with <n>, <id>, <address>, <locator> for what varies), pods (how many), first, last
    (UTC), example (one of them as it was). Errors first, then by count. `levels` keeps only these levels.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines.to_dict("records"):
        if levels and line["level"] not in levels:
            continue
        shape = line["message"]
        for pattern, name in VARIABLE:
            shape = pattern.sub(name, shape)
        group = groups.setdefault(
            (line["level"], shape),
            {"count": 0, "level": line["level"], "message": shape, "pods": set(), "first": line["at"],
             "last": line["at"], "example": line["message"]},
        )  # fmt: skip
        group["count"] += 1
        group["pods"].add(line["pod"])
        group["first"], group["last"] = min(group["first"], line["at"]), max(group["last"], line["at"])
    order = {"error": 0, "warning": 1}
    rows = sorted(groups.values(), key=lambda g: (order.get(g["level"], 2), -g["count"]))[:top]
    return frame("log_messages", COLUMNS["log_messages"], [row | {"pods": len(row["pods"])} for row in rows])
