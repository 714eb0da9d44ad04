"""The edge asked as a user asks it: real TLS servers in the test, and the sandbox's ingress."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opslib.edge import COLUMNS, Edge
from opslib.errors import SettingsError, Unreachable
from opslib.settings import Profile

Serve = Callable[..., Profile]


def certificate(folder: Path, name: str, *, days: int = 30) -> Path:
    """A self-signed certificate for one name, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}-{days}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Answer(BaseHTTPRequestHandler):
    """/STATUS answers that status; anything else 200; says which host it was asked for."""

    def do_GET(self) -> None:
        status = int(self.path[1:]) if self.path[1:].isdigit() else 200
        body = f'{{"host": "{self.headers["Host"]}"}}'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve("api.example.com", days=30): a TLS server with that certificate; returns the profile that reaches it."""
    servers: list[ThreadingHTTPServer] = []

    def start(name: str, *, days: int = 30, trusted: bool = True) -> Profile:
        file = certificate(tmp_path, name, days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        where = f"https://127.0.0.1:{server.server_port}"
        return Profile(edge=where, edge_ca=str(file) if trusted else "")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_probe_names_the_host_and_judges_the_status(serve: Serve) -> None:
    data = Edge(serve("api.example.com")).probe("api.example.com", ["/200", "/500", "/404"], requests=6)
    assert list(data.columns) == COLUMNS["probe"]
    assert list(data["failed"]) == [False, True, False, False, True, False]
    assert data["body_head"].str.contains("api.example.com").all()
    assert (data["seconds"] > 0).all()
    assert data["at"].dt.tz is not None


def test_a_certificate_for_another_name_fails_the_users_too(serve: Serve) -> None:
    edge = Edge(serve("other.example.com"))
    probe = edge.probe("api.example.com", ["/200"], requests=2)
    assert probe["failed"].all()
    assert probe["error"].str.startswith("TLS:").all()
    row = edge.tls("api.example.com").iloc[0]
    assert not row["hostname_ok"] and row["chain_trusted"]
    assert "other.example.com" in row["problem"]


def test_an_expired_certificate_is_read_all_the_same(serve: Serve) -> None:
    row = Edge(serve("api.example.com", days=-2)).tls("api.example.com").iloc[0]
    assert row["days"] == pytest.approx(-2, abs=0.1)
    assert row["problem"] == "expired"
    assert not row["chain_trusted"]


def test_an_unknown_authority_is_said(serve: Serve) -> None:
    row = Edge(serve("api.example.com", trusted=False)).tls("api.example.com").iloc[0]
    assert row["hostname_ok"] and not row["chain_trusted"]
    assert row["problem"]


def test_nobody_listening_is_failed_requests_and_no_certificate() -> None:
    edge = Edge(Profile(edge="https://127.0.0.1:1"))
    probe = edge.probe("api.example.com", ["/"], requests=2)
    assert probe["failed"].all() and (probe["status"] == 0).all()
    assert probe["error"].str.contains("127.0.0.1:1").all()
    with pytest.raises(Unreachable):
        edge.tls("api.example.com")


def test_a_missing_authority_file_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CA file"):
        Edge(Profile(edge="https://127.0.0.1:1", edge_ca=str(tmp_path / "none"))).probe("a.example.com")


def test_the_symptom_counts_only_what_came_after(serve: Serve) -> None:
    edge = Edge(serve("api.example.com"))
    symptom = edge.symptom("api.example.com", ["/500"], requests=4)
    before = symptom.measure(datetime.now(UTC) - timedelta(minutes=1))
    assert (before.value, before.samples) == (1.0, 4)
    since = datetime.now(UTC)
    later = edge.symptom("api.example.com", ["/200"], requests=4)
    later._rounds = symptom._rounds
    first, second = later.measure(since), later.measure(since)
    assert (first.value, first.samples) == (0.0, 4)
    assert (second.value, second.samples) == (0.0, 8)
    assert later.measure(datetime.now(UTC) + timedelta(hours=1)).unknown
