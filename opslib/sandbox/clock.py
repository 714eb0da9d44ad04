"""The sandbox's clock: wall-clock stamps stay real, durations are divided by the speed."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Real time of day, scaled durations.

    A platform second is what a manifest or Kubernetes' own defaults count in (periodSeconds: 10 is ten
    platform seconds); at speed 20 it lasts 0.05 real seconds.
    """

    speed: float = 20.0

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"the sandbox's speed must be above zero, got {self.speed}")

    def now(self) -> dt.datetime:
        """The real time, UTC."""
        return dt.datetime.now(dt.UTC)

    def scaled(self, seconds: float) -> float:
        """Real seconds that `seconds` platform seconds take."""
        return seconds / self.speed

    def since(self, moment: dt.datetime) -> float:
        """Platform seconds since a real moment (negative when it lies ahead)."""
        return (self.now() - moment).total_seconds() * self.speed

    async def sleep(self, platform_seconds: float) -> None:
        """Wait that many platform seconds."""
        await asyncio.sleep(self.scaled(platform_seconds))


def stamp(moment: dt.datetime) -> str:
    """A moment as metav1.Time: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(moment: dt.datetime) -> str:
    """A moment as metav1.MicroTime: RFC 3339, UTC, microseconds."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_stamp(text: str) -> dt.datetime:
    """A metav1.Time or MicroTime as an aware datetime.

    Raises ValueError when it is neither.
    """
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
