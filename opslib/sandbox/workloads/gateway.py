"""The api-gateway: aggregated health, proxied /api routes, its metrics (PLATFORM.md 1.6, 4.2).

Departure from the repository: /health/ready exists, because the sandbox is the platform as intended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from opslib.sandbox.inventory.names import BACKENDS, Service
from opslib.sandbox.workloads import node, shell
from opslib.sandbox.workloads.catalogue import Build
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.protocol import Container, ExecResult, Exit, HttpAnswer, Usage

CAPACITY = 8.0  # proxied requests a real second that one pod can take
HEALTH_EVERY = 30.0  # platform seconds between two rounds of backend checks
TAKEN_OVER = 600.0  # platform seconds: older than this at its first health check means taken over
WINDOW_ROLLS = 300.0  # platform seconds until the rate limiter first rolls its window
PATIENCE = 30.0  # seconds that the gateway waits for a backend before it answers 504
PUBLIC = ("/api/v1/auth/login", "/api/v1/inventory/", "/api/v1/pricing/", "/api/v1/airports/", "/api/v1/cms/")
MIB = 1024 * 1024


class Gateway:
    """The program in gcr.io/pss-nano/api-gateway."""

    def __init__(self, build: Build, metrics: GatewayMetrics) -> None:
        self.build = build
        self.metrics = metrics
        self._lives = node.Lives(CAPACITY)

    def start(self, c: Container) -> Exit | None:
        """Check the configuration as the program does: most of it at once, the window when it first rolls."""
        c.log(f"api-gateway {self.build.version} starting (node v20.10.0, pid 1)")
        where = "config/index.js:38:11"
        for name in ("JWT_SECRET", "API_KEY"):
            if not c.env.get(name):
                return node.refuse_to_start(f"{name} is required but not set", where)
        if not re.fullmatch(r"\d+[smhd]", c.env.get("JWT_EXPIRY", "24h")):
            wrong = c.env["JWT_EXPIRY"]
            return node.refuse_to_start(f'JWT_EXPIRY must look like 15m, 24h or 7d, got "{wrong}"', where)
        limit = c.env.get("RATE_LIMIT_MAX_REQUESTS", "100")
        if not _positive(limit):
            return node.refuse_to_start(
                f'RATE_LIMIT_MAX_REQUESTS must be a positive integer, got "{limit}"', where
            )
        c.log(f"api-gateway listening on port {c.env.get('PORT', '3000')}")
        window = c.env.get("RATE_LIMIT_WINDOW_MS", "60000")
        if _positive(window):
            return None
        # a first start lives long enough that a rollout completes, however fast the sandbox's clock runs
        first = max(WINDOW_ROLLS, 7.0 / c.clock.scaled(1.0))
        return Exit(
            after=first if c.restarts == 0 else 4.0,
            code=1,
            log=[
                f'Error: RATE_LIMIT_WINDOW_MS must be a positive integer, got "{window}"',
                "    at RateLimiter.rollWindow (/app/dist/middleware/rate-limit.js:57:13)",
                "    at listOnTimeout (node:internal/timers:569:17)",
                "Node.js v20.10.0",
            ],
        )

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        if node.booting(c) or str(port) != c.env.get("PORT", "3000"):
            return None
        route = path.partition("?")[0]
        found = self._answer(c, method, route, path, headers)
        self.metrics.observe(method, route, found.status, found.seconds)
        return found

    def _answer(
        self, c: Container, method: str, route: str, path: str, headers: Mapping[str, str]
    ) -> HttpAnswer:
        if route.startswith("/api/"):
            return self._api(c, method, route, path, headers)
        if route in ("/health/ready", "/ready", "/live"):
            return node.answer(200, {"status": "ready"}, 0.002)
        if route == "/health":
            return self._health(c)
        if route == "/health/services":
            health = self._poll(c)
            state = {name: {"status": "healthy" if ok else "unhealthy"} for name, ok in health.items()}
            return node.answer(200, {"services": state}, 0.003)
        if route == "/health/circuit-breakers":
            # the breakers exist but the proxy path never calls them: they stay closed (PLATFORM.md 1.6)
            return node.answer(200, {name: {"state": "closed"} for name in self._urls(c)}, 0.003)
        if route == "/metrics":
            return node.answer(200, self.metrics.text(), 0.004)
        if route == "/":
            return node.answer(200, {"name": "PSS-nano API Gateway", "version": self.build.version}, 0.002)
        return node.answer(404, {"error": "Not Found", "message": f"Cannot {method} {route}"}, 0.002)

    def _api(
        self, c: Container, method: str, route: str, path: str, headers: Mapping[str, str]
    ) -> HttpAnswer:
        life = self._lives.of(c)
        if not life.load.take():
            node.log(c, "warn", f"{method} {route} 503 - event loop lag 2140 ms, request shed")
            return node.answer(
                503, {"error": "Service Unavailable", "message": "overloaded"}, node.around(2.0)
            )
        if self.build.flaw == "routes":
            node.log(
                c,
                "error",
                f"{method} {route} 500 - TypeError: Cannot read properties of undefined (reading 'verify')\n"
                "    at authenticate (/app/dist/middleware/auth.js:41:27)\n"
                "    at Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)",
            )
            return node.answer(500, {"error": "Internal Server Error"}, node.around(0.006))
        backend = next((s for s in BACKENDS if route.startswith(f"/api/v1/{s.area}")), None)
        if backend is None:
            return node.answer(404, {"error": "Not Found", "message": f"Cannot {method} {route}"}, 0.003)
        if not route.startswith(PUBLIC) and not node.header(headers, "authorization"):
            return node.answer(401, {"error": "Unauthorized", "message": "No token provided"}, 0.004)
        return self._proxy(c, backend, method, path, headers)

    def _proxy(
        self, c: Container, backend: Service, method: str, path: str, headers: Mapping[str, str]
    ) -> HttpAnswer:
        url = c.env.get(backend.url_variable, "http://localhost:3001")
        found = c.services.call(url.removeprefix("http://"), method, path, headers)
        route = path.partition("?")[0]
        if found is None:
            node.log(c, "error", f"{method} {route} 503 - proxy error: connect ECONNREFUSED {url}")
            body = {"error": "Service Unavailable", "message": f"{backend.name} is unavailable"}
            return node.answer(503, body, node.around(0.012))
        if found.seconds > PATIENCE:
            node.log(c, "error", f"{method} {route} 504 - {backend.name} timed out after 30000 ms")
            body = {"error": "Gateway Timeout", "message": f"{backend.name} did not respond"}
            return node.answer(504, body, PATIENCE)
        if found.status >= 500:
            node.log(
                c, "error", f"{method} {route} {found.status} - upstream {backend.name}: {found.body[:160]}"
            )
        return HttpAnswer(found.status, found.body, found.seconds + node.around(0.006), found.content_type)

    def _urls(self, c: Container) -> dict[str, str]:
        return {s.name: c.env[s.url_variable] for s in BACKENDS if c.env.get(s.url_variable)}

    def _poll(self, c: Container) -> dict[str, bool]:
        """The state of every backend, asked for anew when the last round is 30 platform seconds old."""
        life, now = self._lives.of(c), node.age(c)
        if not life.health and now > TAKEN_OVER:
            # it ran before the sandbox process did: it still knows what it last saw, and asks again soon
            life.health = dict.fromkeys(self._urls(c), True)
            life.checked = now + max(0.0, 2.0 / c.clock.scaled(1.0) - HEALTH_EVERY)
        if now - life.checked >= HEALTH_EVERY or not life.health:
            life.checked = now
            before, life.health = life.health, {}
            for name, url in self._urls(c).items():
                found = c.services.call(url.removeprefix("http://"), "GET", "/health", {})
                life.health[name] = found is not None and found.status == 200
                self.metrics.health(name, healthy=life.health[name])
                if not life.health[name] and before.get(name, True):
                    why = "connect ECONNREFUSED" if found is None else f"status {found.status}"
                    node.log(c, "warn", f"Service {name} is unhealthy: {why}")
        return life.health

    def _health(self, c: Container) -> HttpAnswer:
        """200 for healthy and degraded, 503 when all backends are unhealthy or none was ever checked (A9)."""
        health = self._poll(c)
        good = sum(health.values())
        state = "unhealthy" if not good else "healthy" if good == len(health) else "degraded"
        body = {
            "status": state,
            "service": "gateway",
            "version": self.build.version,
            "uptime": round(node.age(c), 1),
            "services": {name: "healthy" if ok else "unhealthy" for name, ok in health.items()},
        }
        if state == "unhealthy":
            node.log(c, "error", "Health check failed: all backend services are unhealthy")
        return node.answer(503 if state == "unhealthy" else 200, body, 0.008)

    def usage(self, c: Container) -> Usage:
        load = self._lives.of(c).load
        cpu = 1000 if load.saturated else min(1000, int(60 + 45 * load.rate))
        memory = node.steady(c, 390, 450) + int(min(60.0, load.rate * 4))
        return Usage(cpu, memory * MIB)

    async def exec(self, c: Container, argv: list[str], stdin: bytes | None) -> ExecResult:
        return shell.run(c, argv, stdin, lambda path, port: self.http(c, "GET", path, port, {}))


def _positive(text: str) -> bool:
    return bool(re.fullmatch(r"[1-9]\d*", text))
