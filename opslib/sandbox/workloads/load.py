"""How busy a container is: requests a second, and how many it can take."""

from __future__ import annotations

import math
import time

WINDOW = 4.0  # real seconds over which the request rate is averaged


class Load:
    """The request rate of one container, and a bucket that empties when it is saturated."""

    def __init__(self, capacity: float = math.inf) -> None:
        self.capacity = capacity  # requests a real second
        self._rate = 0.0
        self._at = time.monotonic()
        self._tokens = capacity * 2
        self._refused = -math.inf

    def _decay(self) -> float:
        now = time.monotonic()
        passed, self._at = now - self._at, now
        self._rate *= math.exp(-passed / WINDOW)
        self._tokens = min(self.capacity * 2, self._tokens + passed * self.capacity)
        return now

    def take(self) -> bool:
        """Count a request; False: the container has no room for it."""
        now = self._decay()
        self._rate += 1 / WINDOW
        if self._tokens < 1:
            self._refused = now
            return False
        self._tokens -= 1
        return True

    @property
    def rate(self) -> float:
        """Requests a real second, lately."""
        self._decay()
        return self._rate

    @property
    def saturated(self) -> bool:
        """Whether a request was refused in the last two seconds."""
        return time.monotonic() - self._refused < 2.0
