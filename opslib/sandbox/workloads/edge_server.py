"""The edge's sockets: HTTP and HTTPS on loopback, the certificate chosen by SNI from the Ingress' Secret.

Source: ingress-nginx 1.9 (a host whose Secret is missing or unusable is served with the controller's own
self-signed "Kubernetes Ingress Controller Fake Certificate").
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import logging
import ssl
import tempfile

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opslib.sandbox.client import INGRESSES, SECRETS, ApiError, Client
from opslib.sandbox.informer import Informers
from opslib.sandbox.workloads.edge import Edge, is_ours
from opslib.sandbox.workloads.protocol import Manifest

log = logging.getLogger(__name__)
HSTS = "max-age=31536000; includeSubDomains; preload"
LONGEST = 35.0  # real seconds an answer is held back at most


class Certificates:
    """TLS contexts by host name, from the Secrets that the Ingress objects name."""

    def __init__(self, informers: Informers) -> None:
        self._ingresses = informers.of(INGRESSES)
        self._secrets = informers.of(SECRETS)
        self._made: dict[str, ssl.SSLContext] = {}
        self._fake = _context(*fake_certificate())

    def server_context(self) -> ssl.SSLContext:
        """The context to listen with; the certificate is chosen when the client names its host."""

        def choose(connection: ssl.SSLObject, host: str | None, _: ssl.SSLContext) -> None:
            connection.context = self.of(host or "")

        self._fake.sni_callback = choose
        return self._fake

    def of(self, host: str) -> ssl.SSLContext:
        for ingress in self._ingresses.all():
            if not is_ours(ingress):
                continue
            for entry in ingress["spec"].get("tls") or []:
                if host in (entry.get("hosts") or []):
                    space = ingress["metadata"]["namespace"]
                    found = self._load(self._secrets.get(f"{space}/{entry.get('secretName')}"))
                    if found is not None:
                        return found
        return self._fake

    def _load(self, secret: Manifest | None) -> ssl.SSLContext | None:
        data = (secret or {}).get("data") or {}
        try:
            certificate, key = (base64.b64decode(data[name]) for name in ("tls.crt", "tls.key"))
        except (KeyError, ValueError):
            return None
        mark = hashlib.sha256(certificate + key).hexdigest()
        if mark not in self._made:
            try:
                self._made[mark] = _context(certificate, key)
            except (ssl.SSLError, ValueError) as error:
                log.warning(
                    "the Secret %s holds no usable key pair: %s", (secret or {})["metadata"]["name"], error
                )
                return None
        return self._made[mark]


def _context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile() as pair:  # ssl loads key pairs from files only; mode 0600
        pair.write(certificate + b"\n" + key)
        pair.flush()
        context.load_cert_chain(pair.name)
    return context


def fake_certificate() -> tuple[bytes, bytes]:
    """ingress-nginx's self-signed fallback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme Co"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Kubernetes Ingress Controller Fake Certificate"),
        ]
    )
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ingress.local")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


class EdgeServer:
    """Two listeners that answer what `Edge.route` says, as slowly as it says."""

    def __init__(self, edge: Edge, certificates: Certificates) -> None:
        self._edge = edge
        self._certificates = certificates
        self._runners: list[web.AppRunner] = []

    async def start(self, http_port: int = 0, https_port: int = 0) -> tuple[int, int]:
        """Listen on loopback; returns the two ports really taken (another one where the wish was not free)."""
        context = self._certificates.server_context()
        return await self._listen(http_port, None), await self._listen(https_port, context)

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> int:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, tls=context is not None)

        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        return await listen(runner, port, context)

    async def _handle(self, request: web.Request, *, tls: bool) -> web.StreamResponse:
        await request.read()
        headers = dict(request.headers)
        headers.setdefault("Content-Length", "0")
        client = headers.get("X-Real-Ip") or request.remote or "127.0.0.1"
        reply = self._edge.route(
            request.host, request.method, request.raw_path, headers, tls=tls, client=client
        )
        await asyncio.sleep(min(LONGEST, reply.seconds))
        answer = web.Response(status=reply.status)
        if reply.status != 204:
            answer.body = reply.body.encode()
            answer.headers["Content-Type"] = reply.content_type
        for name, value in reply.headers:
            answer.headers[name] = value
        if reply.location:
            answer.headers["Location"] = reply.location
        if tls:
            answer.headers["Strict-Transport-Security"] = HSTS
        return answer

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()


async def listen(runner: web.AppRunner, port: int, context: ssl.SSLContext | None = None) -> int:
    """Serve on 127.0.0.1:port, or on any free port when that one is taken; returns the port."""
    for wish in dict.fromkeys((port, 0)):
        site = web.TCPSite(runner, "127.0.0.1", wish, ssl_context=context, reuse_address=True)
        try:
            await site.start()
        except OSError:
            if wish == 0:
                raise
            continue
        addresses = runner.addresses
        return int(addresses[-1][1])
    raise RuntimeError("unreachable: port 0 is always tried last")


async def announce(client: Client, informers: Informers, http_port: int, https_port: int) -> int:
    """Write the edge's address into the status of every Ingress it serves; returns how many it told."""
    told = 0
    ports = [{"port": https_port, "protocol": "TCP"}, {"port": http_port, "protocol": "TCP"}]
    wanted = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ports": ports}]}}
    for ingress in informers.of(INGRESSES).all():
        if not is_ours(ingress) or (ingress.get("status") or {}) == wanted:
            continue
        meta = ingress["metadata"]
        with contextlib.suppress(ApiError):  # it is told again at the next change
            await client.patch(
                INGRESSES, meta["namespace"], meta["name"], {"status": wanted}, "merge", "status"
            )
            told += 1
    return told
