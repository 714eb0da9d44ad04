"""Everything that is not one of the 17 services: stores, monitoring, controllers, web servers, batch work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from opslib.sandbox.workloads import node, shell
from opslib.sandbox.workloads.protocol import Container, ExecResult, Exit, HttpAnswer, Manifest, Usage
from opslib.sandbox.workloads.stores import Stores

MIB = 1024 * 1024
ConfigMaps = Callable[[str, str], Manifest | None]  # namespace, name
# name of the repository's last part -> (CPU millicores, MiB, first log line)
SIZES: dict[str, tuple[int, int, str]] = {
    "redis": (35, 410, "* Ready to accept connections tcp"),
    "redis-sentinel": (8, 24, "# +monitor master mymaster redis-node-0 6379 quorum 2"),
    "redis-exporter": (5, 22, 'level=info msg="Providing metrics at :9121/metrics"'),
    "rabbitmq": (60, 480, "Server startup complete; 5 plugins started."),
    "controller": (45, 210, 'I1122 "Starting NGINX Ingress controller"'),
    "prometheus": (120, 540, 'level=info msg="Server is ready to receive web requests."'),
    "defaultbackend-amd64": (2, 6, "default backend is listening on port 8080"),
    "fare-recompute": (40, 3100, "fare-recompute: 0 of 184320 fare combinations priced"),
}


class Daemon:
    """A program that starts, listens on the ports its container declares, and answers 200 on all of them."""

    def __init__(self, image: str, stores: Stores) -> None:
        self.name = image.rpartition(":")[0].rpartition("/")[2] or image
        self._stores = stores

    def start(self, c: Container) -> Exit | None:
        c.log(SIZES.get(self.name, (0, 0, f"{self.name} started"))[2])
        return None

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        del method, path, headers
        if node.booting(c) or port not in ports(c):
            return None
        if self.name == "redis" and not self._stores.up("redis"):
            return None  # the sandbox's Redis is the one behind these pods
        return node.answer(200, "ok\n", 0.002)

    def usage(self, c: Container) -> Usage:
        cpu, memory, _ = SIZES.get(self.name, (6, 38, ""))
        return Usage(cpu + node.steady(c, 0, 4), (memory + node.steady(c, 0, max(1, memory // 20))) * MIB)

    async def exec(self, c: Container, argv: list[str], stdin: bytes | None) -> ExecResult:
        return shell.run(c, argv, stdin, lambda path, port: self.http(c, "GET", path, port, {}))


class WebServer(Daemon):
    """nginx that serves what its ConfigMaps say: a status from `return NNN`, a page from a mounted file."""

    def __init__(self, image: str, stores: Stores, config_maps: ConfigMaps) -> None:
        super().__init__(image, stores)
        self._config_maps = config_maps

    def http(
        self, c: Container, method: str, path: str, port: int, headers: Mapping[str, str]
    ) -> HttpAnswer | None:
        del method, headers
        if node.booting(c) or port not in ports(c):
            return None
        files = self._files(c)
        config = "\n".join(text for name, text in files.items() if name.endswith(".conf"))
        page = next((text for name, text in files.items() if name.endswith((".html", ".json"))), "")
        status = 200
        # nginx's order matters little here: a health location answers for itself, all else gets the page
        healthy = re.search(r"location\s+=?\s*(/[\w/-]*(?:health|ready)[\w/-]*)", config)
        if not (healthy and path.startswith(healthy.group(1))):
            codes = [int(found) for found in re.findall(r"\b(?:return|error_page)\s+(\d{3})", config)]
            status = next((code for code in codes if code >= 400), 200)
        extra = dict(re.findall(r'add_header\s+([\w-]+)\s+"([^"]*)"', config)) if status >= 400 else {}
        kind = "text/html" if page.lstrip().startswith("<") else "text/plain"
        return HttpAnswer(status, page or "<h1>Welcome to nginx!</h1>\n", 0.001, kind, tuple(extra.items()))

    def _files(self, c: Container) -> dict[str, str]:
        """Path in the container -> content, of the ConfigMap volumes that are mounted."""
        volumes = {
            volume["name"]: volume["configMap"]["name"]
            for volume in c.pod["spec"].get("volumes", [])
            if "configMap" in volume
        }
        found = {}
        for mount in c.spec.get("volumeMounts", []):
            source = self._config_maps(c.pod["metadata"]["namespace"], volumes.get(mount["name"], ""))
            for key, text in ((source or {}).get("data") or {}).items():
                if mount.get("subPath", key) == key:
                    path = mount["mountPath"] if mount.get("subPath") else f"{mount['mountPath']}/{key}"
                    found[path] = text
        return found


class OneShot(Daemon):
    """busybox: runs its command and ends; sleeps as long as it is told to."""

    def start(self, c: Container) -> Exit | None:
        argv = [*c.spec.get("command", []), *c.spec.get("args", [])]
        done = shell.run(c, argv, None, lambda _path, _port: None) if argv else ExecResult(0)
        words = " ".join(argv).split()
        if "sleep" in words[:-1]:
            wanted = words[words.index("sleep") + 1].rstrip(";")
            if not wanted.isdigit():
                return None
            return Exit(float(wanted), 0, "Completed")
        text = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        return Exit(0.5, done.exit_code, "Completed" if done.exit_code == 0 else "Error", text)


def ports(c: Container) -> set[int]:
    """The ports that the container declares."""
    return {int(port["containerPort"]) for port in c.spec.get("ports", [])}
