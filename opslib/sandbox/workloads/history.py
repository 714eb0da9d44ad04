"""The platform's healthy past, as OpenMetrics text for promtool, and where live counters take over.

A counter's healthy value is its rate times the time since EPOCH. So the history's end and the live start agree
without a file: whoever starts later starts higher.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from statistics import NormalDist

from opslib.sandbox.inventory.companions import hpa_spec
from opslib.sandbox.inventory.names import BACKENDS, GATEWAY, HOST, NAMESPACE, SERVICES
from opslib.sandbox.inventory.services import replicas
from opslib.sandbox.workloads import edge, gateway_metrics
from opslib.sandbox.workloads.metrics import Counter, Histogram, Labels, labels, sample
from opslib.sandbox.workloads.traffic import MIX, RATE, TOTAL

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
STEP, COARSE = 30, 60  # seconds between two samples of a counter; of a histogram or gauge
FINE, FINE_SPAN = 5, 300  # the last five minutes of counters are denser: rate(...[1m]) works at once
ERRORS = 0.0001  # share of 502 in the past: a healthy platform is not spotless
SPREAD = 0.35  # sigma of the log-normal latencies (node.around)

Series = dict[Labels, tuple[float, float]]  # labels -> requests a second, typical seconds


def _merge(found: Series, key: Labels, rate: float, seconds: float) -> None:
    old_rate, old_seconds = found.get(key, (0.0, 0.0))
    total = old_rate + rate
    found[key] = (total, (old_rate * old_seconds + rate * seconds) / total)


def edge_series() -> Series:
    """Healthy rates of nginx_ingress_controller_requests."""
    found: Series = {}
    for visit in MIX:
        _merge(found, _edge_labels(visit.method, visit.status), RATE * visit.weight / TOTAL, visit.seconds)
    _merge(found, _edge_labels("GET", 502), RATE * ERRORS, 0.01)
    return found


def _edge_labels(method: str, status: int) -> Labels:
    return labels(
        controller_class="k8s.io/ingress-nginx",
        host=HOST,
        ingress=GATEWAY,
        method=method,
        namespace=NAMESPACE,
        path="/",
        service=GATEWAY,
        status=str(status),
    )


def gateway_series() -> Series:
    """Healthy rates of the gateway's http_requests_total."""
    found: Series = {}
    for visit in MIX:
        key = labels(method=visit.method, route=visit.path, status_code=str(visit.status), service="gateway")
        _merge(found, key, RATE * visit.weight / TOTAL, visit.seconds)
    broken = labels(
        method="GET", route="/api/v1/inventory/availability", status_code="502", service="gateway"
    )
    _merge(found, broken, RATE * ERRORS, 0.01)
    return found


def count(rate: float, moment: float) -> float:
    """A healthy counter's value at a moment (seconds since 1970)."""
    return float(math.floor(rate * max(0.0, moment - EPOCH)))


def below(limit: float, seconds: float) -> float:
    """Share of requests that take at most `limit` seconds when `seconds` is typical."""
    return NormalDist(math.log(seconds), SPREAD).cdf(math.log(limit))


def row(rate: float, seconds: float, buckets: tuple[float, ...], moment: float) -> list[float]:
    """A healthy histogram at a moment: one count a bucket, the count above all, the sum."""
    total = count(rate, moment)
    sums = [float(math.floor(total * below(limit, seconds))) for limit in buckets]
    counts = [now - before for now, before in zip(sums, [0.0, *sums], strict=False)]
    mean = seconds * math.exp(SPREAD * SPREAD / 2)
    return [*counts, total - sums[-1], round(total * mean, 3)]


def take_over(
    edge_families: tuple[Counter | Histogram, ...],
    gateway_families: tuple[Counter | Histogram, ...],
    moment: float,
) -> None:
    """Start live counters where the healthy past ends."""
    for families, series in ((edge_families, edge_series()), (gateway_families, gateway_series())):
        for key, (rate, seconds) in series.items():
            requests, duration = families[0], families[1]
            if isinstance(requests, Counter):
                requests.at_least(key, count(rate, moment))
            if isinstance(duration, Histogram):
                duration.at_least(key, row(rate, seconds, duration.buckets, moment))


