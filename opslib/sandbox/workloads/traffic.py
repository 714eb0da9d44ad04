"""Background users: about twenty requests a real second through the edge, whatever the sandbox's speed.

The mix is invented. Each visit has one outcome on a healthy platform, from which the healthy history is
computed too; nothing in it is a 5xx.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from opslib.sandbox.inventory.names import HOST
from opslib.sandbox.workloads.edge import Edge

RATE = 20.0  # requests a real second
TOKEN = {"Authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.sandbox"}
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
    "PSS-nano-iOS/5.2.1",
    "PSS-nano-Android/5.2.0",
    "airline-partner-api/1.4",
)


@dataclass(frozen=True)
class Visit:
    """One kind of request: its share of all, and what a healthy platform answers."""

    weight: float
    method: str
    path: str
    status: int
    seconds: float  # typical latency at the edge
    token: bool = True
    extra: tuple[tuple[str, str], ...] = ()

    def headers(self) -> dict[str, str]:
        found = {"User-Agent": random.choice(AGENTS), "Content-Length": "0" if self.status == 400 else "96"}
        return found | (TOKEN if self.token else {}) | dict(self.extra)


WRONG = (("X-Sandbox-Password", "wrong"),)
MIX: tuple[Visit, ...] = (
    Visit(24, "GET", "/api/v1/inventory/availability", 200, 0.037, token=False),
    Visit(14, "GET", "/api/v1/pricing/fares", 200, 0.037, token=False),
    Visit(12, "GET", "/api/v1/reservations/ABC123", 200, 0.029),
    Visit(7, "POST", "/api/v1/reservations", 201, 0.029),
    Visit(5, "GET", "/api/v1/reservations/unknown-locator", 404, 0.029),
    Visit(8, "POST", "/api/v1/auth/login", 200, 0.029, token=False),
    Visit(2, "POST", "/api/v1/auth/login", 401, 0.029, token=False, extra=WRONG),
    Visit(4, "POST", "/api/v1/payments", 201, 0.077),
    Visit(1, "POST", "/api/v1/payments/unknown-intent", 404, 0.077),
    Visit(3, "GET", "/api/v1/ancillaries/products", 200, 0.029),
    Visit(5, "GET", "/api/v1/dcs/flights/AA100/checkin", 200, 0.029),
    Visit(3, "GET", "/api/v1/boarding/flights/AA100", 200, 0.029),
    Visit(3, "GET", "/api/v1/airports/JFK", 200, 0.029, token=False),
    Visit(3, "GET", "/api/v1/cms/banners", 200, 0.029, token=False),
    Visit(2, "GET", "/api/v1/notifications", 200, 0.029),
    Visit(2, "GET", "/api/v1/reservations", 401, 0.011, token=False),
    Visit(1, "GET", "/api/v1/load-control/flights/AA100", 200, 0.029),
    Visit(1, "GET", "/api/v1/marketing/campaigns", 200, 0.029),
)
TOTAL = sum(visit.weight for visit in MIX)


class Traffic:
    """Sends the mix at an even pace, in process; a pause of the process is not made up for."""

    def __init__(self, edge: Edge, rate: float = RATE) -> None:
        self._edge = edge
        self._rate = rate
        self.sent = 0
        self.paused = False

    def visit(self) -> int:
        """One request of one user; returns the status it got."""
        chosen = random.choices(MIX, weights=[visit.weight for visit in MIX])[0]
        self.sent += 1
        client = f"198.51.100.{random.randrange(1, 255)}"
        return self._edge.route(HOST, chosen.method, chosen.path, chosen.headers(), client=client).status

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            now = time.monotonic()
            due = max(due, now - 1.0)  # after a stall: at most one second's worth at once
            while due <= now:
                if not self.paused:
                    self.visit()
                due += 1 / self._rate
            await asyncio.sleep(max(0.005, due - time.monotonic()))
