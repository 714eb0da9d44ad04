"""Reading Kubernetes objects: selectors, pod states, conditions, quantities, int-or-percent.

Sources: apimachinery pkg/labels and pkg/api/resource, kubernetes pkg/api/v1/pod, component-helpers.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from opslib.sandbox.client import Manifest
from opslib.sandbox.clock import Clock, parse_stamp, stamp

_SUFFIXES: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
    "M": Decimal(1000**2),
    "G": Decimal(1000**3),
    "T": Decimal(1000**4),
    "P": Decimal(1000**5),
    "E": Decimal(1000**6),
    "Ki": Decimal(1024),
    "Mi": Decimal(1024**2),
    "Gi": Decimal(1024**3),
    "Ti": Decimal(1024**4),
    "Pi": Decimal(1024**5),
    "Ei": Decimal(1024**6),
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+)?([KMGTPE]i|[numkMGTPE]|)")


def quantity(text: object) -> Decimal:
    """The value of a resource.Quantity (cores, bytes, a count).

    Raises ValueError when it is none.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None or match[3] not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a Kubernetes quantity, e.g. 500m or 1Gi")
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3]]


def millis(text: object) -> int:
    """A quantity in thousandths, rounded up (as Quantity.MilliValue)."""
    return math.ceil(quantity(text) * 1000)


def int_or_percent(value: object, total: int, round_up: bool) -> int:
    """intstr.GetScaledValueFromIntOrPercent: 2 is 2, "25%" is a quarter of `total`."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if round_up else math.floor(share)
    return int(str(value))


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a metav1.LabelSelector matches. None matches nothing, an empty one everything."""
    if selector is None:
        return False
    have = labels or {}
    if any(have.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, have) for e in selector.get("matchExpressions") or [])


def _expression(expression: Mapping[str, Any], have: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values = expression.get("values") or []
    present = key in have
    results: dict[str, Callable[[], bool]] = {
        "In": lambda: present and have[key] in values,
        "NotIn": lambda: not present or have[key] not in values,
        "Exists": lambda: present,
        "DoesNotExist": lambda: not present,
        "Gt": lambda: present and have[key].lstrip("-").isdigit() and int(have[key]) > int(values[0]),
        "Lt": lambda: present and have[key].lstrip("-").isdigit() and int(have[key]) < int(values[0]),
    }
    return results[operator]()


def matches_map(selector: Mapping[str, str] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a plain map selector (Service, nodeSelector) matches; an empty one matches nothing."""
    have = labels or {}
    return bool(selector) and all(have.get(key) == value for key, value in (selector or {}).items())


def condition(obj: Manifest, kind: str) -> Manifest | None:
    """One condition of an object's status, or None."""
    for entry in (obj.get("status") or {}).get("conditions") or []:
        if entry.get("type") == kind:
            found: Manifest = entry
            return found
    return None


def with_condition(
    conditions: Iterable[Manifest], new: Manifest, now: dt.datetime, update_time: bool = False
) -> list[Manifest]:
    """Conditions with one set; lastTransitionTime moves only when its status changes.

    Without a change of status and reason the old entry stays as it is. `update_time` also keeps
    lastUpdateTime, as Deployments have it.
    """
    result, done = [], False
    entry = dict(new)
    for old in conditions:
        if old.get("type") != new["type"]:
            result.append(old)
            continue
        done = True
        if old.get("status") == new["status"] and old.get("reason") == new.get("reason"):
            same_text = old.get("message") == new.get("message")
            result.append(old if update_time or same_text else {**old, **new})
            continue
        entry["lastTransitionTime"] = (
            old.get("lastTransitionTime", stamp(now)) if old.get("status") == new["status"] else stamp(now)
        )
        if update_time:
            entry["lastUpdateTime"] = stamp(now)
        result.append(entry)
    if not done:
        entry["lastTransitionTime"] = stamp(now)
        if update_time:
            entry["lastUpdateTime"] = stamp(now)
        result.append(entry)
    return result


def without_condition(conditions: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [entry for entry in conditions if entry.get("type") != kind]


def is_terminating(obj: Manifest) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def phase(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Manifest) -> bool:
    """controller.IsPodActive: neither finished nor being deleted."""
    return phase(pod) not in {"Succeeded", "Failed"} and not is_terminating(pod)


def is_ready(pod: Manifest) -> bool:
    entry = condition(pod, "Ready")
    return entry is not None and entry.get("status") == "True"


def ready_since(pod: Manifest) -> dt.datetime | None:
    entry = condition(pod, "Ready")
    if entry is None or entry.get("status") != "True" or not entry.get("lastTransitionTime"):
        return None
    return parse_stamp(entry["lastTransitionTime"])


def available_in(pod: Manifest, min_ready_seconds: int, clock: Clock) -> float | None:
    """Platform seconds until a pod counts as available: 0 when it does, None when it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if min_ready_seconds <= 0:
        return 0.0
    return max(0.0, min_ready_seconds - clock.since(since))


def requests_of(pod: Manifest) -> dict[str, int]:
    """What the scheduler reserves for a pod: cpu and others in thousandths.

    The larger of all containers together and of each init container (resourcehelper.PodRequests).
    """
    spec = pod["spec"]
    total: dict[str, int] = {}
    for container in spec.get("containers") or []:
        for name, value in _requests(container).items():
            total[name] = total.get(name, 0) + value
    for container in spec.get("initContainers") or []:
        for name, value in _requests(container).items():
            total[name] = max(total.get(name, 0), value)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + millis(text)
    return total


def _requests(container: Manifest) -> dict[str, int]:
    resources = container.get("resources") or {}
    # a limit without a request is the request (defaulting does it too, unless the object was imported)
    wanted = dict(resources.get("limits") or {}) | dict(resources.get("requests") or {})
    return {name: millis(text) for name, text in wanted.items()}
