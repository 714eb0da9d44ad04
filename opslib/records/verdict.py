"""The verdict: where a run stands, and in the end its outcome, cause, changes, what remains and who did
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opslib.records import markup as m
from opslib.records.words import span

Json = Mapping[str, Any]

_TONES = {
    "healthy": "ok",
    "mitigated": "ok",
    "proposed": "warning",
    "needs a person": "warning",
    "not mitigated": "critical",
    "failed": "critical",
    "refused": "critical",
}


def verdict_text(record: Json) -> str:
    """The verdict for a terminal: headline, then one line a fact."""
    outcome = record.get("outcome")
    head = f"{_title(record)}: {outcome.upper() if outcome else 'running'}"
    lines = [head]
    lines += [f"  {label}: {value}" for label, value in _facts(record) if value]
    lines += [
        f"  to apply it: {item['command']}" for item in record.get("proposed", []) if item.get("command")
    ]
    return "\n".join(lines)


def verdict_html(record: Json) -> str:
    """The verdict as the notebook's first output and its last."""
    outcome = str(record.get("outcome") or "")
    tone = _TONES.get(outcome, "plain")
    word = outcome.upper() if outcome else "RUNNING"
    head = (
        f'<div style="font-size:140%;margin-bottom:4px">{m.badge(tone, word)} {m.bold(_title(record))}</div>'
    )
    facts = {label: m.text(value) for label, value in _facts(record)}
    commands = "\n".join(item["command"] for item in record.get("proposed", []) if item.get("command"))
    to_apply = m.line(m.bold("To apply what is proposed:")) + m.pre(commands) if commands else ""
    steps = [[_step_badge(step), m.text(step["name"])] for step in record.get("steps", [])]
    folded = (
        m.details(m.small(f"{len(steps)} step{'s' if len(steps) != 1 else ''}"), m.grid(["", "step"], steps))
        if steps
        else ""
    )
    summary = record.get("summary", "")
    paste = m.details(m.small("summary to paste into a chat"), m.pre(summary)) if summary else ""
    return m.panel(tone, head, m.pairs(facts), to_apply, folded, _about(record), paste)


def _facts(record: Json) -> list[tuple[str, str]]:
    return [
        ("now", record.get("stands", "")),
        ("why", record.get("because", "")),
        ("cause", record.get("cause", "")),
        ("changed", "; ".join(record.get("changed", []))),
        ("proposed", "; ".join(item["title"] for item in record.get("proposed", []))),
        ("remains", "; ".join(record.get("remains", []))),
        ("unknown", "; ".join(record.get("unknowns", []))),
        ("took", span(record["seconds"]) if record.get("seconds") is not None else ""),
        ("who", _who(record)),
    ]


def _about(record: Json) -> str:
    target = record.get("target", {})
    parameters = record.get("parameters", {})
    rows = {
        "run": m.code(record["run"]),
        "runbook": m.text(record.get("runbook", "")),
        "incident": m.text(record.get("incident", "")),
        "cluster": m.text(" ".join(target.get(key, "") for key in ("cluster", "cluster_uid")).strip()),
        "mode": m.text(record.get("mode", "")),
        "started": m.text(record.get("started", "")),
        "ended": m.text(record.get("ended", "")),
        "parameters": ", ".join(m.code(f"{name}={value!r}") for name, value in parameters.items()),
        "journal": m.code(record["journal"]) if record.get("journal") else "",
    }
    return m.details(m.small(f"run {record['run']}"), m.pairs(rows))


def _who(record: Json) -> str:
    identity = record.get("identity", {})
    user, system = identity.get("cluster_user", ""), identity.get("system_user", "")
    return f"{user or 'identity unknown'} on the cluster, {system or 'unknown'} on {identity.get('host', 'this host')}"


def _title(record: Json) -> str:
    return str(record.get("title") or record.get("runbook") or record["name"])


def _step_badge(step: Json) -> str:
    status = str(step.get("status") or "running")
    return m.badge(status) if status in m.SIGNS else m.small(status)
