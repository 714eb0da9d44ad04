"""The session's sandbox as a profile: as a responder, an observer, or a developer without any role."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from opslib.cluster import Cluster
from opslib.settings import Profile, load

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox

Profiles = Callable[[str], Profile]


@pytest.fixture
def profile(sandbox: Sandbox) -> Profiles:
    """profile("observer"): the sandbox as this user of its kubeconfig sees it."""
    from opslib.sandbox import lifecycle

    def make(context: str = "responder") -> Profile:
        return load(environ=lifecycle.env(sandbox.name) | {"OPSLIB_CONTEXT": context})

    return make


@pytest.fixture
def cluster(profile: Profiles) -> Cluster:
    """The cluster as an on-call responder."""
    return Cluster(profile("responder"))


@pytest.fixture
def observer(profile: Profiles) -> Cluster:
    """The cluster as somebody who may only look."""
    return Cluster(profile("observer"))
