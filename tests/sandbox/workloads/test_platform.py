"""The platform process over sockets: edge, certificates, exporter, restart."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

HOST = "api.pss-nano.com"


def port_of(sandbox, key: str) -> int:
    return urlsplit(sandbox.address("platform")[key]).port


def get(sandbox, path: str, *, host: str = HOST, tls: bool = True, verify: bool = True):
    """One request as a browser: (status, headers, body)."""
    port = port_of(sandbox, "edge_https" if tls else "edge_http")
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    if tls:
        trust = ssl.create_default_context(cafile=str(sandbox.pki / "issuing-ca.crt"))
        if not verify:
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        raw = trust.wrap_socket(raw, server_hostname=host)
    with raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while chunk := raw.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
    return int(lines[0].split()[1]), headers, body.decode()


def until(check: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.1)


def metrics(sandbox) -> str:
    with urllib.request.urlopen(sandbox.address("platform")["exporter"], timeout=5) as answer:
        return answer.read().decode()


def test_users_are_served_over_a_certificate_that_the_issuing_authority_signed(healthy_sandbox):
    status, headers, body = get(healthy_sandbox, "/api/v1/inventory/availability")
    assert status == 200 and json.loads(body)["total"] == 1
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    assert get(healthy_sandbox, "/health")[0] == 200


def test_plain_http_is_redirected_and_unknown_hosts_get_the_default_backend(healthy_sandbox):
    status, headers, _ = get(healthy_sandbox, "/x?y=1", tls=False)
    assert status == 308 and headers["location"] == f"https://{HOST}/x?y=1"
    status, _, body = get(healthy_sandbox, "/", host="nothing.example", tls=False)
    assert status == 404 and "nginx" in body


def test_without_its_secret_the_host_gets_the_fake_certificate(healthy_sandbox, kubectl):
    kubectl("delete", "secret", "api-gateway-tls")

    def refused() -> bool:
        try:
            get(healthy_sandbox, "/health")
        except ssl.SSLCertVerificationError:
            return True
        return False

    until(refused, "the fallback to the fake certificate")
    assert get(healthy_sandbox, "/health", verify=False)[0] == 200


def test_without_ready_pods_the_edge_answers_its_own_503(healthy_sandbox, kubectl):
    kubectl("scale", "deployment/api-gateway", "--replicas=0")
    until(lambda: get(healthy_sandbox, "/health")[0] == 503, "the 503")
    assert "503 Service Temporarily Unavailable" in get(healthy_sandbox, "/health")[2]
    kubectl("scale", "deployment/api-gateway", "--replicas=5")
    until(lambda: get(healthy_sandbox, "/health")[0] == 200, "the recovery")


def test_an_ingress_for_another_service_takes_effect_at_once(healthy_sandbox, kubectl):
    page = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "extra", "namespace": "pss-nano"},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [
                {
                    "host": "extra.pss-nano.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "cms-service", "port": {"name": "http"}}},
                            }
                        ]
                    },
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(page))
    host = "extra.pss-nano.com"
    until(lambda: get(healthy_sandbox, "/health", host=host, tls=False)[0] == 200, "the new route")
    address = "jsonpath={.status.loadBalancer.ingress[0].ports[0].port}"
    port = str(port_of(healthy_sandbox, "edge_https"))
    until(lambda: kubectl("get", "ingress", "extra", "-o", address).stdout == port, "its address")


def test_requests_are_counted_by_status_and_logged_by_the_controller(healthy_sandbox, kubectl):
    def count(status: str) -> float:
        pattern = r'nginx_ingress_controller_requests\{.*method="GET".*status="' + status + r'"\} (\S+)'
        return sum(float(found) for found in re.findall(pattern, metrics(healthy_sandbox)))

    before = count("404")
    for _ in range(5):
        get(healthy_sandbox, "/no-such-page")
    assert count("404") >= before + 5
    selector = "app.kubernetes.io/component=controller"
    logs = kubectl("logs", "-n", "ingress-nginx", "-l", selector, "--tail=-1").stdout
    assert "GET /no-such-page HTTP" in logs and "[pss-nano-api-gateway-3000]" in logs


def test_series_carry_the_labels_of_the_real_exporters(healthy_sandbox):
    for line in (
        'kube_deployment_status_replicas_available{deployment="api-gateway",namespace="pss-nano"} 5',
        'kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="api-gateway",namespace="pss-nano"} 15',
        'service_health_status{service="auth-service"} 1',
        'kube_resourcequota{namespace="pss-nano",resource="pods",resourcequota="pss-nano-quota",type="hard"} 100',
        'container_memory_working_set_bytes{container="api-gateway"',
        'http_requests_total{method="GET",route="/health",service="gateway",status_code="200"}',
    ):
        until(lambda line=line: line in metrics(healthy_sandbox), line)


def test_quota_use_is_kept_by_the_api_as_the_platform_computes_it(healthy_sandbox, kubectl):
    used = json.loads(kubectl("get", "resourcequota", "pss-nano-quota", "-o", "json").stdout)["status"][
        "used"
    ]
    assert used["pods"] == "43" and used["requests.cpu"] in ("16500m", "16.5")


def test_killed_and_started_again_it_takes_the_pods_over_on_the_same_ports(healthy_sandbox, kubectl):
    from opslib.sandbox import lifecycle

    wanted = (
        "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{'\\n'}{end}"
    )
    before, address = kubectl("get", "pods", "-A", "-o", wanted).stdout, healthy_sandbox.address("platform")
    os.kill(address["pid"], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{address['pid']}/exe").exists(), "its end")
    lifecycle.up(healthy_sandbox.name)
    again = healthy_sandbox.address("platform")
    assert {**again, "pid": 0} == {**address, "pid": 0}
    until(lambda: get(healthy_sandbox, "/api/v1/inventory/availability")[0] == 200, "service")
    assert sorted(kubectl("get", "pods", "-A", "-o", wanted).stdout.split("\n")) == sorted(before.split("\n"))


def test_sigterm_ends_it_cleanly(healthy_sandbox):
    from opslib.sandbox import lifecycle

    address = healthy_sandbox.address("platform")
    os.kill(address["pid"], signal.SIGTERM)
    until(lambda: not Path(f"/proc/{address['pid']}/exe").exists(), "its end")
    with pytest.raises((ConnectionRefusedError, urllib.error.URLError)):
        metrics(healthy_sandbox)
    tail = healthy_sandbox.log("platform").read_text()[-2000:]
    assert "Traceback" not in tail
    lifecycle.up(healthy_sandbox.name)