def healthy_history(now: dt.datetime, hours: float = 3.0) -> str:
    """OpenMetrics text of the last `hours`, with the labels that scraping the exporter gives.

    Every series carries job="pss-nano-sandbox" and instance="platform". Counters have a sample each 30 s
    (5 s in the last five minutes), histograms and gauges each 60 s.
    """
    end = now.timestamp()
    start = end - hours * 3600
    dense = _times(start, end - FINE_SPAN, STEP) + _times(end - FINE_SPAN, end, FINE)[1:]
    coarse = _times(start, end, COARSE)
    lines: list[str] = []
    for name, series, histogram, buckets in (
        (
            "nginx_ingress_controller_requests",
            edge_series(),
            "nginx_ingress_controller_request_duration_seconds",
            edge.BUCKETS,
        ),
        (
            "http_requests_total",
            gateway_series(),
            "http_request_duration_seconds",
            gateway_metrics.BUCKETS,
        ),
    ):
        # OpenMetrics wants counters to end in _total; ingress-nginx's do not, so their type is unknown
        kind = "counter" if name.endswith("_total") else "unknown"
        lines.append(f"# TYPE {name.removesuffix('_total')} {kind}")
        for key, (rate, _) in series.items():
            head = sample(name, scraped(key), 0).rpartition(" ")[0]
            lines += [f"{head} {count(rate, t):.0f} {t:.3f}" for t in dense]
        lines.append(f"# TYPE {histogram} histogram")
        for key, (rate, seconds) in series.items():
            lines += _histogram(histogram, key, rate, seconds, buckets, coarse)
    for name, gauges in _gauges().items():
        lines.append(f"# TYPE {name} gauge")
        for key, value in gauges.items():
            head = sample(name, scraped(key), 0).rpartition(" ")[0]
            lines += [f"{head} {value:g} {t:.3f}" for t in coarse]
    return "\n".join(lines) + "\n# EOF\n"


def scraped(key: Labels) -> Labels:
    return tuple(sorted((*key, ("job", "pss-nano-sandbox"), ("instance", "platform"))))


def _times(start: float, end: float, step: int) -> list[float]:
    return [end - step * n for n in range(int((end - start) / step), -1, -1)]


def _histogram(
    name: str, key: Labels, rate: float, seconds: float, buckets: tuple[float, ...], times: list[float]
) -> Iterator[str]:
    pairs = scraped(key)
    shares = [(f"{limit:g}", below(limit, seconds)) for limit in buckets]
    mean = seconds * math.exp(SPREAD * SPREAD / 2)
    heads = [
        (sample(f"{name}_bucket", pairs, 0, f'le="{limit}"').rpartition(" ")[0], share)
        for limit, share in [*shares, ("+Inf", 1.0)]
    ]
    sums, counts = (sample(f"{name}_{part}", pairs, 0).rpartition(" ")[0] for part in ("sum", "count"))
    for head, share in heads:
        for t in times:
            yield f"{head} {math.floor(count(rate, t) * share)} {t:.3f}"
    for t in times:
        total = count(rate, t)
        yield f"{sums} {round(total * mean, 3)} {t:.3f}"
        yield f"{counts} {total:.0f} {t:.3f}"


def _gauges() -> dict[str, dict[Labels, float]]:
    """Gauges that were constant on the healthy platform."""
    found: dict[str, dict[Labels, float]] = {
        "service_health_status": {labels(service=b.name): 1.0 for b in BACKENDS},
        "circuit_breaker_state": {labels(service=b.name): 0.0 for b in BACKENDS},
    }
    for service in SERVICES:
        key = labels(namespace=NAMESPACE, deployment=service.name)
        wanted = float(replicas(service))
        for name in (
            "kube_deployment_spec_replicas",
            "kube_deployment_status_replicas",
            "kube_deployment_status_replicas_available",
        ):
            found.setdefault(name, {})[key] = wanted
        found.setdefault("kube_deployment_status_replicas_unavailable", {})[key] = 0.0
        hpa = labels(namespace=NAMESPACE, horizontalpodautoscaler=service.name)
        spec = hpa_spec(service.name, *((5, 15) if service.name == GATEWAY else (2, 10)))
        prefix = "kube_horizontalpodautoscaler"
        found.setdefault(f"{prefix}_spec_min_replicas", {})[hpa] = float(spec["minReplicas"])
        found.setdefault(f"{prefix}_spec_max_replicas", {})[hpa] = float(spec["maxReplicas"])
        found.setdefault(f"{prefix}_status_current_replicas", {})[hpa] = wanted
    return found
