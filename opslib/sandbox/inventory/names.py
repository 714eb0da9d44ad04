"""What is deployed: the 17 services of the platform, their versions and what they need.

Source: PLATFORM.md 1.1 and 1.2 (names, replicas, resources), 1.7 (pool sizes), 3.1 (Redis). The version
numbers and release times are invented: the charts pin `latest`, which is a fault of its own (same-image).
"""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "pss-nano"
REGISTRY = "gcr.io/pss-nano"
GATEWAY = "api-gateway"
APPLICATION = "pss-nano-production"
PORT = 3000
DATABASE = "airline_ops"
DATABASE_USER = "airlineops"
TLS_SECRET = "api-gateway-tls"  # noqa: S105 - the name of a Secret object
HOST = "api.pss-nano.com"


@dataclass(frozen=True)
class Release:
    """One revision of a Deployment: its image tag and how many hours ago it was rolled out."""

    tag: str
    hours_ago: float


@dataclass(frozen=True)
class Service:
    """One application service of the platform."""

    name: str
    releases: tuple[Release, ...]  # oldest first; the last one runs
    area: str = ""  # /api/v1/AREA reaches it through the gateway; empty: the gateway itself
    connections: int = 3  # connection_limit of its DATABASE_URL, per pod
    database: bool = True  # asks PostgreSQL in its health check
    redis: int | None = None  # its logical Redis database
    rabbitmq: bool = False

    @property
    def tag(self) -> str:
        return self.releases[-1].tag

    @property
    def image(self) -> str:
        return f"{REGISTRY}/{self.name}:{self.tag}"

    @property
    def url_variable(self) -> str:
        """The gateway's environment variable that holds this backend's URL, such as AUTH_URL."""
        return self.name.removesuffix("-service").replace("-", "_").upper() + "_URL"


def _releases(*pairs: tuple[str, float]) -> tuple[Release, ...]:
    return tuple(Release(tag, hours) for tag, hours in pairs)


SERVICES: tuple[Service, ...] = (
    Service(
        GATEWAY,
        _releases(("v2.7.1", 529.0), ("v2.7.2", 217.4), ("v2.7.3", 50.2)),
        connections=0,
        database=False,
        redis=0,
    ),
    Service(
        "auth-service",
        _releases(("v3.4.0", 610.0), ("v3.4.1", 244.8), ("v3.4.2", 98.1)),
        area="auth",
        connections=4,
        redis=0,
    ),
    Service(
        "reservation-service",
        _releases(("v3.1.2", 433.0), ("v3.1.3", 193.5), ("v3.1.4", 74.6)),
        area="reservations",
        connections=5,
        redis=2,
        rabbitmq=True,
    ),
    Service(
        "inventory-service",
        _releases(("v2.9.0", 505.0), ("v2.9.1", 122.3)),
        area="inventory",
        connections=5,
        redis=1,
        rabbitmq=True,
    ),
    Service(
        "payment-service",
        _releases(("v4.0.6", 698.0), ("v4.0.7", 340.2), ("v4.1.0", 146.9)),
        area="payments",
        connections=4,
        redis=5,
    ),
    Service("pricing-service", _releases(("v1.12.3", 410.0), ("v1.12.4", 170.7)), area="pricing", redis=3),
    Service(
        "ancillary-service",
        _releases(("v1.6.1", 720.0), ("v1.6.2", 265.0)),
        area="ancillaries",
        redis=4,
        rabbitmq=True,
    ),
    Service(
        "boarding-service",
        _releases(("v2.2.4", 388.0), ("v2.2.5", 151.2)),
        area="boarding",
        database=False,
        redis=8,
    ),
    Service("dcs-service", _releases(("v2.5.7", 475.0), ("v2.5.8", 126.4)), area="dcs", redis=7),
    Service(
        "load-control-service",
        _releases(("v1.3.0", 801.0), ("v1.3.1", 312.6)),
        area="load-control",
        connections=2,
        redis=0,
    ),
    Service(
        "marketing-service", _releases(("v1.1.8", 655.0), ("v1.1.9", 290.1)), area="marketing", connections=2
    ),
    Service(
        "analytics-service",
        _releases(("v1.8.2", 577.0), ("v1.8.3", 201.9)),
        area="analytics",
        redis=5,
        rabbitmq=True,
    ),
    Service(
        "cms-service", _releases(("v1.4.5", 498.0), ("v1.4.6", 220.3)), area="cms", connections=2, redis=6
    ),
    Service(
        "gds-integration-service",
        _releases(("v1.9.9", 366.0), ("v1.10.0", 171.8)),
        area="gds",
        connections=2,
        database=False,
    ),
    Service(
        "regulatory-compliance-service",
        _releases(("v1.2.2", 842.0), ("v1.2.3", 401.5)),
        area="compliance",
        connections=2,
    ),
    Service(
        "airport-integration-service",
        _releases(("v1.5.0", 540.0), ("v1.5.1", 275.4)),
        area="airports",
        connections=2,
        database=False,
    ),
    Service(
        "notification-service",
        _releases(("v2.0.3", 462.0), ("v2.0.4", 130.8)),
        area="notifications",
        connections=2,
        database=False,
        rabbitmq=True,
    ),
)
BY_NAME = {service.name: service for service in SERVICES}
BACKENDS = tuple(service for service in SERVICES if service.name != GATEWAY)


def select(services: tuple[str, ...] | list[str] | None) -> tuple[Service, ...]:
    """The services of these names, in platform order; None: all. Raises ValueError for an unknown name."""
    if services is None:
        return SERVICES
    unknown = sorted(set(services) - set(BY_NAME))
    if unknown:
        raise ValueError(f"no such service: {', '.join(unknown)}; known: {', '.join(BY_NAME)}")
    return tuple(service for service in SERVICES if service.name in services)
