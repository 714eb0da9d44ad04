"""A run's view of a noun: each read has a deadline, and one without an answer is unknown instead of an end of the notebook.

`cluster.pods("api-gateway")` reads at once; `cluster.lazy.pods("api-gateway")` gives a Read for
`run.read(...)`, which makes several at
the same time. Reads return frames or Measurements. Anything else, a Change for instance, is built under the
same deadline and raises.
"""

from __future__ import annotations

import importlib
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opslib.errors import NotInstalled, SourceError, Unreachable
from opslib.records.frames import frame
from opslib.records.measurement import Measurement
from opslib.records.model import now

DEADLINE = 8.0  # seconds; DESIGN.md: a slow or dead source costs seconds, not a hang
NOT_INSTALLED = "not installed: "


@dataclass
class Read:
    """One read of a noun, not yet made: what to call and what to give when there is no answer."""

    noun: str
    method: str
    call: Callable[[], Any]
    returns: str  # frame, measurement or other
    deadline: float = DEADLINE
    required: bool = True
    label: str = ""
    started: float = field(default=0.0, init=False)
    seconds: float = field(default=0.0, init=False)
    answer: Any = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)
    _done: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def name(self) -> str:
        """How facts and records name it: cluster.pods."""
        return f"{self.noun}.{self.method}"

    def start(self) -> None:
        """Begin in a thread of its own, one that a hanging source cannot keep the process alive with."""
        self.started = time.monotonic()
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def wait(self) -> None:
        """Wait until it is done or its deadline has passed."""
        left = self.started + self.deadline - time.monotonic()
        if not self._done.wait(max(0.0, left)) and self.error is None:
            self.seconds = self.deadline
            self.error = Unreachable(
                f"no answer within {self.deadline:g} s",
                target=self.name,
                next="ask the source directly; `opslib doctor` says what can be reached",
            )

    def result(self) -> Any:
        """The answer, or what stands for 'unknown';

        raises what is no SourceError, and for other results always.
        """
        if self.error is None:
            return self.answer
        if not isinstance(self.error, SourceError) or self.returns == "other":
            raise self.error
        if self.returns == "measurement":
            return Measurement(None, at=now(), unknown=self.why(), source=self.label)
        return empty(self.noun, self.method, self.why())

    def why(self) -> str:
        """Why there is no answer, in one line."""
        prefix = NOT_INSTALLED if isinstance(self.error, NotInstalled) else ""
        return prefix + str(self.error)

    def _work(self) -> None:
        try:
            answer = self.call()
        except BaseException as error:
            if not self._done.is_set() and self.error is None:
                self.error = error
        else:
            self.answer = answer
        self.seconds = time.monotonic() - self.started
        self._done.set()


class Reading:
    """A noun as a run sees it.

    `lazy` gives Reads, `optional` reads whose lack does not block 'healthy', `noun` the bare noun.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        perform: Callable[[Sequence[Read]], list[Any]],
        *,
        deadline: float = DEADLINE,
        required: bool = True,
        lazily: bool = False,
    ) -> None:
        self._name, self._make, self._perform = name, make, perform
        self._deadline, self._required, self._lazily = deadline, required, lazily

    @property
    def noun(self) -> Any:
        """The noun itself, which raises."""
        return self._make()

    @property
    def lazy(self) -> Reading:
        """The same noun, returning Reads for `run.read(...)`."""
        return self._with(lazily=True)

    @property
    def optional(self) -> Reading:
        """The same noun; what it cannot read is said, but does not block 'healthy'."""
        return self._with(required=False)

    def within(self, seconds: float) -> Reading:
        """The same noun with another deadline."""
        return self._with(deadline=seconds)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        function = getattr(self.noun, method)
        if not callable(function):
            return function

        def read(*args: Any, **kwargs: Any) -> Any:
            wanted = Read(
                self._name,
                method,
                lambda: function(*args, **kwargs),
                returns(function),
                self._deadline,
                self._required,
                _label(self._name, method, args, kwargs),
            )
            return wanted if self._lazily else self._perform([wanted])[0]

        read.__doc__, read.__name__ = function.__doc__, method
        return read

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.noun)})

    def __repr__(self) -> str:
        return f"<{self._name} as this run reads it>"

    def _with(self, **changed: Any) -> Reading:
        settings: dict[str, Any] = {
            "deadline": self._deadline,
            "required": self._required,
            "lazily": self._lazily,
        }
        return Reading(self._name, self._make, self._perform, **(settings | changed))


def make_all(reads: Sequence[Read]) -> None:
    """Make all reads at the same time:

    this takes as long as the slowest one, and no longer than its deadline.
    """
    for read in reads:
        read.start()
    for read in reads:
        read.wait()


def returns(function: Callable[..., Any]) -> str:
    """What a noun's function returns: frame, measurement or other, by its annotation."""
    annotation = inspect.signature(function).return_annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if "DataFrame" in text:
        return "frame"
    return "measurement" if "Measurement" in text else "other"


def empty(noun: str, method: str, why: str) -> Any:
    """An empty frame with the columns that the read documents, its attrs saying why nothing is known."""
    data = frame(method, _columns(noun).get(method, []), [])
    data.attrs["unknown"] = why
    return data


def _columns(noun: str) -> dict[str, list[str]]:
    for module in (f"opslib.{noun}.columns", f"opslib.{noun}"):
        try:
            found: dict[str, list[str]] | None = getattr(importlib.import_module(module), "COLUMNS", None)
        except ImportError:
            continue
        if found is not None:
            return found
    return {}


def _label(noun: str, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    given = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return f"{noun}.{method}({', '.join(given)})"
