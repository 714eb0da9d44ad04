"""Who is who in a sandbox: two throwaway certificate authorities, token users, kubeconfig files.

The first authority ("Sandbox CA") signs what the cluster itself presents: the API server and the kubelet.
The second ("Sandbox Issuing CA") plays the public issuer of the edge's certificates, so that the two are
never mixed up. All keys are ECDSA P-256, which are made in a millisecond.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from opslib.sandbox.state import Sandbox, write_atomic

CLUSTER = "pss-nano-sandbox"
NAMESPACE = "pss-nano"
YEAR = timedelta(days=365)
# Like the real ones: 90 days, of which 20 are gone.
EDGE_AGE, EDGE_LEFT = timedelta(days=20), timedelta(days=70)
EDGE_HOSTS = {
    "edge-api": ["api.pss-nano.com", "api-staging.pss-nano.com", "api-dev.pss-nano.com"],
    "edge-argocd": ["argocd.pss-nano.com"],
    "edge-grafana": ["grafana.pss-nano.com"],
}
PLATFORM_USER = "system:sandbox-platform"
# user: its groups; the API server itself adds system:authenticated.
USERS: dict[str, list[str]] = {
    "admin": ["system:masters"],
    "oncall-observer": ["opslib:observers"],
    "oncall-responder": ["opslib:responders"],
    "developer": [],
    "system:kube-controller-manager": [],
    "system:kube-scheduler": [],
    "system:node:sandbox": ["system:nodes"],
    PLATFORM_USER: ["system:masters"],
}
# context of the kubeconfig: the user it speaks as.
CONTEXTS = {
    "admin": "admin",
    "observer": "oncall-observer",
    "responder": "oncall-responder",
    "developer": "developer",
}


@dataclass(frozen=True)
class Issuer:
    """A certificate authority: its certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "opslib sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def authority(common: str) -> Issuer:
    """A new self-signed authority, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(_name(common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - YEAR)
        .not_valid_after(now + 10 * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate, key)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue(
    issuer: Issuer, names: list[str], *, not_before: datetime, not_after: datetime
) -> tuple[bytes, bytes]:
    """A server certificate for host names and addresses (the first is its subject), and its key; PEM.

    A fault that wants a certificate expired, or for the wrong name, asks for just that.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(names[0]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
        .sign(issuer.key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def load_issuer(folder: Path, name: str) -> Issuer:
    """The authority kept as NAME.crt and NAME.key ("ca" or "issuing-ca") in a sandbox's pki folder."""
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{folder / name}.key holds no elliptic curve key")
    return Issuer(x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()), key)


def _ensure_issuer(folder: Path, name: str, common: str) -> Issuer:
    if (folder / f"{name}.crt").exists() and (folder / f"{name}.key").exists():
        return load_issuer(folder, name)
    issuer = authority(common)
    write_atomic(folder / f"{name}.key", _key_pem(issuer.key), 0o600)
    write_atomic(folder / f"{name}.crt", _pem(issuer.certificate))
    return issuer


def _ensure_leaf(
    folder: Path, name: str, issuer: Issuer, hosts: list[str], *, age: timedelta, left: timedelta
) -> None:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate.exists() and key.exists():
        return
    now = datetime.now(UTC)
    made, its_key = issue(issuer, hosts, not_before=now - age, not_after=now + left)
    write_atomic(key, its_key, 0o600)
    write_atomic(certificate, made)


def ensure(sandbox: Sandbox) -> None:
    """Make what is missing of a sandbox's authorities, certificates and token users; what is there stays."""
    folder = sandbox.pki
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    cluster = _ensure_issuer(folder, "ca", "Sandbox CA")
    public = _ensure_issuer(folder, "issuing-ca", "Sandbox Issuing CA")
    day = timedelta(days=1)
    local = ["127.0.0.1", "localhost"]
    service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    _ensure_leaf(folder, "api", cluster, [*local, *service], age=day, left=5 * YEAR)
    _ensure_leaf(folder, "kubelet", cluster, [*local, "sandbox"], age=day, left=5 * YEAR)
    for name, hosts in EDGE_HOSTS.items():
        _ensure_leaf(folder, name, public, hosts, age=EDGE_AGE, left=EDGE_LEFT)
    if not sandbox.tokens.exists():
        users = [
            {"token": secrets.token_urlsafe(32), "user": user, "groups": groups}
            for user, groups in USERS.items()
        ]
        write_atomic(sandbox.tokens, json.dumps(users, indent=1) + "\n", 0o600)


def token(sandbox: Sandbox, user: str) -> str:
    """The bearer token of one of the sandbox's users. Raises KeyError for a user it does not have."""
    for entry in json.loads(sandbox.tokens.read_text()):
        if entry["user"] == user:
            return str(entry["token"])
    raise KeyError(user)


def write_kubeconfigs(sandbox: Sandbox, url: str) -> None:
    """Write the people's kubeconfig (a context for each of CONTEXTS) and the platform process' own."""
    write_atomic(sandbox.kubeconfig, _kubeconfig(sandbox, url, CONTEXTS, "admin"), 0o600)
    own = _kubeconfig(sandbox, url, {"platform": PLATFORM_USER}, "platform")
    write_atomic(sandbox.platform_kubeconfig, own, 0o600)


def _kubeconfig(sandbox: Sandbox, url: str, contexts: dict[str, str], current: str) -> str:
    ca = base64.b64encode((sandbox.pki / "ca.crt").read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER, "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"token": token(sandbox, user)}} for user in contexts.values()],
        "contexts": [
            {"name": name, "context": {"cluster": CLUSTER, "user": user, "namespace": NAMESPACE}}
            for name, user in contexts.items()
        ],
        "current-context": current,
    }
    return yaml.safe_dump(document, sort_keys=False)
