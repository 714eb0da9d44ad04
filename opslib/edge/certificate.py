"""The certificate that a host is really served with, whatever the Secret or cert-manager says (D6, D7)."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from opslib.edge.edge import Address

Json = Any


def context(authority: str) -> ssl.SSLContext:
    """A context that trusts the system's authorities and, where given, this CA file. Raises SettingsError for a bad one."""
    made = ssl.create_default_context()
    if authority:
        try:
            made.load_verify_locations(cafile=authority)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the edge's CA file cannot be used: {error}",
                target=authority,
                next=f"correct edge_ca; it {'exists' if Path(authority).exists() else 'does not exist'}",
            ) from error
    return made


def served(where: Address, host: str, authority: str, seconds: float) -> dict[str, Json]:
    """One row of Edge.tls. Raises Unreachable when there is no TLS connection to read a certificate from."""
    from cryptography import x509

    problem = ""
    try:
        with (
            socket.create_connection((where.host, where.port), timeout=seconds) as raw,
            context(authority).wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            binary = wrapped.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        problem = error.verify_message or str(error)
        binary = _without_check(where, host, seconds)
    except OSError as error:
        raise _unreachable(where, host, error) from error
    if not binary:
        raise _unreachable(where, host, OSError("no certificate was sent"))
    found = x509.load_der_x509_certificate(binary)
    names = _names(found)
    now = datetime.now(UTC)
    left = (found.not_valid_after_utc - now).total_seconds() / 86400
    matches = any(_matches(name, host) for name in names)
    if found.not_valid_before_utc > now:
        problem = "not valid yet"
    elif left < 0:
        problem = "expired"
    elif not matches:
        problem = f"it is for {', '.join(names) or 'no name'}, not for {host}"
    return {
        "host": host,
        "not_before": found.not_valid_before_utc,
        "not_after": found.not_valid_after_utc,
        "days": left,
        "names": names,
        "issuer": found.issuer.rfc4514_string(),
        "hostname_ok": matches,
        "chain_trusted": _trusted(where, host, authority, seconds) if problem else True,
        "problem": problem,
        "serial": f"{found.serial_number:x}",
    }


def _trusted(where: Address, host: str, authority: str, seconds: float) -> bool:
    """Whether the chain leads to a trusted authority, apart from names (an expired one is not trusted either)."""
    lenient = context(authority)
    lenient.check_hostname = False
    try:
        with (
            socket.create_connection((where.host, where.port), timeout=seconds) as raw,
            lenient.wrap_socket(raw, server_hostname=host),
        ):
            return True
    except ssl.SSLError:
        return False
    except OSError as error:
        raise _unreachable(where, host, error) from error


def _without_check(where: Address, host: str, seconds: float) -> bytes | None:
    # Only to read what is served, never to send anything.
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((where.host, where.port), timeout=seconds) as raw,
            blind.wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True)
    except OSError as error:
        raise _unreachable(where, host, error) from error


def _names(found: Json) -> list[str]:
    from cryptography import x509

    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name) for name in extension.get_values_for_type(x509.DNSName)]


def _matches(name: str, host: str) -> bool:
    """RFC 6125: a star stands for exactly one label, the first."""
    if name.lower() == host.lower():
        return True
    return name.startswith("*.") and host.partition(".")[2].lower() == name[2:].lower()


def _unreachable(where: Address, host: str, error: OSError) -> Unreachable:
    return Unreachable(
        f"no TLS connection for {host}: {error}",
        target=str(where),
        next="check that the ingress controller runs and that its load balancer has this address",
    )
