"""Prometheus: the sandbox's own, and every way in which an answer is none."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from opslib.errors import SourceError, Unreachable
from opslib.metrics import COLUMNS, Metrics
from opslib.settings import Profile, load

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox


@pytest.fixture
def metrics(sandbox: Sandbox) -> Metrics:
    from opslib.sandbox import lifecycle

    if not lifecycle.env(sandbox.name).get("PROMETHEUS_URL"):
        pytest.skip("this machine has no Prometheus")
    return Metrics(load(environ=lifecycle.env(sandbox.name)))


@pytest.fixture
def empty_prometheus() -> Iterator[str]:
    """A Prometheus that scraped nothing: every answer is right and empty."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data: object = {"resultType": "vector", "result": []}
            if self.path.startswith("/api/v1/targets"):
                data = {"activeTargets": []}
            body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_healthy_platform_s_share_of_errors_rests_on_samples(
    metrics: Metrics, healthy_sandbox: object
) -> None:
    found = metrics.error_ratio("api-gateway", 5)
    assert found.known and found.value is not None and found.value < 0.01
    assert found.samples is not None and found.samples > 1000
    assert "nginx_ingress_controller_requests" in found.source
    rate = metrics.requests_per_second("api-gateway", 5)
    assert rate.value is not None and rate.value > 5


def test_a_service_without_traffic_is_unknown_not_zero(metrics: Metrics) -> None:
    """B1: an empty vector must not read as 'no errors'."""
    found = metrics.error_ratio("nobody")
    assert found.value is None and "no recent sample" in found.unknown
    since = metrics.ratio_since("api-gateway", datetime.now(UTC) + timedelta(seconds=5))
    assert not since.known or (since.samples or 0) < 100


def test_series_and_groups_have_their_columns(metrics: Metrics) -> None:
    series = metrics.error_series("api-gateway", 30)
    assert list(series.columns) == COLUMNS["error_series"]
    assert len(series) > 50 and series["at"].is_monotonic_increasing
    assert series["error_ratio"].dropna().between(0, 1).all()
    assert list(metrics.error_series("nobody", 5).columns) == COLUMNS["error_series"]
    services = metrics.error_ratio_by_service(5)
    assert list(services.columns) == COLUMNS["error_ratio_by_service"]
    assert "gateway" in set(services["service"])
    paths = metrics.error_ratio_by_path(minutes=5)
    assert not set(paths["path"]) & {"/health", "/metrics", "/ready", "/live"}


def test_monitoring_itself_is_looked_at(metrics: Metrics) -> None:
    """M2: silence may be blindness."""
    end = time.monotonic() + 15
    while not metrics.scrape_health().known and time.monotonic() < end:
        time.sleep(0.2)  # a Prometheus that has just started has no target yet
    assert metrics.scrape_health().value == 1.0
    assert metrics.targets_down().empty
    assert list(metrics.alerts().columns) == COLUMNS["alerts"]
    assert "Watchdog" in set(metrics.alerts()["alert"])


def test_a_wrong_query_is_refused_by_name(metrics: Metrics) -> None:
    with pytest.raises(SourceError, match="refuses the query"):
        metrics.query("sum(")


def test_nothing_scraped_is_unknown(empty_prometheus: str) -> None:
    metrics = Metrics(Profile(prometheus=empty_prometheus))
    assert not metrics.error_ratio("api-gateway").known
    assert not metrics.latency("api-gateway").known
    assert not metrics.scrape_health().known
    with pytest.raises(SourceError, match="blind"):
        metrics.targets_down()
    with pytest.raises(SourceError, match="no series"):
        metrics.error_ratio_by_service()


def test_no_address_and_nobody_there_are_unreachable() -> None:
    with pytest.raises(Unreachable, match="no Prometheus is named"):
        Metrics(Profile()).error_ratio("api-gateway")
    with pytest.raises(Unreachable) as caught:
        Metrics(Profile(prometheus="http://ada:secret-word@127.0.0.1:1")).alerts()
    assert "secret-word" not in str(caught.value) and "127.0.0.1:1" in str(caught.value)
