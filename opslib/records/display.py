"""Shows a record: as a display output with three faces in a notebook, as text anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from opslib.records.model import MIME
from opslib.records.render import faces


def bundle(record: Mapping[str, Any]) -> dict[str, Any]:
    """The MIME bundle of a record (JSON, already redacted): text/plain, text/html and the record itself."""
    text, html = faces(record)
    return {"text/plain": text, "text/html": html, MIME: dict(record)}


def show(record: Mapping[str, Any], display_id: str = "", *, update: bool = False) -> None:
    """Emit a record; with `update`, rewrite the output shown before under the same display id.

    Outside IPython the text face is printed; rewriting is left out there, so that a log says each thing once.
    """
    shell = _shell()
    if shell is None:
        if not update:
            sys.stdout.write(faces(record)[0] + "\n")
            sys.stdout.flush()
        return
    from IPython.display import display

    if display_id:
        display(bundle(record), raw=True, display_id=display_id, update=update)
    else:
        display(bundle(record), raw=True)


def picture(png: bytes, words: str) -> None:
    """Show a plot; its words are the text face, and all there is outside IPython."""
    if _shell() is None:
        sys.stdout.write(words + "\n")
        return
    from base64 import b64encode

    from IPython.display import display

    display({"image/png": b64encode(png).decode(), "text/plain": words}, raw=True)


def _shell() -> Any:
    """The running IPython shell; None outside IPython, which is then not imported either."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
