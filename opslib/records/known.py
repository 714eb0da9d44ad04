"""Where this process' own secrets are: what the redactor must know before anything is shown."""

from __future__ import annotations

import base64
import binascii
import configparser
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from opslib.records.redact import SECRET_NAME

_FILES = re.compile(r"(?i)(_file|file|path|dir|_command|askpass|sock)$")
_URL_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+@[^\s\"'<>]+")


def secrets_of(environ: Mapping[str, str] | None = None) -> set[str]:
    """Every secret value this process could leak:

    environment, kubeconfig, libpq's files. Unreadable files hold none for us.
    """
    env = os.environ if environ is None else environ
    found = set(_environment(env))
    home = Path(env.get("HOME", "") or Path.home())
    configs = env.get("KUBECONFIG") or str(home / ".kube" / "config")
    for name in configs.split(os.pathsep):
        found |= set(_kubeconfig(Path(name)))
    found |= set(_pgpass(Path(env.get("PGPASSFILE") or home / ".pgpass")))
    found |= set(_pgservice(Path(env.get("PGSERVICEFILE") or home / ".pg_service.conf")))
    service_account = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    found |= {_read(service_account).strip()}
    return {value for value in found if value}


def _environment(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in env.items():
        if SECRET_NAME.search(name) and not _FILES.search(name):
            yield value
        for url in _URL_PASSWORD.findall(value):
            yield from _password_in(url)


def _password_in(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)


def _kubeconfig(path: Path) -> Iterator[str]:
    text = _read(path)
    if not text:
        return
    import yaml

    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    users = document.get("users") if isinstance(document, dict) else None
    for entry in users or []:
        user = (entry.get("user") if isinstance(entry, dict) else None) or {}
        for key in ("token", "password", "client-key-data"):
            value = str(user.get(key) or "")
            yield value
            if key == "client-key-data" and value:
                yield from _lines_of(value)
        if named := user.get("tokenFile"):
            yield _read(Path(named)).strip()
        if named := user.get("client-key"):
            yield from _body_of(_read(path.parent / named))


def _lines_of(encoded: str) -> Iterator[str]:
    try:
        yield from _body_of(base64.b64decode(encoded).decode())
    except (binascii.Error, ValueError):
        return


def _body_of(pem: str) -> Iterator[str]:
    """The lines of a key: each alone is worth hiding."""
    yield from (line for line in pem.splitlines() if len(line) > 30 and not line.startswith("-----"))


def _pgpass(path: Path) -> Iterator[str]:
    for line in _read(path).splitlines():
        parts = re.split(r"(?<!\\):", line)
        if len(parts) == 5 and not line.startswith("#"):
            yield re.sub(r"\\(.)", r"\1", parts[4])


def _pgservice(path: Path) -> Iterator[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_read(path))
    except configparser.Error:
        return
    for section in parser.sections():
        yield parser.get(section, "password", fallback="")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
