"""Signals that end a run: they become a Stop, so that its evidence is finished in any case."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opslib.evidence.stop import Stop

if TYPE_CHECKING:
    import asyncio


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into a Stop of the run, so that its evidence is finished in any case."""

    def __init__(self) -> None:
        self.caught: Stop | None = None
        self._tell: Callable[[Stop], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopper(self, future: asyncio.Future[Stop]) -> None:
        """Resolve this future of the running loop when a signal comes, at once when one has come already."""
        loop = future.get_loop()

        def tell(why: Stop) -> None:
            loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(why))

        self._tell = tell
        if self.caught:
            tell(self.caught)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.caught:
            return
        self.caught = Stop("signal", f"{signal.Signals(number).name} ended the run", signal=number)
        if self._tell:
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closed: the run has ended, its evidence goes on
                self._tell(self.caught)
