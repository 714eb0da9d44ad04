"""Backends and the rest of the catalogue: databases that are away, required settings, unknown images."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from opslib.sandbox.inventory.names import BACKENDS
from opslib.sandbox.workloads import catalogue
from opslib.sandbox.workloads.backend import Backend
from opslib.sandbox.workloads.catalogue import Build
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.infra import WebServer
from opslib.sandbox.workloads.registry import Registry
from opslib.sandbox.workloads.stores import Stores


def at(state: Path, store: str, port: int) -> None:
    (state / store).mkdir(exist_ok=True)
    (state / store / "address.json").write_text(json.dumps({"host": "127.0.0.1", "port": port}))


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("service", [b.name for b in BACKENDS])
def test_every_backend_answers_its_probes_and_its_area(tmp_path, container, service):
    backend = Backend(Build(service, "v1"), Stores(tmp_path))
    c = container(service)
    assert backend.start(c) is None
    for path in ("/health", "/health/ready", f"/api/v1/{backend.service.area}/x"):
        assert backend.http(c, "GET", path, 3000, {}).status == 200
    assert backend.http(c, "GET", "/api/v1/elsewhere", 3000, {}).status == 404


def test_database_away_makes_health_503_and_routes_500(tmp_path, container):
    at(tmp_path, "postgres", closed_port())
    backend = Backend(Build("reservation-service", "v3.1.4"), Stores(tmp_path))
    c = container("reservation-service")
    assert backend.http(c, "GET", "/health", 3000, {}).status == 503
    assert backend.http(c, "GET", "/api/v1/reservations/ABC123", 3000, {}).status == 500
    assert any("P1001" in line for line in c.lines)
    without = Backend(Build("boarding-service", "v2.2.5"), Stores(tmp_path))
    assert without.http(container("boarding-service"), "GET", "/health", 3000, {}).status == 200


def test_database_that_listens_is_up_and_another_host_is_not(tmp_path, container):
    with socket.create_server(("127.0.0.1", 0)) as server:
        at(tmp_path, "postgres", server.getsockname()[1])
        backend = Backend(Build("auth-service", "v3.4.2"), Stores(tmp_path))
        assert backend.http(container("auth-service"), "GET", "/health", 3000, {}).status == 200
        wrong = container("auth-service", DATABASE_URL="postgresql://a:b@nowhere:5432/airline_ops")
        assert backend.http(wrong, "GET", "/health", 3000, {}).status == 503


def test_redis_away_fails_sessions_but_not_health(tmp_path, container):
    at(tmp_path, "redis", closed_port())
    backend = Backend(Build("auth-service", "v3.4.2"), Stores(tmp_path))
    c = container("auth-service")
    assert backend.http(c, "GET", "/health", 3000, {}).status == 200
    assert backend.http(c, "POST", "/api/v1/auth/login", 3000, {}).status == 500


@pytest.mark.parametrize("url", [None, "", "mysql://x/y", "postgresql://"])
def test_without_a_usable_database_url_it_does_not_start(tmp_path, container, url):
    end = Backend(Build("pricing-service", "v1"), Stores(tmp_path)).start(
        container("pricing-service", DATABASE_URL=url)
    )
    assert end is not None and end.code == 1 and end.log[0].startswith("Error: ")


def test_connection_limit_is_read_from_the_url(tmp_path, container):
    assert Backend.pool(container("reservation-service")) == 5
    assert Backend.pool(container("reservation-service", DATABASE_URL="postgresql://a:b@h:5432/d")) == 5


def test_references_are_resolved_as_containerd_does():
    assert catalogue.normalise("nginx") == "docker.io/library/nginx:latest"
    assert catalogue.normalise("bitnami/redis:1") == "docker.io/bitnami/redis:1"
    assert catalogue.normalise("gcr.io/pss-nano/api-gateway") == "gcr.io/pss-nano/api-gateway:latest"
    assert catalogue.normalise("localhost:5000/x:1") == "localhost:5000/x:1"


def test_unknown_images_cannot_be_pulled_and_say_why(tmp_path):
    registry = Registry(Stores(tmp_path), GatewayMetrics(), lambda _n, _m: None)
    missing = registry.pull("gcr.io/pss-nano/api-gateway:v9.9.9", {})
    assert not missing.ok
    assert missing.message == (
        'rpc error: code = NotFound desc = failed to pull and unpack image "gcr.io/pss-nano/api-gateway:v9.9.9": '
        'failed to resolve reference "gcr.io/pss-nano/api-gateway:v9.9.9": '
        "gcr.io/pss-nano/api-gateway:v9.9.9: not found"
    )
    assert "authorization failed" in registry.pull("gcr.io/pss-nano/nothing:v1", {}).message
    with pytest.raises(KeyError):
        registry.workload("gcr.io/pss-nano/nothing:v1", "nothing")


def test_the_moving_tag_is_the_broken_build_and_a_digest_names_a_build():
    latest = catalogue.digest("gcr.io/pss-nano/api-gateway:latest")
    assert latest == catalogue.digest("gcr.io/pss-nano/api-gateway:v2.8.0")
    assert latest != catalogue.digest("gcr.io/pss-nano/api-gateway:v2.7.3")
    good = catalogue.digest("gcr.io/pss-nano/api-gateway:v2.7.3")
    assert catalogue.build(f"gcr.io/pss-nano/api-gateway@{good}").version == "v2.7.3"


def test_web_server_serves_the_page_and_status_of_its_config_maps(tmp_path, container):
    maps = {
        "page": {
            "data": {
                "default.conf": "server { location = /healthz { return 200; } "
                'location / { add_header Retry-After "300" always; return 503; } }',
                "index.html": "<h1>Back soon</h1>",
            }
        }
    }
    server = WebServer("docker.io/library/nginx:1.27", Stores(tmp_path), lambda _n, name: maps.get(name))
    c = container("api-gateway")
    c.pod["spec"] = {"volumes": [{"name": "v", "configMap": {"name": "page"}}]}
    c.spec = {"ports": [{"containerPort": 8080}], "volumeMounts": [{"name": "v", "mountPath": "/srv"}]}
    answer = server.http(c, "GET", "/anything", 8080, {})
    assert (answer.status, answer.body) == (503, "<h1>Back soon</h1>")
    assert answer.headers == (("Retry-After", "300"),)
    assert server.http(c, "GET", "/healthz", 8080, {}).status == 200
    assert server.http(c, "GET", "/", 80, {}) is None
