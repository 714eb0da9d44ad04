"""The kernel process of `opslib run`: ipykernel, which loads what runbooks import while it waits for its first cell.

Once the kernel is up it has nothing to do until the runner is ready; what the first cells import then costs nothing.
Any kernel runs the same notebooks: this one only begins sooner.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from pathlib import Path

# In the order in which P0's cells meet them.
EARLY = (
    "pandas",
    "opslib.runs.start",
    "opslib.diagnosis",
    "opslib.cluster",
    "opslib.edge",
    "matplotlib.figure",
    "matplotlib.dates",
    "matplotlib.backends.backend_agg",
)
# Nobody debugs or completes in a headless kernel; ipykernel and IPython do without them, a twentieth of a second sooner.
NEEDLESS = ("debugpy", "jedi")


def load() -> None:
    """Import them all; what cannot be imported fails in the cell that needs it, where it can be read."""
    for name in EARLY:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def main() -> None:
    """Start the kernel, then the loading."""
    if sys.path and sys.path[0] in ("", str(Path.cwd())):  # as ipykernel_launcher does
        del sys.path[0]
    sys.modules.update(dict.fromkeys(NEEDLESS))  # type: ignore[arg-type]  # None: importing it raises ImportError
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(sys.argv[1:])
    threading.Thread(target=load, name="opslib-early", daemon=True).start()
    app.start()


if __name__ == "__main__":
    main()
