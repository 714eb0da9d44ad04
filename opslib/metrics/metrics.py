"""What was measured: Prometheus' answers as frames and Measurements; an empty answer is unknown, never zero (B1, M2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from opslib.errors import SourceError
from opslib.metrics.client import Prometheus
from opslib.metrics.columns import COLUMNS
from opslib.records.frames import frame
from opslib.records.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

    from opslib.settings import Profile

Json = Any
EDGE = "nginx_ingress_controller_requests"
DURATION = "nginx_ingress_controller_request_duration_seconds_bucket"
APPLICATION = "http_requests_total"
# Probes and scrapes are counted by the services too and dilute every share (B2).
NOT_PROBES = 'route!~"/health.*|/ready|/live|/metrics|/"'
MINIMUM_REQUESTS = 10  # fewer in the window say nothing about a share (B2)
POINTS = 240


class Metrics:
    """One Prometheus. Building it connects to nothing. Every read raises a SourceError subclass that names it."""

    COLUMNS: ClassVar[dict[str, list[str]]] = COLUMNS

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.namespace = profile.namespace
        self.prometheus = Prometheus(profile.prometheus)

    # --- any query -----------------------------------------------------------------------------------------------

    def query(self, promql: str, at: datetime | None = None) -> pd.DataFrame:
        """An instant query. Columns: at (UTC), value (float, NaN possible), labels (dict). Empty when nothing matches."""
        rows = [
            {"at": _moment(sample[0]), "value": float(sample[1]), "labels": labels}
            for labels, sample in self._instant(promql, at)
        ]
        return frame("query", COLUMNS["query"], rows)

    def query_range(self, promql: str, minutes: float = 60.0, step_seconds: float = 0.0) -> pd.DataFrame:
        """A range query up to now. Columns: at (UTC), value, series (labels as text), labels (dict)."""
        end = datetime.now(UTC)
        step = step_seconds or max(1.0, minutes * 60 / POINTS)
        data = self.prometheus.get(
            "/api/v1/query_range",
            query=promql,
            start=(end - timedelta(minutes=minutes)).timestamp(),
            end=end.timestamp(),
            step=f"{step:g}",
        )
        rows = []
        for series in data["result"]:
            labels = series["metric"]
            name = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != "__name__")
            rows += [
                {"at": _moment(at), "value": float(value), "series": name, "labels": labels}
                for at, value in series["values"]
            ]
        return frame("query_range", COLUMNS["query_range"], rows)

    # --- what users got ------------------------------------------------------------------------------------------

    def error_ratio(self, service: str, minutes: float = 1.0) -> Measurement:
        """Share of 5xx among the requests that the ingress sent to the Service, in the last minutes (B1, B2).

        `unit` ratio, `samples` the requests in the window. Unknown when there is no series at all, or when fewer than 10
        requests were seen.
        """
        return self._ratio(service, minutes * 60, MINIMUM_REQUESTS)

    def ratio_since(self, service: str, since: datetime) -> Measurement:
        """The same share since a moment: for verifications. Unknown until samples after it exist; no minimum."""
        return self._ratio(service, max(1.0, (datetime.now(UTC) - since).total_seconds()), 1)

    def requests_per_second(self, service: str, minutes: float = 1.0) -> Measurement:
        """Requests a second that the ingress sent to the Service. Unknown without any series."""
        counts, source = self._edge_counts(service, minutes * 60)
        now = datetime.now(UTC)
        if counts is None:
            return Measurement(None, "1/s", now, 0, _absent(service), source)
        total = sum(counts.values())
        return Measurement(total / (minutes * 60), "1/s", now, round(total), "", source)

    def latency(self, service: str, quantile: float = 0.99, minutes: float = 5.0) -> Measurement:
        """A quantile of the seconds the ingress measured, over all pods and routes (C2). Unknown when idle."""
        bucket = _either(
            DURATION, self.namespace, service, lambda s: f"sum by (le) (rate({s}[{_span(minutes * 60)}]))"
        )
        source = f"histogram_quantile({quantile}, {bucket})"
        value = self._scalar(source)
        now = datetime.now(UTC)
        if value is None or not math.isfinite(value):
            return Measurement(None, "s", now, None, f"no request of {service} was measured", source)
        return Measurement(value, "s", now, None, "", source)

    def error_series(self, service: str, minutes: float = 60.0, step_seconds: float = 0.0) -> pd.DataFrame:
        """The share of 5xx at the ingress over time, for plots.

        Columns: at (UTC), requests_per_second, error_ratio (NaN without traffic). Empty when there is no series.
        """
        step = step_seconds or max(2.0, minutes * 60 / POINTS)
        # A window of four steps smooths; never shorter than two samples of a scrape each 30 s.
        span = _span(max(4 * step, 60.0))

        # One query: two would be evaluated at different moments, and their points would not meet.
        query = _either(EDGE, self.namespace, service, lambda s: f"sum by (status) (rate({s}[{span}]))")
        total: dict[datetime, float] = {}
        failing: dict[datetime, float] = {}
        for row in self.query_range(query, minutes, step).to_dict("records"):
            at, value = row["at"], row["value"]
            total[at] = total.get(at, 0.0) + value
            if row["labels"].get("status", "").startswith("5"):
                failing[at] = failing.get(at, 0.0) + value
        rows = [
            {
                "at": at,
                "requests_per_second": value,
                "error_ratio": min(1.0, failing.get(at, 0.0) / value) if value > 0 else math.nan,
            }
            for at, value in sorted(total.items())
        ]
        return frame("error_series", COLUMNS["error_series"], rows)

    def error_ratio_by_service(self, minutes: float = 1.0) -> pd.DataFrame:
        """5xx and 4xx, apart (B3), as each instrumented service counted them itself, probes left out (B2).

        Columns: service, requests, errors_5xx, errors_4xx (in the window), ratio_5xx, ratio_4xx (NaN without traffic). A service
        that is dead counts nothing: believe the edge first. Raises SourceError when no service exports the metric.
        """
        groups = self._by("service", minutes, f"{{{NOT_PROBES}}}")
        if not groups:
            raise SourceError(
                f"no series {APPLICATION} in the last {minutes:g} minutes",
                target=self.prometheus.name,
                next="look at metrics.targets(): is anything scraped?",
            )
        rows = [
            {"service": name, **_shares(counts), "errors_4xx": counts["4"], "ratio_4xx": _share(counts, "4")}
            for name, counts in sorted(groups.items())
        ]
        return frame("error_ratio_by_service", COLUMNS["error_ratio_by_service"], rows)

    def error_ratio_by_path(self, service: str = "gateway", minutes: float = 1.0) -> pd.DataFrame:
        """5xx by route, as the gateway counted them: which backend's routes fail. Worst first.

        Columns: path, requests, errors_5xx (in the window), ratio_5xx. `service` is the label's value (the gateway's is 'gateway').
        """
        groups = self._by("route", minutes, f'{{service="{_quoted(service)}",{NOT_PROBES}}}')
        ranked = sorted(groups.items(), key=lambda group: (-group[1]["5"], -group[1]["all"]))
        rows = [{"path": path, **_shares(counts)} for path, counts in ranked]
        return frame("error_ratio_by_path", COLUMNS["error_ratio_by_path"], rows)

    # --- can it be trusted ---------------------------------------------------------------------------------------

    def targets(self) -> pd.DataFrame:
        """What is scraped (M2). Columns: job, instance, health (up, down, unknown), last_scrape (UTC), error."""
        data = self.prometheus.get("/api/v1/targets", state="active")
        rows = [
            {
                "job": target["labels"].get("job", ""),
                "instance": target["labels"].get("instance", ""),
                "health": target["health"],
                "last_scrape": target.get("lastScrape"),
                "error": target.get("lastError", ""),
            }
            for target in data["activeTargets"]
        ]
        return frame("targets", COLUMNS["targets"], rows)

    def targets_down(self) -> pd.DataFrame:
        """The scrape targets that are down. Columns as `targets`. Raises SourceError when nothing is scraped at all."""
        data = self.targets()
        if data.empty:
            raise SourceError(
                "nothing is scraped: every alert is silent because it is blind (M2)",
                target=self.prometheus.name,
                next="look at its configuration and service discovery",
            )
        return data[data["health"] == "down"].reset_index(drop=True)

    def scrape_health(self) -> Measurement:
        """Share of the scrape targets that are up. Unknown when there is no target, or none was scraped yet (M2)."""
        data, now = self.targets(), datetime.now(UTC)
        data = data[data["health"] != "unknown"]
        if data.empty:
            return Measurement(None, "ratio", now, 0, "nothing is scraped", "/api/v1/targets")
        up = float((data["health"] == "up").mean())
        return Measurement(up, "ratio", now, len(data), "", "/api/v1/targets")

    def alerts(self) -> pd.DataFrame:
        """Alerts firing or pending, the Watchdog too (its absence is a finding, M2).

        Columns: alert, state, severity, since (UTC), value, labels, summary.
        """
        rows = [
            {
                "alert": alert["labels"].get("alertname", ""),
                "state": alert["state"],
                "severity": alert["labels"].get("severity", ""),
                "since": alert.get("activeAt"),
                "value": _number(alert.get("value")),
                "labels": alert["labels"],
                "summary": (alert.get("annotations") or {}).get("summary", ""),
            }
            for alert in self.prometheus.get("/api/v1/alerts")["alerts"]
        ]
        return frame("alerts", COLUMNS["alerts"], rows)

    # --- inside --------------------------------------------------------------------------------------------------

    def _instant(self, promql: str, at: datetime | None = None) -> list[tuple[Mapping[str, str], Json]]:
        params = {"query": promql} | ({"time": at.timestamp()} if at else {})
        data = self.prometheus.get("/api/v1/query", **params)
        if data["resultType"] in ("scalar", "string"):
            return [({}, data["result"])]
        return [(series["metric"], series["value"]) for series in data["result"]]

    def _scalar(self, promql: str) -> float | None:
        found = self._instant(promql)
        return float(found[0][1][1]) if found else None

    def _ratio(self, service: str, seconds: float, minimum: int) -> Measurement:
        counts, source = self._edge_counts(service, seconds)
        now = datetime.now(UTC)
        if counts is None:
            return Measurement(None, "ratio", now, 0, _absent(service), source)
        total = sum(counts.values())
        if total < minimum:
            why = f"only {total:.0f} requests in the last {seconds:.0f} s; {minimum} are needed for a share"
            return Measurement(None, "ratio", now, round(total), why, source)
        bad = sum(count for status, count in counts.items() if status.startswith("5"))
        return Measurement(min(1.0, bad / total), "ratio", now, round(total), "", source)

    def _edge_counts(self, service: str, seconds: float) -> tuple[dict[str, float] | None, str]:
        """Requests by status in the last seconds; None when no series has two samples in them."""
        source = _either(
            EDGE, self.namespace, service, lambda s: f"sum by (status) (increase({s}[{_span(seconds)}]))"
        )
        found = self._instant(source)
        if not found:
            return None, source
        return {labels.get("status", ""): float(value[1]) for labels, value in found}, source

    def _by(self, label: str, minutes: float, selector: str) -> dict[str, dict[str, float]]:
        query = f"sum by ({label}, status_code) (increase({APPLICATION}{selector}[{_span(minutes * 60)}]))"
        groups: dict[str, dict[str, float]] = {}
        for labels, value in self._instant(query):
            counts = groups.setdefault(labels.get(label, ""), {"all": 0.0, "4": 0.0, "5": 0.0})
            counts["all"] += float(value[1])
            kind = labels.get("status_code", "")[:1]
            if kind in counts:
                counts[kind] += float(value[1])
        return groups


def _either(metric: str, namespace: str, service: str, form: Callable[[str], str]) -> str:
    """A query over the controller's own labels or, where the scrape renamed them, over exported_*.

    Source: Prometheus' honor_labels: a ServiceMonitor without it keeps the controller's labels as exported_namespace and
    exported_service.
    """
    names = (_quoted(namespace), _quoted(service))
    own = form(f'{metric}{{namespace="{names[0]}",service="{names[1]}"}}')
    exported = form(f'{metric}{{exported_namespace="{names[0]}",exported_service="{names[1]}"}}')
    return f"{own} or {exported}"


def _absent(service: str) -> str:
    return f"there is no recent sample of {EDGE} for {service}: the ingress is not scraped, or never had a request for it"


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    return {"requests": counts["all"], "errors_5xx": counts["5"], "ratio_5xx": _share(counts, "5")}


def _share(counts: Mapping[str, float], kind: str) -> float:
    return counts[kind] / counts["all"] if counts["all"] else math.nan


def _span(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _number(text: Json) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
