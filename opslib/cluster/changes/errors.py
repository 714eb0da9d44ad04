"""Why a change cannot even be proposed."""

from __future__ import annotations

from opslib.errors import Refused


class NotApplicable(Refused):
    """This change would do nothing, or cannot be made as asked; `what` says why. Nothing was touched."""
