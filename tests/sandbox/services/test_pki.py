"""Certificates, tokens and kubeconfig of a sandbox."""

from __future__ import annotations

import json
import ssl
import stat
import threading
from pathlib import Path

import pytest
import yaml

from opslib.sandbox import pki
from opslib.sandbox.state import BadInputError, Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    made = Sandbox.at(tmp_path / "one")
    pki.ensure(made)
    return made


def handshake(sandbox: Sandbox, leaf: str, ca: str, name: str) -> None:
    """A real TLS handshake between the leaf and a client that trusts only `ca`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(sandbox.pki / f"{leaf}.crt", sandbox.pki / f"{leaf}.key")
    client = ssl.create_default_context(cafile=str(sandbox.pki / f"{ca}.crt"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    two = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for side in (one, two):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert one.getpeercert()


@pytest.mark.parametrize(
    ("leaf", "ca", "name"),
    [
        ("api", "ca", "127.0.0.1"),
        ("api", "ca", "kubernetes.default.svc"),
        ("kubelet", "ca", "127.0.0.1"),
        ("edge-api", "issuing-ca", "api.pss-nano.com"),
        ("edge-argocd", "issuing-ca", "argocd.pss-nano.com"),
    ],
)
def test_a_client_that_trusts_the_authority_accepts_the_certificate(sandbox, leaf, ca, name):
    handshake(sandbox, leaf, ca, name)


@pytest.mark.parametrize(
    ("leaf", "ca", "name"),
    [
        ("edge-api", "ca", "api.pss-nano.com"),
        ("api", "ca", "api.pss-nano.com"),
        ("api", "issuing-ca", "127.0.0.1"),
    ],
)
def test_another_authority_or_name_is_refused(sandbox, leaf, ca, name):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(sandbox, leaf, ca, name)


def test_what_is_there_stays(sandbox):
    before = {path.name: path.read_bytes() for path in sandbox.pki.iterdir()}
    tokens = sandbox.tokens.read_bytes()
    (sandbox.pki / "api.crt").unlink()
    pki.ensure(sandbox)
    after = {path.name: path.read_bytes() for path in sandbox.pki.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"api.crt", "api.key"}
    assert sandbox.tokens.read_bytes() == tokens


def test_only_the_owner_can_read_keys_tokens_and_kubeconfigs(sandbox):
    pki.write_kubeconfigs(sandbox, "https://127.0.0.1:6443")
    secret = [*sandbox.pki.glob("*.key"), sandbox.tokens, sandbox.kubeconfig, sandbox.platform_kubeconfig]
    assert len(secret) >= 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_kubeconfig_has_a_context_for_each_person(sandbox):
    pki.write_kubeconfigs(sandbox, "https://127.0.0.1:6443")
    config = yaml.safe_load(sandbox.kubeconfig.read_text())
    assert config["current-context"] == "admin"
    assert [c["name"] for c in config["contexts"]] == ["admin", "observer", "responder", "developer"]
    assert {c["context"]["namespace"] for c in config["contexts"]} == {"pss-nano"}
    tokens = {entry["user"]: entry["token"] for entry in json.loads(sandbox.tokens.read_text())}
    assert {u["name"]: u["user"]["token"] for u in config["users"]}.items() <= tokens.items()
    assert pki.PLATFORM_USER not in sandbox.kubeconfig.read_text()


@pytest.mark.parametrize("name", ["", "..", "a/b", "Upper", "-x", "x-", "a" * 41, "a b", "a\n"])
def test_a_name_that_would_leave_its_folder_is_refused(name):
    with pytest.raises(BadInputError):
        Sandbox(name)


def test_the_lock_is_held_by_one_alone(tmp_path):
    sandbox = Sandbox.at(tmp_path / "one")
    seen: list[str] = []

    def other() -> None:
        with Sandbox.at(tmp_path / "one").lock():
            seen.append("other")

    with sandbox.lock():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        seen.append("first")
    thread.join(10)
    assert seen == ["first", "other"]
