"""A notebook seen as a runbook: front matter, parameters, catalogue, lint."""

from opslib.runbooks.catalogue import Runbook, every, for_alert, load, names
from opslib.runbooks.parameters import ParameterSpec

__all__ = ["ParameterSpec", "Runbook", "every", "for_alert", "load", "names"]
