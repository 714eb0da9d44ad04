"""Secrets in every form, and ordinary text left alone."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opslib.records.known import secrets_of
from opslib.records.redact import MASK, Redactor

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=8, max_size=30)


@settings(max_examples=150, deadline=None)
@given(secret=SECRET, before=st.text(max_size=9), after=st.text(max_size=9))
def test_known_values_in_all_their_forms(secret, before, after):
    redactor = Redactor([secret])
    around = lambda form: before + form + after  # noqa: E731
    raw = secret.encode()
    for text in (
        around(secret),
        around(quote(secret, safe="")),
        around(quote_plus(secret)),
        around(html.escape(secret)),
        json.dumps({"k": around(secret)}),
        base64.b64encode(raw).decode(),
        base64.b64encode(raw + b"\n").decode(),
    ):
        clean = redactor.text(text)
        assert MASK in clean
        assert redactor.text(clean).count(MASK) >= 1


@settings(max_examples=100, deadline=None)
@given(
    secret=st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789", min_size=10, max_size=24),
    prefix=st.binary(max_size=7),
    suffix=st.binary(max_size=7),
)
def test_base64_of_a_longer_text_hides_the_value_within(secret, prefix, suffix):
    encoded = base64.b64encode(prefix + secret.encode() + suffix).decode()
    clean = Redactor([secret]).text(encoded)
    assert MASK in clean
    left = clean.split(MASK)
    for part in left:
        padded = part[: len(part) - len(part) % 4]
        assert secret.encode() not in base64.b64decode(padded)


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=6))
def test_a_stream_cut_anywhere_never_shows_the_value(cuts):
    secret, text = (
        "s3cret-value-0123456789",
        "before s3cret-value-0123456789 after\nand more s3cret-value-0123456789",
    )
    redactor = Redactor([secret])
    for by_line in (True, False):
        pieces = [text[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True)]
        sent, held = "", ""
        for piece in pieces:
            out, held = redactor.split(held + piece, by_line=by_line)
            sent += out
        sent += redactor.text(held)
        assert sent == text.replace(secret, MASK)


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://app:pa55@db:5432/x", "pa55"),
        ("postgresql://app:p@ss:w@db:5432/x", "p@ss:w"),
        ("redis://:pa55@cache:6379/0", "pa55"),
        ("amqp://guest:pa55@rabbit/", "pa55"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("curl -H 'authorization: token 12345'", "12345"),
        ("Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("password=hunter2", "hunter2"),
        ("PGPASSWORD='hunter2 with spaces' psql", "hunter2"),
        ("db_password: hunter2", "hunter2"),
        ('{"password": "hunter2"}', "hunter2"),
        ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
        ("STRIPE_API_KEY=abc123", "abc123"),
        ("data:\n  DB_PASS: aHVudGVyMg==\n  x: y", "aHVudGVyMg"),
        ("stringData:\n  jwt-token: not.a.jwt.but\n", "not.a.jwt"),
        ("client_secret=abc&x=1", "=abc"),
        ("ALTER ROLE app PASSWORD 'hunter2'", "hunter2"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "eyJzdWIi"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc", "MIIabc"),
        ("id AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "xyz"),
        ("\x1b[32mpassword\x1b[0m \x1b[33m=\x1b[0m \x1b[31m'hunter2'\x1b[0m", "hunter2"),
        (
            "tls.key: "
            + base64.b64encode(b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkq" * 9).decode(),
            base64.b64encode(b"MIIEvQIBADANBgkq" * 3).decode()[4:30],
        ),
        (
            "x " + base64.b64encode(b"-----BEGIN RSA PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkq" * 9).decode(),
            base64.b64encode(b"MIIEvQIBADANBgkq" * 3).decode()[4:30],
        ),
    ],
)
def test_patterns(text, gone):
    assert gone not in Redactor().text(text)


@pytest.mark.parametrize(
    "text",
    [
        "automountServiceAccountToken: false",
        "secretName: api-gateway-tls",
        'secret "api-gateway-tls" not found',
        "https://api.pss-nano.example:443/flights?day=2026-11-22",
        "https://user@host/path",
        "0 of 3 tokens used; the token bucket is empty",
        "image: registry.example/api-gateway:v1.8.0@sha256:" + "ab" * 32,
        "valueFrom: secretKeyRef: {name: db, key: password}",
        '{"imagePullSecrets": [{"name": "pull"}]}',
        "-----BEGIN CERTIFICATE-----\nMIIabc\n-----END CERTIFICATE-----",
        "certificate-authority-data: " + base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB" * 9).decode(),
        "rollback-api-gateway@a910c6bc150e",
        "passwordless login is on",
        "replicas: 3\nimage: api-gateway:v1.8.0\nterminationMessagePath: /dev/termination-log",
        "applicationControllerRevisionHash",
        base64.b64encode(b"just a readable sentence, nothing more").decode(),
        "sha256:" + "0123456789abcdef" * 4,
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert Redactor(["short"]).text(text) == text


def test_values_of_a_secret_object():
    secret = {
        "kind": "Secret",
        "metadata": {"name": "db"},
        "data": {"URL": "aHR0cDovL3g="},
        "stringData": {"x": "y"},
    }
    clean = Redactor().value({"items": [secret]})["items"][0]
    assert clean == {
        "kind": "Secret",
        "metadata": {"name": "db"},
        "data": {"URL": MASK},
        "stringData": {"x": MASK},
    }


@pytest.mark.parametrize(
    "inside",
    [
        "postgresql://app:pa55word@db/x",
        "password=hunter2",
        "my-known-secret",
        "-----BEGIN EC PRIVATE KEY-----\nMH",
    ],
)
def test_base64_words_are_looked_into(inside):
    word = base64.b64encode(inside.encode()).decode()
    for encoded in (word, word.rstrip("=")):
        clean = Redactor(["my-known-secret"]).text(f"DATABASE_URL: {encoded}\nnext")
        assert encoded not in clean and clean.endswith("\nnext")


def test_values_of_secret_fields_and_not_of_others():
    clean = Redactor().value(
        {"password": "x1", "token": "y", "tokens": 3, "secretName": "tls", "list": [{"api_key": "z"}]}
    )
    assert clean == {
        "password": MASK,
        "token": MASK,
        "tokens": 3,
        "secretName": "tls",
        "list": [{"api_key": MASK}],
    }


def test_images_are_not_damaged_by_patterns():
    picture = "iVBORw0KGgo" + "AKIAIOSFODNN7EXAMPLE" + "=="
    assert Redactor().value({"image/png": picture}) == {"image/png": picture}


def test_where_secrets_are_known_from(tmp_path):
    (tmp_path / "config").write_text(
        "users:\n- name: a\n  user: {token: kube-token-1, password: kube-pass-2}\n- name: b\n  user: {tokenFile: "
        f"{tmp_path / 'token'}}}\n"
    )
    (tmp_path / "token").write_text("token-in-a-file\n")
    (tmp_path / "pgpass").write_text("# comment\nhost:5432:db:user:pg\\:pass\\\\word\n")
    (tmp_path / "service").write_text("[airline]\nhost=db\npassword=service%pass\n")
    found = secrets_of(
        {
            "HOME": str(tmp_path),
            "KUBECONFIG": f"{tmp_path / 'config'}:{tmp_path / 'missing'}",
            "PGPASSFILE": str(tmp_path / "pgpass"),
            "PGSERVICEFILE": str(tmp_path / "service"),
            "REDISCLI_AUTH": "redis-auth-value",
            "MY_API_KEY": "api-key-value",
            "REDIS_URL": "redis://:url%2Fpass@localhost:6379",
            "SSH_AUTH_SOCK": "/tmp/ssh-agent",
            "PATH": "/usr/bin",
        }
    )
    expected = {
        "kube-token-1", "kube-pass-2", "token-in-a-file", "pg:pass\\word", "service%pass", "redis-auth-value",
        "api-key-value", "url%2Fpass", "url/pass",
    }  # fmt: skip
    assert expected <= found
    assert not {"/tmp/ssh-agent", "/usr/bin", str(tmp_path / "pgpass")} & found
