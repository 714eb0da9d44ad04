"""What the platform keeps in Redis: a small, always equal filling of its databases (PLATFORM.md 3.1).

Times to live are the platform's own, so carts and caches fade as they do there; what has none on the platform
(dcs:baggage:tag:counter) has none here, and is lost for good by a FLUSHDB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from opslib.sandbox.services.resp import Command

DAY = 86_400


def _id(*words: object) -> str:
    return hashlib.md5(" ".join(map(str, words)).encode(), usedforsecurity=False).hexdigest()


def _text(**values: object) -> str:
    return json.dumps(values, separators=(",", ":"))


def population() -> Iterator[Command]:
    """The commands that fill an empty Redis, SELECTs included."""
    for database, keys in (
        (0, _auth()),
        (1, _inventory()),
        (2, _carts()),
        (3, _cache("price:quote", 60, 300)),
        (4, _cache("anc:catalogue", 30, 600)),
        (5, _payments()),
        (6, _cache("cms:page", 40, 3600)),
        (7, _dcs()),
        (8, _cache("boarding:flight", 12, 8 * 3600)),
    ):
        yield ("SELECT", database)
        yield from keys
    yield ("SELECT", 0)


def _cache(prefix: str, count: int, seconds: int) -> Iterator[Command]:
    for n in range(count):
        yield ("SET", f"{prefix}:{_id(prefix, n)[:12]}", _text(n=n), "EX", seconds)


def _auth() -> Iterator[Command]:
    # Security state: revoked tokens and lockouts exist nowhere else.
    for n in range(120):
        yield (
            "SET",
            f"session:{_id('session', n)}",
            _text(userId=_id("user", n % 40), mfa=n % 3 == 0),
            "EX",
            DAY,
        )
        yield ("SADD", f"user:{_id('user', n % 40)}:sessions", _id("session", n))
    for n in range(25):
        yield ("SET", f"blacklist:{_id('token', n)}", "revoked", "EX", DAY)
    for n in range(6):
        yield ("SET", f"login:attempts:agent{n}@americanair.com", n % 5 + 1, "EX", 900)
    yield ("SET", f"password:reset:{_id('reset')}", _id("user", 3), "EX", 3600)
    yield ("SET", f"oauth:code:{_id('oauth')}", _id("user", 4), "EX", 600)
    for n in range(4):
        yield ("SET", f"api:usage:{_id('key', n)[:8]}:2026-11-01", 1000 + n, "EX", 90 * DAY)
    yield from _cache("load:sheet", 10, 3600)


def _inventory() -> Iterator[Command]:
    for n in range(80):
        yield ("SET", f"inv:availability:{_id('flight', n)[:12]}", _text(Y=39, M=27, J=11), "EX", 300)
    for n in range(20):
        yield ("SET", f"inv:schedule:{_id('flight', n)[:12]}", _text(departs="on time"), "EX", 3600)
    for n in range(5):
        yield ("SET", f"inv:lock:seat:{_id('flight', n)[:12]}:12A", _id("owner", n), "NX", "EX", 300)


def _carts() -> Iterator[Command]:
    # Customers' data: a flush empties their baskets.
    for n in range(45):
        yield (
            "SET",
            f"cart:{_id('cart', n)}",
            _text(segments=n % 3 + 1, total=round(228.85 * (n % 3 + 1), 2)),
            "EX",
            1800,
        )


def _payments() -> Iterator[Command]:
    for n in range(8):
        yield ("SET", f"pay:3ds:{_id('3ds', n)}", _text(state="challenge"), "EX", 900)
    for n in range(15):
        yield ("SET", f"dashboard:{_id('dashboard', n)[:8]}", _text(n=n), "EX", 3600)


def _dcs() -> Iterator[Command]:
    yield ("SET", "dcs:baggage:tag:counter", 184_213)
    for n in range(40):
        yield (
            "SET",
            f"dcs:baggage:tag:{184_213 - n:010d}",
            _text(pnr=_id("pnr", n)[:6].upper()),
            "EX",
            3 * DAY,
        )
    for n in range(10):
        yield ("SET", f"dcs:seat:block:{_id('flight', n)[:12]}:{n + 1}C", f"agent{n}", "NX", "EX", 600)
        yield ("SET", f"dcs:agent:session:agent{n}", _text(station="JFK"), "EX", 8 * 3600)
        yield ("SET", f"dcs:flight:{_id('flight', n)[:12]}", _text(checkin="open"), "EX", 8 * 3600)
