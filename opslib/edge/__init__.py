"""The edge: `Edge(profile, cluster)`; probes through the ingress, the certificate that is served."""

from opslib.edge.columns import COLUMNS
from opslib.edge.edge import PATHS, Edge
from opslib.edge.symptom import EdgeSymptom

__all__ = ["COLUMNS", "PATHS", "Edge", "EdgeSymptom"]
