"""What the kubelet asks about images: can it be pulled, and what program is in it."""

from __future__ import annotations

from opslib.sandbox.inventory.names import GATEWAY
from opslib.sandbox.workloads import catalogue
from opslib.sandbox.workloads.backend import Backend
from opslib.sandbox.workloads.gateway import Gateway
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.infra import ConfigMaps, Daemon, OneShot, WebServer
from opslib.sandbox.workloads.protocol import Manifest, Pull, Workload
from opslib.sandbox.workloads.stores import Stores

PULL_SECONDS = 1.8  # platform seconds for an image that is there
MISS_SECONDS = 0.6  # platform seconds until the registry has said no


class Registry:
    """The images of the sandbox (protocol.Images). Programs are shared: one a reference and container name."""

    def __init__(self, stores: Stores, metrics: GatewayMetrics, config_maps: ConfigMaps) -> None:
        self._stores = stores
        self._metrics = metrics
        self._config_maps = config_maps
        self._programs: dict[tuple[str, str], Workload] = {}

    def reset(self) -> None:
        """Forget what running programs remember; containers that are launched from now on start afresh."""
        self._programs.clear()
        self._stores.forget()

    def pull(self, ref: str, pod: Manifest) -> Pull:
        del pod  # no image of this platform is private to a pod
        if not catalogue.exists(ref):
            return Pull(ok=False, message=catalogue.pull_error(ref), seconds=MISS_SECONDS)
        return Pull(ok=True, seconds=PULL_SECONDS, digest=catalogue.digest(ref))

    def workload(self, ref: str, container: str) -> Workload:
        """The program behind a reference. Raises KeyError for one that cannot be pulled."""
        if not catalogue.exists(ref):
            raise KeyError(f"image {ref} is not in the sandbox's registry")
        key = (catalogue.normalise(ref), container)
        if key not in self._programs:
            self._programs[key] = self._make(key[0])
        return self._programs[key]

    def _make(self, full: str) -> Workload:
        build = catalogue.build(full)
        if build is not None:
            return Gateway(build, self._metrics) if build.service == GATEWAY else Backend(build, self._stores)
        repository = full.rpartition(":")[0]
        if repository.endswith(("/nginx", "/nginx-unprivileged", "/maintenance-page")):
            return WebServer(full, self._stores, self._config_maps)
        if repository.endswith("/busybox"):
            return OneShot(full, self._stores)
        return Daemon(full, self._stores)
