"""The columns of every frame that a Metrics read returns, also when the frame is empty."""

from __future__ import annotations

COLUMNS: dict[str, list[str]] = {
    "query": ["at", "value", "labels"],
    "query_range": ["at", "value", "series", "labels"],
    "error_series": ["at", "requests_per_second", "error_ratio"],
    "error_ratio_by_service": ["service", "requests", "errors_5xx", "errors_4xx", "ratio_5xx", "ratio_4xx"],
    "error_ratio_by_path": ["path", "requests", "errors_5xx", "ratio_5xx"],
    "targets": ["job", "instance", "health", "last_scrape", "error"],
    "alerts": ["alert", "state", "severity", "since", "value", "labels", "summary"],
}
