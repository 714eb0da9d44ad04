"""A backend service: configuration check, health with a database query, its /api routes.

Sources: PLATFORM.md 1.6 (health does SELECT 1, 503 when the database is away), 1.7 (only DATABASE_URL is
read; connection_limit is Prisma's pool), 3.1 (what each service keeps in Redis).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from opslib.sandbox.inventory.names import BY_NAME, Service
from opslib.sandbox.workloads import node, shell
from opslib.sandbox.workloads.catalogue import Build
from opslib.sandbox.workloads.protocol import Container, ExecResult, Exit, HttpAnswer, Usage
from opslib.sandbox.workloads.stores import Stores

CAPACITY = 40.0  # requests a real second that one pod can take
DATABASE_HOST = "pss-nano-postgres-prod.internal"
# services whose requests cannot be served without Redis: sessions, carts, seat locks (3.1)
NEEDS_REDIS = ("auth-service", "reservation-service", "dcs-service")
REQUIRED = {
    "auth-service": ("DATABASE_URL", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET"),
    "payment-service": ("DATABASE_URL", "PAYMENT_GATEWAY_KEY"),
}
MIB = 1024 * 1024
# typical seconds of a request
PACE = {
    "analytics-service": 0.09,
    "payment-service": 0.07,
    "inventory-service": 0.03,
    "pricing-service": 0.03,
}


class Backend:
    """The program in gcr.io/pss-nano/NAME, for every service but the gateway."""

    def __init__(self, build: Build, stores: Stores) -> None:
        self.build = build
        self.service: Service = BY_NAME[build.service]
        self._stores = stores
        self._lives = node.Lives(CAPACITY)

    def start(self, c: Container) -> Exit | None:
        c.log(f"{self.service.name} {self.build.version} starting (node v20.10.0, pid 1)")
        required = REQUIRED.get(self.service.name, ("DATABASE_URL",) if self.service.database else ())
        for name in required:
            if not c.env.get(name):
                return node.refuse_to_start(f"{name} is required but not set", "config.js:22:9")
        if self.service.database:
            try:
                parsed = urlsplit(c.env["DATABASE_URL"])
                valid = (
                    parsed.scheme in ("postgresql", "postgres")
                    and bool(parsed.hostname)
                    and bool(parsed.port)
                )
            except ValueError:
                valid = False
            if not valid:
                return node.refuse_to_start(
                    "PrismaClientInitializationError: error validating datasource `db`: the URL must start "
                    "with the protocol `postgresql://` or `postgres://`",
                    "database.js:14:18",
                )
        node.log(c, "info", f"{self.service.name} listening on port {c.env.get('PORT', '3000')}")
        if self.service.database:
            node.log(c, "info", f"Prisma pool: connection_limit={self.pool(c)}, pool_timeout=10")
        return None

    @staticmethod
    def pool(c: Container) -> int:
        """connection_limit of DATABASE_URL; Prisma's default (2 CPUs x 2 + 1) when it is absent."""
        limit = parse_qs(urlsplit(c.env.get("DATABASE_URL", "")).query).get("connection_limit", ["5"])[0]
        return int(limit) if limit.isdigit() else 5

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        if node.booting(c) or str(port) != c.env.get("PORT", "3000"):
            return None
        route = path.partition("?")[0]
        if route in ("/health", "/health/ready", "/ready", "/live", "/api/v1/health"):
            return self._health(c)
        if route == "/metrics":
            return node.answer(200, f"process_resident_memory_bytes {self.usage(c).memory_bytes}\n", 0.003)
        return self._api(c, method, route, headers)

    def _health(self, c: Container) -> HttpAnswer:
        """SELECT 1 where the service has a database; static where it has none."""
        body: dict[str, object] = {"status": "healthy", "service": self.service.name}
        if self.service.database:
            up = self.database_up(c)
            body["database"] = "connected" if up else "disconnected"
            if not up:
                node.log(c, "error", "Health check failed: SELECT 1: P1001 Can't reach database server")
                return node.answer(503, {**body, "status": "unhealthy"}, 0.05)
        if self.service.redis is not None:
            # Redis is reported, not required: the service stays up without its cache
            body["redis"] = "connected" if self.redis_up(c) else "disconnected"
        return node.answer(200, body, 0.004)

    def database_up(self, c: Container) -> bool:
        """Whether the database named by DATABASE_URL answers (only the platform's own host exists)."""
        target = urlsplit(c.env.get("DATABASE_URL", ""))
        return target.hostname == DATABASE_HOST and self._stores.up("postgres")

    def redis_up(self, c: Container) -> bool:
        return c.env.get("REDIS_HOST") == "redis" and self._stores.up("redis")

    def _api(self, c: Container, method: str, route: str, headers: Mapping[str, str]) -> HttpAnswer:
        life = self._lives.of(c)
        room = life.load.take()
        life.requests += 1
        if not route.startswith(f"/api/v1/{self.service.area}"):
            return node.answer(404, {"error": "Not Found", "message": f"Cannot {method} {route}"}, 0.002)
        if self.build.flaw == "routes":
            node.log(
                c,
                "error",
                f"{method} {route} 500 - PrismaClientValidationError: Unknown argument `fareBrandId`\n"
                "    at Object.findMany (/app/node_modules/@prisma/client/runtime/library.js:123:6510)\n"
                f"    at handler (/app/dist/routes/{self.service.area}.js:88:31)",
            )
            return self._done(500, {"error": "Internal Server Error", "code": "P2009"}, 0.015)
        if self.service.database and not self.database_up(c):
            host = urlsplit(c.env.get("DATABASE_URL", "")).hostname
            node.log(
                c,
                "error",
                f"{method} {route} 500 - PrismaClientInitializationError: P1001 Can't reach database server at "
                f"`{host}`:`5432`",
            )
            return self._done(500, {"error": "Internal Server Error", "code": "P1001"}, 0.05)
        if self.service.name in NEEDS_REDIS and not self.redis_up(c):
            node.log(c, "error", f"{method} {route} 500 - ioredis: connect ECONNREFUSED redis:6379")
            return self._done(500, {"error": "Internal Server Error", "code": "ECONNREFUSED"}, 0.04)
        status, body = self._outcome(method, route, headers)
        seconds = PACE.get(self.service.name, 0.022) * (1 if room else 12)
        node.log(c, "info", f"{method} {route} {status}")
        return self._done(status, body, seconds)

    def _done(self, status: int, body: object, seconds: float) -> HttpAnswer:
        return node.answer(status, body, node.around(seconds))

    def _outcome(self, method: str, route: str, headers: Mapping[str, str]) -> tuple[int, object]:
        """Every path has its fixed answer: reads find what exists, `unknown-...` is not found."""
        last = route.rstrip("/").rpartition("/")[2]
        if last.startswith("unknown"):
            return 404, {"error": "Not Found", "message": f"{last} does not exist"}
        if self.service.name == "auth-service" and last == "login" and method == "POST":
            if node.header(headers, "x-sandbox-password") == "wrong":
                return 401, {"error": "Unauthorized", "message": "Invalid credentials"}
            return 200, {"accessToken": "eyJhbGciOiJIUzI1NiJ9.sandbox", "expiresIn": 86400}
        if method == "POST":
            if node.header(headers, "content-length") == "0":
                return 400, {"error": "Bad Request", "message": "body is required"}
            return 201, {"id": f"{zlib.crc32(route.encode()):08x}", "status": "CONFIRMED"}
        if method == "DELETE":
            return 204, ""
        return 200, {"data": [{"id": f"{zlib.crc32(route.encode()):08x}", "path": route}], "total": 1}

    def usage(self, c: Container) -> Usage:
        rate = self._lives.of(c).load.rate
        cpu = min(500, int(18 + node.steady(c, 0, 14) + 9 * rate))
        return Usage(cpu, (node.steady(c, 176, 238) + int(min(40.0, rate * 2))) * MIB)

    async def exec(self, c: Container, argv: list[str], stdin: bytes | None) -> ExecResult:
        return shell.run(c, argv, stdin, lambda path, port: self.http(c, "GET", path, port, {}))
