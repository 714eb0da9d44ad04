"""The two faces of a record for people: plain text and HTML, both made from its JSON alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opslib.records import markup as m
from opslib.records.verdict import verdict_html, verdict_text
from opslib.records.words import amount, span

Json = Mapping[str, Any]


def faces(record: Json) -> tuple[str, str]:
    """(text/plain, text/html) of a record."""
    text, html = _FACES.get(str(record["kind"]), (_note_text, _note_html))
    return text(record), html(record)


def _step_text(record: Json) -> str:
    state = f" {record['status']}" if record.get("status") else ""
    lines = [f"» {record['name']}{state}{_took(record)}"]
    lines += [f"  why: {record['because']}"] if record.get("because") else []
    lines += [f"  by hand: {command}" for command in record.get("by_hand", [])]
    lines += [f"  departs from the runbook: {sentence}" for sentence in record.get("departs", [])]
    return "\n".join(lines)


def _step_html(record: Json) -> str:
    status = str(record.get("status") or "plain")
    running = m.small("running …") if record.get("seconds") is None else ""
    shown = m.badge(status) if record.get("status") else running
    by_hand = "\n".join(record.get("by_hand", []))
    return m.panel(
        status,
        m.line(shown, m.bold(record["name"]), m.small(_took(record).strip())),
        m.line(m.small(record.get("because", ""))),
        m.line(m.small(record.get("error", ""))),
        m.bullets(f"departs from the runbook: {sentence}" for sentence in record.get("departs", [])),
        m.details(m.small("by hand"), m.pre(by_hand)),
    )


def _check_text(record: Json) -> str:
    status = str(record.get("status", "unknown"))
    limits = _limits(record)
    head = f"{m.SIGNS[status]} {status:<9} {record['name']}: {amount(record.get('value'), record.get('unit', ''))}"
    tail = [f"({limits})"] if limits else []
    tail += [f"- {record['because']}"] if record.get("because") else []
    tail += ["[optional]"] if record.get("required") is False else []
    return " ".join([head, *tail])


def _check_html(record: Json) -> str:
    status = str(record.get("status", "unknown"))
    value = record.get("value")
    optional = "optional" if record.get("required") is False else ""
    return m.panel(
        status,
        m.line(
            m.badge(status),
            m.text(record["name"]) + ("" if value is None else ":"),
            m.bold(amount(value, record.get("unit", ""))) if value is not None else "",
            m.small(" · ".join(part for part in (_limits(record), optional, _took(record).strip()) if part)),
        ),
        m.line(m.text(record.get("because", ""))),
        m.data_table(record.get("data")),
    )


def _finding_text(record: Json) -> str:
    kind = "cause" if record.get("cause") else "consequence"
    lines = [f"{m.SIGNS.get(str(record.get('status')), '•')} finding ({kind}): {record.get('says', '')}"]
    lines += [f"  - {sentence}" for sentence in record.get("evidence", [])]
    lines += [f"  next: {step}" for step in record.get("next", [])]
    return "\n".join(lines)


def _finding_html(record: Json) -> str:
    status = str(record.get("status", "unknown"))
    kind = "cause" if record.get("cause") else "consequence"
    since = f"since {record['since']}" if record.get("since") else ""
    target = record.get("target", {}).get("object", "")
    return m.panel(
        status,
        m.line(m.badge(status, kind), m.bold(record.get("says", ""))),
        m.line(m.small(" · ".join(part for part in (record["name"], target, since) if part))),
        m.bullets(record.get("evidence", [])),
        m.line(m.small("next:"), ", ".join(m.code(step) for step in record["next"]))
        if record.get("next")
        else "",
    )


def _decision_text(record: Json) -> str:
    lines = [f"? {record['name']}", f"  → {record.get('choice') or 'none of the options'}"]
    for option in record.get("options", []):
        sign = "→" if option["label"] == record.get("choice") else ("·" if option["viable"] else "×")
        lines.append(f"  {sign} {option['label']}{'' if option['viable'] else ' (not viable)'}")
        lines += [f"      + {reason}" for reason in option["reasons_for"]]
        lines += [f"      - {reason}" for reason in option["reasons_against"]]
    return "\n".join(lines)


def _decision_html(record: Json) -> str:
    options, choice = record.get("options", []), record.get("choice")
    rows, strong = [], -1
    for number, option in enumerate(options):
        chosen = option["label"] == choice
        strong = number if chosen else strong
        state = (
            m.badge("ok", "chosen") if chosen else m.small("possible" if option["viable"] else "not viable")
        )
        name = m.bold(option["label"]) + (f"<br>{m.small(option['title'])}" if option.get("title") else "")
        rows.append([state, name, m.bullets(option["reasons_for"]), m.bullets(option["reasons_against"])])
    says = f"→ {choice}" if choice else "→ none of the options: a person decides"
    return m.panel(
        "plain",
        m.line(m.bold(record["name"]), m.bold(says)),
        m.grid(["", "option", "for", "against"], rows, strong),
    )


def _change_text(record: Json) -> str:
    change = record.get("change", {})
    lines = [f"{_change_head(record)}: {change.get('title', record['name'])}"]
    lines += [f"  {record['because']}"] if record.get("because") else []
    lines += [f"  {label}: {value}" for label, value in _change_facts(record).items() if value]
    lines += [f"  {row}" for row in change.get("diff", "").splitlines()]
    lines += [f"  confirm with: {record['command']}"] if record.get("command") else []
    lines += [f"  … {row}" for row in record.get("progress", [])]
    return "\n".join(lines)


def _change_html(record: Json) -> str:
    change = record.get("change", {})
    status = str(record.get("status") or "plain")
    facts = {label: m.text(value) for label, value in _change_facts(record).items()}
    by_hand = "\n".join(change.get("commands", []))
    confirm = m.line(m.bold("To apply it:")) + m.pre(record["command"]) if record.get("command") else ""
    return m.panel(
        status,
        m.line(m.badge(status, _change_head(record)), m.bold(change.get("title", record["name"]))),
        m.line(m.text(record.get("because", ""))),
        m.diff(change.get("diff", "")),
        m.pairs(facts),
        m.bullets(f"departs from the runbook: {sentence}" for sentence in change.get("departs", [])),
        m.bullets(f"to be done after it: {sentence}" for sentence in change.get("follow_ups", [])),
        confirm,
        m.details(m.small("by hand"), m.pre(by_hand)),
        m.details(
            m.small("progress"),
            m.pre("\n".join(record.get("progress", []))),
            opened=record["kind"] == "change",
        ),
        m.details(m.small("receipt"), m.pre(_receipt(record))),
    )


def _change_head(record: Json) -> str:
    return "proposed" if record["kind"] == "proposal" else str(record.get("state") or "change")


def _change_facts(record: Json) -> dict[str, str]:
    change = record.get("change", {})
    risk = change.get("risk", {})
    undo = {
        "exact": "exact",
        "compensating": "compensating, not exact",
        "none": "none: it cannot be taken back",
    }
    return {
        "target": "/".join(
            change.get("target", {}).get(key, "") for key in ("cluster", "namespace", "object")
        ).strip("/"),
        "risk": f"{risk.get('level', '')}: {risk.get('says', '')}" if risk else "",
        "touches": ", ".join(risk.get("touches", [])),
        "tried": record.get("tried", ""),
        "permission": record.get("permitted", ""),
        "undo": undo.get(str(change.get("undo", "")), ""),
        "confirmation": str(change.get("confirmation", "")),
    }


def _receipt(record: Json) -> str:
    import json

    return json.dumps(record["receipt"], indent=1, ensure_ascii=False) if record.get("receipt") else ""


def _note_text(record: Json) -> str:
    return f"· {record['name']}" + (f": {record['because']}" if record.get("because") else "")


def _note_html(record: Json) -> str:
    status = str(record.get("status") or "plain")
    shown = m.badge(status, str(record["kind"]).replace("_", " ")) if record["kind"] != "note" else ""
    value = m.bold(amount(record["value"], record.get("unit", ""))) if record.get("value") is not None else ""
    return m.panel(
        status,
        m.line(shown, m.bold(record["name"]), value),
        m.line(m.text(record.get("because", ""))),
        m.data_table(record.get("data")),
    )


def _limits(record: Json) -> str:
    unit = record.get("unit", "")
    limits = record.get("limits", {})
    return ", ".join(f"{key.replace('_', ' ')} {amount(value, unit)}" for key, value in limits.items())


def _took(record: Json) -> str:
    return f" {span(record['seconds'])}" if record.get("seconds") is not None else ""


_Face = Callable[[Json], str]
_FACES: dict[str, tuple[_Face, _Face]] = {
    "run": (verdict_text, verdict_html),
    "outcome": (verdict_text, verdict_html),
    "step": (_step_text, _step_html),
    "check": (_check_text, _check_html),
    "finding": (_finding_text, _finding_html),
    "decision": (_decision_text, _decision_html),
    "proposal": (_change_text, _change_html),
    "change": (_change_text, _change_html),
    "verification": (_check_text, _check_html),
}
