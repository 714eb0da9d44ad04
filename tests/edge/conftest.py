"""The sandbox as seen from its public side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opslib.cluster import Cluster
from opslib.edge import Edge
from opslib.metrics import Metrics
from opslib.settings import load

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox


@pytest.fixture
def edge(sandbox: Sandbox) -> Edge:
    from opslib.sandbox import lifecycle

    profile = load(environ=lifecycle.env(sandbox.name))
    return Edge(profile, Cluster(profile), Metrics(profile).ratio_since)
