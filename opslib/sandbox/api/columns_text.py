"""Small texts in table cells: ages, selectors, ports (k8s.io/apimachinery/pkg/util/duration, kubectl's printers)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from opslib.sandbox.api.errors import Json

NONE, UNKNOWN = "<none>", "<unknown>"
MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def span(seconds: float) -> str:
    """A duration as duration.HumanDuration writes it."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"


def age(stamp: str | None, now: datetime) -> str:
    """The time since a stamp."""
    if not stamp:
        return UNKNOWN
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return span((now - moment).total_seconds())


def map_text(values: Json | None) -> str:
    """a=b,c=d, or <none>."""
    return ",".join(f"{k}={v}" for k, v in sorted((values or {}).items())) or NONE


def label_selector(selector: Json | None) -> str:
    """A LabelSelector as metav1.FormatLabelSelector writes it."""
    if selector is None:
        return "<error>"
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        values = ",".join(sorted(rule.get("values") or ()))
        text = {
            "In": f"{rule['key']} in ({values})",
            "NotIn": f"{rule['key']} notin ({values})",
            "Exists": rule["key"],
            "DoesNotExist": f"!{rule['key']}",
        }
        parts.append(text[rule["operator"]])
    return ",".join(sorted(parts)) or NONE


def containers_images(spec: Json) -> tuple[str, str]:
    """Names and images of a pod spec's containers."""
    containers = spec.get("containers") or ()
    return ",".join(str(c["name"]) for c in containers), ",".join(str(c.get("image", "")) for c in containers)


def service_ports(ports: list[Json]) -> str:
    """80:30080/TCP,443/TCP."""
    pieces = []
    for port in ports:
        middle = f":{port['nodePort']}" if port.get("nodePort") else ""
        pieces.append(f"{port.get('port')}{middle}/{port.get('protocol', 'TCP')}")
    return ",".join(pieces) or NONE


def access_modes(modes: list[str] | None) -> str:
    """RWO,RWX."""
    return ",".join(MODES.get(m, m) for m in modes or ())


def _metric(metric: Json, current: Json | None) -> str:
    kind = metric.get("type", "")
    part = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods"}.get(kind)
    part = part or {"Object": "object", "External": "external"}.get(kind, "")
    wanted = (metric.get(part) or {}).get("target") or {}
    held = ((current or {}).get(part) or {}).get("current") or {}
    prefix = f"{metric[part].get('name')}: " if kind in ("Resource", "ContainerResource") else ""
    if wanted.get("averageUtilization") is not None:
        now = f"{held['averageUtilization']}%" if held.get("averageUtilization") is not None else UNKNOWN
        return f"{prefix}{now}/{wanted['averageUtilization']}%"
    if wanted.get("averageValue") is not None:
        suffix = " (avg)" if kind in ("Object", "External") else ""
        return f"{prefix}{held.get('averageValue') or UNKNOWN}/{wanted['averageValue']}{suffix}"
    return f"{prefix}{held.get('value') or UNKNOWN}/{wanted.get('value')}"


def _same_metric(spec: Json, status: Json) -> bool:
    if spec.get("type") != status.get("type"):
        return False

    def name(metric: Json) -> Any:
        inner: Json = next((v for k, v in metric.items() if k != "type"), {}) or {}
        return inner.get("name") or (inner.get("metric") or {}).get("name")

    return bool(name(spec) == name(status))


def hpa_targets(specs: list[Json], statuses: list[Json]) -> str:
    """cpu: 12%/70%, memory: <unknown>/80%."""
    found = [_metric(s, next((c for c in statuses if _same_metric(s, c)), None)) for s in specs]
    if not found:
        return NONE
    return ", ".join(found[:2]) + (f" + {len(found) - 2} more..." if len(found) > 2 else "")
