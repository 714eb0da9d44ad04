"""Kubernetes quantities and what is computed from them (k8s.io/apimachinery/pkg/api/resource)."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from opslib.sandbox.api.errors import Json

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse(value: object) -> Decimal:
    """The number a quantity stands for. Raises ValueError for text that is none."""
    text = str(value).strip()
    try:
        if text[-2:] in _BINARY:
            return Decimal(text[:-2]) * (Decimal(1024) ** _BINARY[text[-2:]])
        if text[-1:] in _DECIMAL and text[-1:]:
            return Decimal(text[:-1]) * (Decimal(10) ** _DECIMAL[text[-1:]])
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"not a quantity: {text!r}") from None


def canonical(value: Decimal, like: str = "") -> str:
    """A quantity's canonical text: binary suffixes when the number's format was binary, else decimal ones."""
    if value == 0:
        return "0"
    if any(like.endswith(s) for s in _BINARY):
        whole = int(value.to_integral_value(ROUND_CEILING))
        for name, power in reversed(_BINARY.items()):
            if whole % (1024**power) == 0:
                return f"{whole // 1024**power}{name}"
        return str(whole)
    if value != value.to_integral_value():
        milli = (value * 1000).to_integral_value(ROUND_CEILING)
        return f"{int(milli)}m" if milli % 1000 else str(int(milli) // 1000)
    whole = int(value)
    for name, power in (("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3)):
        if whole % (10**power) == 0:
            return f"{whole // 10**power}{name}"
    return str(whole)


def pod_requests(spec: Json, part: str) -> dict[str, Decimal]:
    """Summed requests or limits of a pod: containers together, or the largest init container where that is more."""
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(part) or {}).items():
            total[name] = total.get(name, Decimal(0)) + parse(value)
    for container in spec.get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(part) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), parse(value))
    for name, value in (spec.get("overhead") or {}).items():
        if part == "requests" or name in total:
            total[name] = total.get(name, Decimal(0)) + parse(value)
    return total


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/helper/qos)."""
    any_set, guaranteed = False, True
    for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            if name in requests or name in limits:
                any_set = True
            if name not in limits or parse(requests.get(name, limits[name])) != parse(limits[name]):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
