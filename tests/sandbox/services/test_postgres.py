"""The sandbox's PostgreSQL really is one, with the platform's database."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator

import psycopg
import pytest

from opslib.sandbox.processes import Supervisor
from opslib.sandbox.services.postgres import LOGINS, NAMESPACE, Postgres
from opslib.sandbox.state import read_json

from .conftest import supervised


def connect(service: Postgres, login: str = "oncall", **more) -> psycopg.Connection:
    password = read_json(service.folder / "passwords.json")[login]
    return psycopg.connect(
        host="127.0.0.1",
        port=service.port,
        user=login,
        password=password,
        dbname="airline_ops",
        autocommit=True,
        **more,
    )


def one(connection: psycopg.Connection, query: str):
    return connection.execute(query).fetchone()[0]


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory, cache) -> Iterator[Supervisor]:
    """One server for the module: each test leaves it running, with every table there."""
    yield from supervised(tmp_path_factory.mktemp("postgres") / "one")


@pytest.fixture(scope="module")
def postgres(supervisor) -> Postgres:
    service = Postgres(supervisor)
    service.start()
    return service


def test_the_platforms_database_is_there(postgres):
    with connect(postgres) as c:
        tables = {row[0] for row in c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        assert tables == {
            "organizations", "users", "flights", "flight_inventory", "seat_maps", "fares", "pnrs", "pnr_segments",
            "passengers", "tickets", "payments", "audit_logs", "CuteSession",
        }  # fmt: skip
        assert one(c, "SHOW max_connections") == "200"
        assert (
            one(c, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'airline_ops'")
            == "airlineops"
        )
        assert one(c, "SELECT status::text FROM pnrs WHERE locator = 'ABC123'") == "TICKETED"
        assert one(c, "SELECT count(*) FROM pg_indexes WHERE indexname = 'pnrs_bookingDate_idx'") == 1
        # What the runbook's own commands would meet: no table reservations, and columns that need quotes.
        with pytest.raises(psycopg.errors.UndefinedTable):
            c.execute("SELECT 1 FROM reservations")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            c.execute("SELECT bookingDate FROM pnrs")


def test_its_data_hang_together(postgres):
    with connect(postgres) as c:
        assert one(c, 'SELECT count(*) FROM flight_inventory WHERE "totalSeats" <> "availableSeats" + "bookedSeats"'
                      ' + "blockedSeats"') == 0  # fmt: skip
        paid = """SELECT count(*) FROM pnrs p WHERE p."paymentStatus" = 'PAID' AND NOT EXISTS
                  (SELECT 1 FROM payments y WHERE y."pnrId" = p.id AND y.status = 'PAID')"""
        assert one(c, "SELECT count(*) FROM pnrs WHERE \"paymentStatus\" = 'PAID'") > 1000
        assert one(c, paid) == 0
        assert one(c, "SELECT now() - max(\"bookingDate\") < interval '2 days' FROM pnrs")
        assert one(c, "SELECT count(*) FROM pg_stat_user_tables WHERE n_live_tup = 0") == 0


def test_the_observer_cannot_write_even_by_mistake(postgres):
    with connect(postgres, "opslib_observer") as c:
        assert one(c, "SELECT count(*) FROM pnrs") == 3000
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            c.execute("DELETE FROM pnrs")
        c.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            c.execute("DELETE FROM pnrs")


def test_oncall_sees_and_ends_the_platforms_sessions_and_owns_only_when_it_says_so(postgres):
    with connect(postgres, "airlineops") as victim, connect(postgres) as c:
        pid = victim.info.backend_pid
        victim.execute("SELECT 42 AS findme")
        assert "findme" in one(c, f"SELECT query FROM pg_stat_activity WHERE pid = {pid}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            c.execute('REINDEX INDEX CONCURRENTLY "pnrs_bookingDate_idx"')
        c.execute("SET ROLE airlineops")
        c.execute('REINDEX INDEX CONCURRENTLY "pnrs_bookingDate_idx"')
        c.execute("RESET ROLE")
        assert one(c, f"SELECT pg_terminate_backend({pid}, 2000)")
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")


def test_a_wrong_password_is_refused(postgres):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1", port=postgres.port, user="oncall", password="guess", dbname="airline_ops"
        )


def test_the_password_file_serves_libpq_and_nobody_else(postgres, monkeypatch):
    assert stat.S_IMODE(postgres.pgpass.stat().st_mode) == 0o600
    for login in LOGINS:
        with psycopg.connect(host="127.0.0.1", port=postgres.port, user=login, dbname="airline_ops",
                             passfile=str(postgres.pgpass)) as c:  # fmt: skip
            assert one(c, "SELECT current_user") == login


def test_what_is_saved_comes_back(postgres, tmp_path):
    with connect(postgres, "airlineops") as c:
        c.execute("UPDATE pnrs SET \"contactName\" = 'kept' WHERE locator = 'ABC123'")
    postgres.save(tmp_path / "saved")
    port = postgres.port
    with connect(postgres, "airlineops") as c:
        c.execute("DROP TABLE tickets CASCADE")
        c.execute("UPDATE pnrs SET \"contactName\" = 'lost'")
    postgres.restore(tmp_path / "saved")
    with connect(postgres) as c:
        assert one(c, "SELECT count(*) FROM tickets") > 4000
        assert one(c, "SELECT \"contactName\" FROM pnrs WHERE locator = 'ABC123'") == "kept"
    assert postgres.port == port


def test_after_a_kill_it_comes_up_again_on_its_port_with_what_was_committed(postgres, supervisor):
    port = postgres.port
    with connect(postgres, "airlineops") as c:
        c.execute("UPDATE pnrs SET \"contactName\" = 'committed' WHERE locator = 'ABC123'")
    os.kill(supervisor.record.processes["postgres"].pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while postgres.running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert postgres.trouble() == "not running"
    postgres.start()
    assert (postgres.trouble(), postgres.port) == ("", port)
    with connect(postgres) as c:
        assert one(c, "SELECT \"contactName\" FROM pnrs WHERE locator = 'ABC123'") == "committed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_it_as_nobody_where_nobody_can_go(open_supervisor):
    service = Postgres(open_supervisor)
    service.start()
    process = open_supervisor.record.processes["postgres"]
    assert service.account.user == "nobody"
    assert os.stat(f"/proc/{process.pid}").st_uid != 0
    with connect(service) as c:
        assert one(c, "SELECT count(*) FROM pnrs") == 3000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_it_in_a_namespace_where_nobody_cannot_go(postgres):
    # pytest's own folders are closed to others: the module's server is such a one.
    assert postgres.account.prefix == NAMESPACE
    with connect(postgres) as c:
        assert one(c, "SELECT count(*) FROM pnrs") == 3000
