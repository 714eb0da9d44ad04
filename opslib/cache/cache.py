"""Redis as a notebook sees it: INFO and no keys; the password comes from REDISCLI_AUTH, never from an argument (G5)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from opslib.cache.columns import COLUMNS
from opslib.errors import NotPermitted, SourceError, Unreachable
from opslib.records.frames import frame
from opslib.records.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd
    import redis

    from opslib.settings import Profile

Json = Any
CONNECT_SECONDS = 3.0
READ_SECONDS = 4.0


class Cache:
    """One Redis. Building it connects to nothing. Reads raise Unreachable or NotPermitted naming the server."""

    COLUMNS: ClassVar[dict[str, list[str]]] = COLUMNS

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def name(self) -> str:
        """The server's address, for messages; never a password."""
        parts = urlsplit(self.profile.redis)
        return f"{parts.hostname or 'redis'}:{parts.port or 6379}"

    def reachable(self) -> pd.DataFrame:
        """Who answers, in one row: server, version, role (master, slave), seconds (to connect and ask).

        Raises Unreachable or NotPermitted when nobody does.
        """
        began = time.monotonic()
        found = self._info()
        row = {
            "server": self.name,
            "version": found.get("redis_version", ""),
            "role": found.get("role", ""),
            "seconds": time.monotonic() - began,
        }
        return frame("reachable", COLUMNS["reachable"], [row])

    def info(self) -> pd.DataFrame:
        """INFO, a row a key. Columns: section (server, clients, memory, ...), key, value (number or text)."""
        rows = []
        with self._client() as client:
            for section in ("server", "clients", "memory", "stats", "replication", "keyspace"):
                rows += [
                    {"section": section, "key": key, "value": value}
                    for key, value in self._ask(client, section).items()
                ]
        return frame("info", COLUMNS["info"], rows)

    def keyspace(self) -> pd.DataFrame:
        """Keys by logical database. Columns: db (number), keys, expires (keys with a time to live)."""
        with self._client() as client:
            found = self._ask(client, "keyspace")
        rows = [
            {"db": int(name[2:]), "keys": value["keys"], "expires": value["expires"]}
            for name, value in found.items()
            if name.startswith("db") and isinstance(value, dict)
        ]
        return frame("keyspace", COLUMNS["keyspace"], rows)

    def role(self) -> str:
        """master or slave: a replica answers reads and refuses writes (G4). Raises Unreachable or NotPermitted."""
        return str(self._info().get("role", ""))

    def memory_used(self) -> Measurement:
        """Share of maxmemory in use; unknown when no limit is configured."""
        found = self._info()
        limit, used = found.get("maxmemory", 0), found.get("used_memory", 0)
        if not limit:
            return Measurement(
                None, "ratio", None, None, f"no maxmemory is set; {used} bytes are in use", "INFO memory"
            )
        return Measurement(used / limit, "ratio", None, None, "", "INFO memory")

    def _info(self) -> dict[str, Json]:
        with self._client() as client:
            return self._ask(client, "")

    def _client(self) -> redis.Redis:
        import redis

        if not self.profile.redis:
            raise Unreachable(
                "no Redis is named", target="cache", next="set REDIS_URL, or redis in the profile"
            )
        password = os.environ.get("REDISCLI_AUTH") or os.environ.get("REDIS_PASSWORD")
        extra = {} if urlsplit(self.profile.redis).password or not password else {"password": password}
        try:
            return redis.Redis.from_url(
                self.profile.redis,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=READ_SECONDS,
                client_name="opslib",
                **extra,
            )
        except ValueError as error:
            raise Unreachable(f"REDIS_URL is not an address: {error}", target=self.name) from error

    def _ask(self, client: redis.Redis, section: str) -> dict[str, Json]:
        import redis

        try:
            found = client.info(section) if section else client.info()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise NotPermitted(
                f"Redis does not let us in: {error}",
                target=self.name,
                next="put its password into REDISCLI_AUTH",
            ) from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise Unreachable(
                f"Redis does not answer: {error}", target=self.name, next="check that it runs, and REDIS_URL"
            ) from error
        except redis.RedisError as error:
            text = str(error)
            kind = NotPermitted if text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")) else SourceError
            raise kind(text, target=self.name, next="put its password into REDISCLI_AUTH") from error
        return dict(found) if isinstance(found, dict) else {}
