"""What was seen, and what follows from it: pure functions from frames to findings and options."""

from __future__ import annotations

from opslib.diagnosis.causes import DOWN, failed_share, failing_since, service_down
from opslib.diagnosis.options import answered_by, ways_out
from opslib.diagnosis.seen import Seen, by_deployment
from opslib.diagnosis.troubles import Kind, Trouble, in_trouble, troubles

__all__ = [
    "DOWN",
    "Kind",
    "Seen",
    "Trouble",
    "answered_by",
    "by_deployment",
    "failed_share",
    "failing_since",
    "in_trouble",
    "service_down",
    "troubles",
    "ways_out",
]
