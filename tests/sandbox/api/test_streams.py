"""Logs, exec, attach, port-forward and metrics: passed on to the kubelet, byte for byte."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import MERGE, Cluster, pod


class _Kubelet(socketserver.StreamRequestHandler):
    """Speaks just enough HTTP: logs, an upgrade that echoes, metrics."""

    seen: list[tuple[str, dict[str, str]]]

    def handle(self) -> None:
        line = self.rfile.readline().decode().split(" ")
        headers = {}
        while (text := self.rfile.readline().decode().strip()) != "":
            key, _, value = text.partition(":")
            headers[key.lower()] = value.strip()
        target = line[1]
        self.server.seen.append((f"{line[0]} {target}", headers))  # type: ignore[attr-defined]
        if target.startswith("/containerLogs") and "previous" in target:
            self._answer(b"400 Bad Request", b'previous terminated container "app" in pod "web" not found')
        elif target.startswith("/containerLogs"):
            self._answer(b"200 OK", b"one\ntwo\n")
        elif target.startswith("/apis/metrics.k8s.io"):
            self._answer(b"200 OK", b'{"kind":"PodMetricsList","items":[]}', b"application/json")
        else:
            self.wfile.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello"
            )
            while data := self.request.recv(65536):
                self.wfile.write(data[::-1])

    def _answer(self, status: bytes, body: bytes, kind: bytes = b"text/plain") -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.wfile.write(head % (status, kind, len(body)) + body)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(("127.0.0.1", 0), _Kubelet)
        self.seen: list[tuple[str, dict[str, str]]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cluster.path / "pki" / "kubelet.crt", cluster.path / "pki" / "kubelet.key")
        self.context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True), address


@pytest.fixture
def kubelet(cluster: Cluster, ns: str) -> Iterator[_Server]:
    """A kubelet for node k-NS, on which pod web of the namespace runs."""
    server = _Server(cluster)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    port = server.server_address[1]
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    cluster.ok("POST", "/api/v1/nodes", {"metadata": {"name": f"k-{ns}"}, "status": status})
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods", pod("web"))
    bind = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": f"k-{ns}"}}
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods/web/binding", bind)
    cluster.ok("PATCH", f"/api/v1/namespaces/{ns}/pods/web/status", {"status": {"phase": "Running"}}, MERGE)
    address = cluster.path / "platform" / "address.json"
    address.parent.mkdir(exist_ok=True)
    address.write_text(json.dumps({"kubelet": f"https://127.0.0.1:{port}"}))
    yield server
    address.unlink()
    server.shutdown()
    server.server_close()


def _upgrade(cluster: Cluster, target: str, user: str = "admin") -> tuple[ssl.SSLSocket, bytes]:
    host, port = cluster.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(cluster.path / "pki" / "ca.crt"))
    connection = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
    connection.settimeout(10)
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cluster.token(user)}\r\n"
    head += "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
    connection.sendall((head + "Content-Length: 0\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    return connection, answer


def test_logs(cluster: Cluster, ns: str, kubelet: _Server) -> None:
    assert cluster.kubectl("logs", "web", "-n", ns, "--tail=5", "--since=1m") == "one\ntwo\n"
    target, _ = kubelet.seen[-1]
    assert target.startswith(f"GET /containerLogs/{ns}/web/app?") and "tailLines=5" in target
    previous = cluster.kubectl_raw("logs", "web", "-n", ns, "--previous")
    assert 'previous terminated container "app" in pod "web" not found' in previous.stderr
    wrong = cluster.request("GET", f"/api/v1/namespaces/{ns}/pods/web/log", params={"container": "x"})
    assert wrong.json()["message"] == "container x is not valid for pod web"
    two = pod("two")
    two["spec"]["containers"].append({"name": "side", "image": "x:v1"})
    cluster.ok("POST", f"/api/v1/namespaces/{ns}/pods", two)
    ambiguous = cluster.request("GET", f"/api/v1/namespaces/{ns}/pods/two/log").json()["message"]
    assert ambiguous == "a container name must be specified for pod two, choose one of: [app side]"
    assert cluster.request("GET", f"/api/v1/namespaces/{ns}/pods/two/log?container=app").text == ""


def test_an_upgraded_connection_is_a_tunnel(cluster: Cluster, ns: str, kubelet: _Server) -> None:
    target = (
        f"/api/v1/namespaces/{ns}/pods/web/exec?command=ls&command=-l&stdout=true&stdin=true&container=app"
    )
    connection, answer = _upgrade(cluster, target)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols")
    greeting = answer.split(b"\r\n\r\n", 1)[1]
    while len(greeting) < 5:
        greeting += connection.recv(10)
    assert greeting == b"hello"
    for payload in (b"abc", b"0123456789" * 20_000):
        connection.sendall(payload)
        got = b""
        while len(got) < len(payload):
            got += connection.recv(65536)
        assert sorted(got) == sorted(payload) and got[:1] != b""
    connection.close()
    line, headers = kubelet.seen[-1]
    assert line == f"POST /exec/{ns}/web/app?input=1&output=1&command=ls&command=-l"
    assert headers["x-stream-protocol-version"] == "v4.channel.k8s.io" and "authorization" not in headers
    connection, answer = _upgrade(cluster, f"/api/v1/namespaces/{ns}/pods/web/portforward?ports=80")
    assert b" 101 " in answer and kubelet.seen[-1][0] == f"POST /portForward/{ns}/web?port=80"
    connection.close()
    assert cluster.ok("GET", f"/api/v1/namespaces/{ns}/pods/web")  # the server goes on


def test_exec_without_rights_or_kubelet(cluster: Cluster, ns: str, kubelet: _Server) -> None:
    path = f"/api/v1/namespaces/{ns}/pods/web/exec?command=ls&stdout=true"
    connection, answer = _upgrade(cluster, path, user="developer")
    assert answer.startswith(b"HTTP/1.1 403 ")
    connection.close()
    assert cluster.request("POST", path).status_code == 400
    kubelet.shutdown()
    kubelet.server_close()
    connection, answer = _upgrade(cluster, path)
    assert answer.startswith(b"HTTP/1.1 500 ")
    connection.close()
    failed = cluster.kubectl_raw("logs", "web", "-n", ns)
    assert failed.returncode == 1 and "connect: connection refused" in failed.stderr


def test_metrics_are_passed_on_and_503_when_away(cluster: Cluster, ns: str, kubelet: _Server) -> None:
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{ns}/pods"
    assert cluster.ok("GET", path)["kind"] == "PodMetricsList"
    address = cluster.path / "platform" / "address.json"
    text = address.read_text()
    address.unlink()
    try:
        assert cluster.request("GET", path).status_code == 503
        failed = cluster.kubectl_raw("top", "pods", "-n", ns)
        assert failed.returncode == 1 and "unavailable" in failed.stderr.lower()
    finally:
        address.write_text(text)
