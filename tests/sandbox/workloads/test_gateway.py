"""The gateway's program: configuration, aggregated health, proxying, saturation."""

from __future__ import annotations

import json

import pytest

from opslib.sandbox.inventory.names import BACKENDS
from opslib.sandbox.workloads.catalogue import Build
from opslib.sandbox.workloads.gateway import Gateway
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.protocol import HttpAnswer

AUTH = {"Authorization": "Bearer x"}


@pytest.fixture
def metrics() -> GatewayMetrics:
    return GatewayMetrics()


@pytest.fixture
def gateway(metrics: GatewayMetrics) -> Gateway:
    return Gateway(Build("api-gateway", "v2.7.3"), metrics)


@pytest.mark.parametrize("missing", ["JWT_SECRET", "API_KEY"])
def test_missing_secret_ends_it_with_a_clear_line(gateway, container, missing):
    end = gateway.start(container("api-gateway", **{missing: None}))
    assert end is not None and end.code == 1
    assert end.log[0] == f"Error: {missing} is required but not set"


def test_bad_expiry_ends_it_at_once_and_bad_window_later(gateway, container):
    soon = gateway.start(container("api-gateway", JWT_EXPIRY="24 hours"))
    late = gateway.start(container("api-gateway", RATE_LIMIT_WINDOW_MS="60s"))
    assert soon.after < 5 and 'got "24 hours"' in soon.log[0]
    assert late.after >= 300 and 'got "60s"' in late.log[0]
    again = container("api-gateway", RATE_LIMIT_WINDOW_MS="60s")
    again.restarts = 1
    assert gateway.start(again).after < 10


def test_healthy_configuration_runs(gateway, container):
    assert gateway.start(container("api-gateway")) is None


def test_port_is_closed_while_it_boots_and_elsewhere(gateway, container):
    assert gateway.http(container("api-gateway", age=0.2), "GET", "/health", 3000, {}) is None
    assert gateway.http(container("api-gateway"), "GET", "/health", 8080, {}) is None


def test_health_is_degraded_with_one_backend_down_and_503_with_none_up(gateway, container):
    c = container("api-gateway")
    c.services.answers["auth-service"] = None
    answer = gateway.http(c, "GET", "/health", 3000, {})
    assert answer.status == 200 and json.loads(answer.body)["status"] == "degraded"
    dead = container("api-gateway")
    dead.pod["metadata"]["uid"] = "another"
    dead.services.answers = {backend.name: None for backend in BACKENDS}
    answer = gateway.http(dead, "GET", "/health", 3000, {})
    assert answer.status == 503 and json.loads(answer.body)["status"] == "unhealthy"
    assert gateway.http(dead, "GET", "/health/ready", 3000, {}).status == 200


def test_health_is_not_asked_again_within_thirty_platform_seconds(gateway, container):
    c = container("api-gateway")
    for _ in range(3):
        gateway.http(c, "GET", "/health", 3000, {})
    assert len(c.services.calls) == len(BACKENDS)


def test_routes_are_proxied_and_protected(gateway, container):
    c = container("api-gateway")
    assert gateway.http(c, "GET", "/api/v1/reservations/ABC123", 3000, {}).status == 401
    assert gateway.http(c, "GET", "/api/v1/reservations/ABC123", 3000, AUTH).status == 200
    assert c.services.calls == ["GET reservation-service/api/v1/reservations/ABC123"]
    assert gateway.http(c, "GET", "/api/v1/nothing", 3000, AUTH).status == 404


@pytest.mark.parametrize(
    ("answer", "status"), [(None, 503), (HttpAnswer(200, "", 40.0), 504), (HttpAnswer(500, "x", 0.01), 500)]
)
def test_backend_trouble_becomes_the_gateways_answer_and_an_error_line(gateway, container, answer, status):
    c = container("api-gateway")
    c.services.answers["payment-service"] = answer
    assert gateway.http(c, "POST", "/api/v1/payments", 3000, AUTH).status == status
    assert "[\x1b[31merror\x1b[39m]" in c.lines[-1] and "payment" in c.lines[-1]


def test_broken_build_answers_500_on_every_api_route_and_is_healthy(metrics, container):
    bad = Gateway(Build("api-gateway", "v2.8.0", flaw="routes"), metrics)
    c = container("api-gateway")
    assert bad.http(c, "GET", "/health", 3000, {}).status == 200
    assert bad.http(c, "GET", "/health/ready", 3000, {}).status == 200
    for path in ("/api/v1/inventory/availability", "/api/v1/auth/login", "/api/v1/nothing"):
        assert bad.http(c, "GET", path, 3000, AUTH).status == 500
    key = 'http_requests_total{method="GET",route="/api/v1/nothing",service="gateway",status_code="500"} 1'
    assert key in metrics.text()


def test_saturated_pod_sheds_requests_and_burns_cpu(gateway, container):
    c = container("api-gateway")
    statuses = [gateway.http(c, "GET", "/api/v1/inventory/x", 3000, {}).status for _ in range(60)]
    assert statuses[:10] == [200] * 10 and statuses.count(503) >= 30
    assert gateway.usage(c).cpu_millicores == 1000


def test_info_lines_are_hidden_at_warn(gateway, container):
    c = container("api-gateway")
    gateway.http(c, "GET", "/api/v1/reservations/ABC123", 3000, AUTH)
    assert c.lines == []


async def test_exec_shows_the_environment_and_refuses_what_is_not_there(gateway, container):
    c = container("api-gateway")
    shown = await gateway.exec(c, ["printenv", "JWT_EXPIRY"], None)
    assert shown.stdout == b"24h\n"
    health = await gateway.exec(c, ["sh", "-c", "wget -qO- http://localhost:3000/health/ready"], None)
    assert b"ready" in health.stdout
    missing = await gateway.exec(c, ["npm", "test"], None)
    assert missing.exit_code == 127 and b"executable file not found" in missing.stderr
