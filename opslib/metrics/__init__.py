"""Metrics: `Metrics(profile)`; what Prometheus measured."""

from opslib.metrics.columns import COLUMNS
from opslib.metrics.metrics import Metrics

__all__ = ["COLUMNS", "Metrics"]
