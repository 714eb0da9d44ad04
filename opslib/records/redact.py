"""Takes secrets out of everything before it is shown or written: known values in all their forms, and patterns.

Known values are those of 8 characters and more that this process could leak: environment variables with
telling names, passwords inside
addresses, the kubeconfig's credentials, libpq's password files, and what a run registers. Shorter ones would
hide half of every text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SHORTEST = 8

SECRET_NAME = re.compile(
    r"(?i)(passw(or)?d|passphrase|(^|[_-])pass($|[_-])|(^|[_-])pwd($|[_-])|secret|token|credential|api[_-]?key|private[_-]?key"
    r"|access[_-]?key|auth($|[_-])|encryption[_-]?key|signing[_-]?key)"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NAMES = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
_TRIGGERS = ("passw", "passphrase", "secret", "token", "key", "credential")
_HARMLESS = r"(?!(?:true|false|null|none|\[redacted\])\b|\[redacted\]|[\[{(<])"

# A key's first line in base64, without the last characters, which depend on what follows.
_ENCODED_PEM = "|".join(
    re.escape(base64.b64encode(f"-----BEGIN {kind}PRIVATE KEY".encode()).decode()[:28])
    for kind in ("", "RSA ", "EC ", "DSA ", "ENCRYPTED ", "OPENSSH ")
)

# (words without one of which, in lower case, the pattern cannot match; the pattern). Group 1 is kept, the rest of the match
# is masked. None may need more than a few steps a character: a text of a megabyte is redacted many times.
PATTERNS: list[tuple[tuple[str, ...], re.Pattern[str]]] = [
    # keys: PEM, and PEM in base64 as in a Secret
    (
        ("private key",),
        re.compile(
            r"(-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY-----).*?(?:-----END [A-Z0-9 ]{0,20}PRIVATE KEY-----|\Z)",
            re.S,
        ),
    ),
    (("ls0tls1crudjti",), re.compile(rf"()\b(?:{_ENCODED_PEM})[A-Za-z0-9+/=]+")),
    # postgres://user:password@host
    (("://",), re.compile(r"(://[^\s:/@\"'<>]*:)[^\s/\"'<>]+(?=@)")),
    # HTTP headers
    (
        ("authorization",),
        re.compile(
            r"(?i)(authorization\\?[\"']?[ \t]*[:=][ \t]*\\?[\"']?(?:(?:basic|bearer|token|digest)[ \t]+)?)[^\s\"',;\\<>]+"
        ),
    ),
    (
        ("bearer", "basic"),
        re.compile(r"(?i)(\b(?:bearer|basic)[ \t]+)(?=[A-Za-z0-9._~+/=-]*[0-9._=+/])[A-Za-z0-9._~+/=-]{8,}"),
    ),
    # password=..., "token": "...", YAML
    (
        _TRIGGERS,
        re.compile(
            rf"(?i)({_NAMES}\\?[\"']?[ \t]*=[ \t]*){_HARMLESS}(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"'<>]+)"
        ),
    ),
    (
        _TRIGGERS,
        re.compile(rf"(?i)({_NAMES}\\?[\"']\s{{0,9}}:\s{{0,9}}){_HARMLESS}(?:\\?\"[^\"\n]*\"|'[^'\n]*')"),
    ),
    (
        ("pass", *_TRIGGERS),
        re.compile(rf"(?im)((?:pass|secret|token|[_-]key):[ \t]+){_HARMLESS}[^\s,;\"'<>]{{8,}}$"),
    ),
    (("passw",), re.compile(rf"(?i)(passw(?:or)?d:[ \t]+){_HARMLESS}[^\s,;\"'<>]+")),
    # SQL: ALTER ROLE x PASSWORD '...'
    (("password", "identified"), re.compile(r"(?i)((?:identified by|password)[ \t]+)'[^'\n]+'")),
    # JSON Web Token, AWS, Google Cloud, GitHub, GitLab, Slack, Stripe
    (("eyj",), re.compile(r"()\beyJ[\w-]{8,4000}\.[\w-]{8,}\.[\w-]*")),
    (("akia", "asia"), re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    (("aiza", "ya29."), re.compile(r"()\b(?:AIza[\w-]{35}|ya29\.[\w-]{20,})")),
    (("gh", "glpat"), re.compile(r"()\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,})")),
    (("xox", "sk_live"), re.compile(r"()\b(?:xox[abeprs]-[\w-]{10,}|sk_live_\w{16,})")),
    (("hooks.slack.com",), re.compile(r"(https://hooks\.slack\.com/services/)[\w/]+")),
]
# Words that are base64 of readable text are looked into: the values of a Secret object are such words.
_BASE64 = re.compile(r"(?<![\w+/=])[A-Za-z0-9+/]{12,8192}={0,2}(?![\w+/=])")
_OPEN_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?![\s\S]*-----END [A-Z0-9 ]*PRIVATE KEY-----)")
_BINARY = ("image/png", "image/jpeg", "image/gif", "application/pdf")
_LONGEST_HELD = 65536


class Redactor:
    """Masks secrets in texts and in whole JSON values. Adding a value takes effect at once."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self._prefixes: dict[str, list[str]] = {}
        self.longest = 0
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Register values; those shorter than 8 characters are left to the patterns."""
        fresh = {form for secret in secrets for form in forms(secret)}
        if fresh <= self._forms:
            return
        self._forms |= fresh
        ordered = sorted(self._forms, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(form) for form in ordered))
        self.longest = len(ordered[0])
        self._prefixes = {}
        for form in ordered:
            self._prefixes.setdefault(form[0], []).append(form)

    def text(self, text: str) -> str:
        """`text` with every secret masked; terminal colours are dropped when they would have hidden one."""
        clean = self._plain(text)
        if "\x1b[" in clean:
            bare = _ANSI.sub("", clean)
            masked = self._plain(bare)
            return masked if masked != bare else clean
        return clean

    def value(self, value: Any, name: str = "") -> Any:
        """A JSON value with every string in it masked, keys as well; binary images only by known values."""
        if isinstance(value, str):
            if name in _BINARY:
                return self._known.sub(MASK, value) if self._known else value
            if name and len(value) > 0 and _is_secret_field(name, value):
                return MASK
            return self.text(value)
        if isinstance(value, Mapping):
            if value.get("kind") == "Secret":  # a Kubernetes object: all its values, whatever their names
                hidden = {
                    key: dict.fromkeys(value[key], MASK) for key in ("data", "stringData") if value.get(key)
                }
                value = {**value, **hidden}
            return {self.value(key): self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def split(self, text: str, *, by_line: bool = True) -> tuple[str, str]:
        """A stream's text as (masked and safe to send now, still to be held because a secret may go on in
        it).
        """
        clean = self.text(text)
        keep = len(clean)
        if by_line:
            keep = max(clean.rfind("\n"), clean.rfind("\r")) + 1
        if opened := _OPEN_PEM.search(clean):
            keep = min(keep, opened.start())
        keep = min(keep, len(clean) - self._partial(clean))
        if len(clean) - keep > _LONGEST_HELD:
            keep = len(clean) - max(self.longest, 4096)
        return clean[:keep], clean[keep:]

    def _partial(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a known value."""
        size = min(self.longest - 1, len(text))
        for start in range(len(text) - size, len(text)):
            rest = text[start:]
            if any(form.startswith(rest) for form in self._prefixes.get(rest[0], ())):
                return len(rest)
        return 0

    def _plain(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        lower = text.lower()
        for words, pattern in PATTERNS:
            if any(word in lower for word in words):
                text = pattern.sub(lambda match: match.group(1) + MASK, text)
        return _BASE64.sub(self._within, text)

    def _within(self, match: re.Match[str]) -> str:
        """A base64 word, masked when what it says is a secret."""
        word = match.group()
        try:
            said = base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode()
        except ValueError:
            return word
        if not said.isprintable() and not said.replace("\n", "").replace("\t", "").isprintable():
            return word
        secret = bool(self._known and self._known.search(said)) or any(
            pattern.search(said) for _, pattern in PATTERNS
        )
        return MASK if secret else word


def forms(secret: str) -> set[str]:
    """The ways a value can appear:

    itself, base64 at each of its three alignments, URL, JSON, HTML, Python and hex forms.
    """
    secret = secret.strip("\r\n")
    if len(secret) < SHORTEST:
        return set()
    raw = secret.encode()
    result = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret)}
    result |= {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        raw.hex(),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            # The first characters depend on what stands before, the last ones on what follows: only the
            # middle is certain.
            text = encode(b"\0" * shift + raw).decode()
            start, end = (0, 2, 3)[shift], (shift + len(raw)) * 8 // 6
            result.add(text[start:end])
        result |= {encode(raw).decode(), encode(raw + b"\n").decode()}
    return {form for form in result if len(form) >= SHORTEST}


def _is_secret_field(name: str, value: str) -> bool:
    """Whether a field is a secret by its name: password, token; not secretName, nor a record's own words."""
    tail = re.sub(r"[^a-z]", "", name.lower())
    named = tail.endswith(
        ("password", "passwd", "passphrase", "apikey", "accesskey", "privatekey", "clientsecret")
    )
    named = named or tail in {
        "token",
        "secret",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "bearertoken",
        "credential",
    }
    return named and value.lower() not in {"true", "false", "none", "null", ""}
