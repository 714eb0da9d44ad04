"""PostgreSQL: the sandbox's own, read-only; and nobody there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from opslib.database import COLUMNS, Database
from opslib.errors import NotPermitted, Unreachable
from opslib.settings import Profile

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox


@pytest.fixture
def database(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Database:
    from opslib.sandbox import lifecycle

    for key, value in lifecycle.env(sandbox.name).items():
        if key.startswith("PG"):
            monkeypatch.setenv(key, value)
    return Database(Profile())


def test_the_database_is_named_and_read_only(database: Database) -> None:
    row = database.reachable().iloc[0]
    assert row["database"] == "airline_ops" and row["read_only"]
    with database.connect() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("create table x (y int)")


def test_connections_are_counted_against_what_clients_may_use(database: Database) -> None:
    """B5: background processes are no clients, and superusers' slots are not to be had."""
    before = database.headroom().iloc[0]
    assert before["usable"] == before["max_connections"] - before["reserved"]
    with psycopg.connect(application_name="tester") as other:
        other.execute("select 1")
        rows = database.connections()
        mine = rows[rows["application"] == "tester"].iloc[0]
        assert (mine["state"], mine["connections"]) == ("idle in transaction", 1)
        assert database.headroom().iloc[0]["idle_in_transaction"] >= 1
    assert list(rows.columns) == COLUMNS["connections"]
    assert "opslib" not in set(rows["application"])
    used = database.connections_used()
    assert used.known and used.value is not None and used.value < 0.5


def test_a_wrong_password_is_not_permitted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-pass-word")
    with pytest.raises(NotPermitted) as caught:
        database.reachable()
    assert "wrong-pass-word" not in str(caught.value)


def test_nobody_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(Unreachable) as caught:
        Database(Profile()).connections()
    assert "127.0.0.1" in str(caught.value) and caught.value.next
