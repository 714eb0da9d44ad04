"""PostgreSQL as a notebook sees it: read-only, with a time limit, to an explicit database (G3, B5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from opslib.database.columns import COLUMNS
from opslib.errors import NotPermitted, SourceError, Unreachable
from opslib.records.frames import frame
from opslib.records.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd
    import psycopg

    from opslib.settings import Profile

Json = Any
DATABASE = "airline_ops"  # the user's own name is psql's default database and does not exist (G3)
CONNECT_SECONDS = 3
STATEMENT_MILLISECONDS = 5000
# Client backends only: background processes hold no connection that a client could use (B5).
CONNECTIONS = """
select coalesce(usename, '') as user, coalesce(application_name, '') as application, coalesce(state, 'unknown') as state,
       count(*) as connections,
       max(extract(epoch from now() - state_change))::float8 as longest_state_seconds,
       max(extract(epoch from now() - xact_start))::float8 as longest_xact_seconds
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1, 2, 3
order by connections desc, 1, 2, 3
"""
LIMITS = """
select current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved,
       (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as used,
       (select count(*) from pg_stat_activity where state like 'idle in transaction%')::int as idle_in_transaction
"""
ABOUT = """
select current_setting('server_version') as version, current_database() as database, current_user as user,
       current_setting('transaction_read_only') = 'on' as read_only, pg_is_in_recovery() as in_recovery
"""


class Database:
    """One PostgreSQL database, by libpq's environment (PGHOST, PGSERVICE, PGPASSFILE). Building it connects to nothing.

    Every transaction is read-only, every statement ends after 5 s, every connection is called opslib. Reads raise
    Unreachable or NotPermitted naming the server.
    """

    COLUMNS: ClassVar[dict[str, list[str]]] = COLUMNS

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def name(self) -> str:
        """The server and database, for messages; never a password."""
        host = self.profile.pgservice or os.environ.get("PGHOST", "localhost")
        return f"{host}/{self._database or 'by service'}"

    def reachable(self) -> pd.DataFrame:
        """Who answers, in one row: server, version, database, user, read_only, in_recovery, seconds (to connect and ask).

        Raises Unreachable or NotPermitted when nobody does.
        """
        began = time.monotonic()
        row = self._rows(ABOUT)[0]
        data = {"server": self.name, **row, "seconds": time.monotonic() - began}
        return frame("reachable", COLUMNS["reachable"], [data])

    def connections(self) -> pd.DataFrame:
        """Client connections by user, application and state (B5), our own left out.

        Columns: user, application, state, connections, longest_state_seconds, longest_xact_seconds (seconds; NaN without a
        transaction). Other users' states are only seen with pg_monitor; without it they read 'unknown'.
        """
        return frame("connections", COLUMNS["connections"], self._rows(CONNECTIONS))

    def headroom(self) -> pd.DataFrame:
        """Connections in use against the limit that clients really have (B5), in one row.

        Columns: max_connections, reserved (for superusers), usable, used, free, used_share (0 to 1), idle_in_transaction.
        """
        row = self._rows(LIMITS)[0]
        usable = row["max_connections"] - row["reserved"]
        more = {"usable": usable, "free": usable - row["used"], "used_share": row["used"] / usable}
        return frame("headroom", COLUMNS["headroom"], [row | more])

    def connections_used(self) -> Measurement:
        """Share of the usable connections that are in use (0 to 1); `samples` is their number."""
        row = self.headroom().iloc[0]
        return Measurement(float(row["used_share"]), "ratio", None, int(row["used"]), "", "pg_stat_activity")

    @property
    def _database(self) -> str:
        # A service file names its own database; else it is said explicitly.
        return os.environ.get("PGDATABASE", "" if self._service else DATABASE)

    @property
    def _service(self) -> str:
        return self.profile.pgservice or os.environ.get("PGSERVICE", "")

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection[Mapping[str, Json]]]:
        """A connection whose transactions are read-only. Raises Unreachable or NotPermitted."""
        import psycopg
        from psycopg.rows import dict_row

        where: dict[str, Json] = {"service": self._service} if self._service else {}
        if self._database:
            where["dbname"] = self._database
        try:
            connection = psycopg.connect(
                **where,
                connect_timeout=CONNECT_SECONDS,
                application_name="opslib",
                options=f"-c statement_timeout={STATEMENT_MILLISECONDS} -c default_transaction_read_only=on",
                row_factory=dict_row,
            )
        except psycopg.OperationalError as error:
            text = str(error).strip().replace("\n", " ")
            refused = any(
                word in text
                for word in ("authentication failed", "no pg_hba.conf entry", "permission denied")
            )
            if refused or "no password supplied" in text:
                raise NotPermitted(
                    f"the database does not let us in: {text}",
                    target=self.name,
                    next="check PGUSER and the password file (PGPASSFILE, mode 0600)",
                ) from error
            raise Unreachable(
                f"the database does not answer: {text}",
                target=self.name,
                next="check PGHOST and PGPORT or PGSERVICE, the proxy or the bastion, and the instance itself",
            ) from error
        connection.read_only = True
        with connection:
            yield connection

    def _rows(self, statement: str) -> list[dict[str, Json]]:
        import psycopg

        with self.connect() as connection:
            try:
                return [dict(row) for row in connection.execute(statement.encode()).fetchall()]
            except psycopg.errors.InsufficientPrivilege as error:
                raise NotPermitted(str(error).strip(), target=self.name, next="grant pg_monitor") from error
            except psycopg.errors.QueryCanceled as error:
                raise Unreachable(
                    f"a statement took longer than {STATEMENT_MILLISECONDS / 1000:g} s", target=self.name
                ) from error
            except psycopg.OperationalError as error:
                raise Unreachable(f"the connection broke: {error}", target=self.name) from error
            except psycopg.Error as error:
                raise SourceError(str(error).strip(), target=self.name) from error
