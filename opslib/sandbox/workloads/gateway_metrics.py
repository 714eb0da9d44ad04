"""The series that the gateway exports (PLATFORM.md 4.2), summed over its pods."""

from __future__ import annotations

from opslib.sandbox.workloads.metrics import Counter, Histogram, labels, sample

BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
ROUTES = 150  # distinct raw paths kept; the real gateway keeps all, which is a defect of its own


class GatewayMetrics:
    """http_requests_total, http_request_duration_seconds, http_errors_total, service_health_status."""

    def __init__(self) -> None:
        self.requests = Counter("http_requests_total", "Total number of HTTP requests")
        self.duration = Histogram(
            "http_request_duration_seconds", "Duration of HTTP requests in seconds", BUCKETS
        )
        self.errors = Counter("http_errors_total", "Total number of HTTP errors")
        self._health: dict[str, bool] = {}
        self._routes: set[str] = set()

    @property
    def families(self) -> tuple[Counter | Histogram, ...]:
        return (self.requests, self.duration, self.errors)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        if route not in self._routes:
            if len(self._routes) >= ROUTES:
                route = "other"
            self._routes.add(route)
        pairs = labels(method=method, route=route, status_code=str(status), service="gateway")
        self.requests.add(pairs)
        self.duration.observe(pairs, seconds)
        if status >= 400:
            kind = "server_error" if status >= 500 else "client_error"
            self.errors.add(labels(method=method, route=route, status_code=str(status), error_type=kind))

    def health(self, service: str, *, healthy: bool) -> None:
        self._health[service] = healthy

    def lines(self) -> list[str]:
        found = [line for family in self.families for line in family.lines()]
        found += ["# HELP service_health_status Health of a backend (1 healthy, 0 unhealthy)"]
        found += ["# TYPE service_health_status gauge"]
        found += [
            sample("service_health_status", labels(service=name), float(ok))
            for name, ok in sorted(self._health.items())
        ]
        # never set by the proxy path: closed for every backend (PLATFORM.md 1.6)
        found += ["# HELP circuit_breaker_state 0 closed, 1 open, 2 half open"]
        found += ["# TYPE circuit_breaker_state gauge"]
        found += [sample("circuit_breaker_state", labels(service=name), 0.0) for name in sorted(self._health)]
        return found

    def text(self) -> str:
        return "\n".join(self.lines()) + "\n"
