"""Redis: the sandbox's own; and nobody there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opslib.cache import COLUMNS, Cache
from opslib.errors import NotPermitted, Unreachable
from opslib.settings import Profile

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox


@pytest.fixture
def cache(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Cache:
    from opslib.sandbox import lifecycle

    environment = lifecycle.env(sandbox.name)
    monkeypatch.setenv("REDISCLI_AUTH", environment["REDISCLI_AUTH"])
    return Cache(Profile(redis=environment["REDIS_URL"]))


def test_the_master_says_who_it_is(cache: Cache) -> None:
    row = cache.reachable().iloc[0]
    assert row["role"] == "master" and row["version"]
    assert cache.role() == "master"
    assert list(cache.info().columns) == COLUMNS["info"]
    assert set(cache.keyspace()["db"]) >= {0, 2, 7}  # sessions, carts, check-in: not to be flushed (C6)


def test_without_its_password_it_does_not_let_us_in(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDISCLI_AUTH")
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    with pytest.raises(NotPermitted, match="REDISCLI_AUTH"):
        cache.reachable()
    monkeypatch.setenv("REDISCLI_AUTH", "wrong-pass-word")
    with pytest.raises(NotPermitted) as caught:
        cache.info()
    assert "wrong-pass-word" not in str(caught.value)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        Cache(Profile(redis="redis://127.0.0.1:1/0")).reachable()
    with pytest.raises(Unreachable, match="no Redis is named"):
        Cache(Profile()).info()
