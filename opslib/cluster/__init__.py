"""The Kubernetes cluster: `Cluster(profile)`; reads give DataFrames, writes give Changes."""

from opslib.cluster.changes.errors import NotApplicable
from opslib.cluster.cluster import Cluster
from opslib.cluster.columns import COLUMNS

__all__ = ["COLUMNS", "Cluster", "NotApplicable"]
