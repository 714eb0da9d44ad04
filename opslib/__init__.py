"""Operations runbooks that run. Notebooks import from here: `from opslib import open_run`.

Nothing is imported before it is used: `import opslib` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opslib.records.finding import Finding as Finding
    from opslib.records.measurement import Measurement as Measurement
    from opslib.records.option import Option as Option
    from opslib.runs.run import Run as Run
    from opslib.runs.start import open_run as open_run

_FACE = {
    "open_run": "opslib.runs.start",
    "Run": "opslib.runs.run",
    "Option": "opslib.records.option",
    "Finding": "opslib.records.finding",
    "Measurement": "opslib.records.measurement",
    "diagnosis": "opslib.diagnosis",
}

__all__ = ["Finding", "Measurement", "Option", "Run", "open_run"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a name of the face, or the module that holds it."""
    if name not in _FACE:
        raise AttributeError(f"module 'opslib' has no attribute {name!r}")
    module = import_module(_FACE[name])
    return module if _FACE[name] == f"opslib.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
