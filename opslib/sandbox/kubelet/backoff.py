"""Growing pauses before another try (client-go util/flowcontrol Backoff). All in platform seconds."""

from __future__ import annotations

from dataclasses import dataclass

CRASH_BASE, CRASH_CAP = 10.0, 300.0  # kubelet: backOffPeriod, MaxContainerBackOff
PULL_BASE, PULL_CAP = 10.0, 300.0  # kubelet: imageBackOffPeriod, MaxContainerBackOff


@dataclass
class Backoff:
    """One key's back-off: doubles from base to cap, starts anew after twice the cap without a failure."""

    base: float = CRASH_BASE
    cap: float = CRASH_CAP
    current: float = 0.0  # 0: no failure yet
    updated: float = 0.0

    def wait(self, failed_at: float, now: float) -> float:
        """How long a try must still wait after a failure at `failed_at`; 0: it may start."""
        if not self.current or failed_at - self.updated > 2 * self.cap:
            return 0.0
        return max(0.0, failed_at + self.current - now)

    def next(self, now: float) -> None:
        """Note a try after a failure: the next one waits longer."""
        if not self.current or now - self.updated > 2 * self.cap:
            self.current = self.base
        else:
            self.current = min(self.current * 2, self.cap)
        self.updated = now


def text(seconds: float) -> str:
    """A pause as Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
