"""A real Prometheus that scrapes the platform process, with a healthy past filled in before it starts.

The program is Debian's (no wheel has it); where it cannot be had the sandbox does without, and says so.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import yaml

from opslib.sandbox.processes import free_port, remove
from opslib.sandbox.services import debian
from opslib.sandbox.services.base import Service
from opslib.sandbox.services.prometheus_rules import SCRAPE, rules
from opslib.sandbox.state import SandboxError, write_atomic

JOB, INSTANCE = "pss-nano-sandbox", "platform"
HOURS = 3.0  # of healthy history; what the plots of a notebook show
RETENTION = "2d"
REMAKE = timedelta(hours=1)  # a past that ended longer ago is made anew
GAP = timedelta(seconds=10)  # a shorter one needs no filling: it is two scrapes
# Small: it keeps some hundred series, and shares the machine with the rest of the sandbox.
LEAN = {"GOMAXPROCS": "1", "GOGC": "50"}


def healthy_history(now: datetime, hours: float) -> str:
    """The platform's healthy past as OpenMetrics text, with the labels that scraping gives."""
    from opslib.sandbox import workloads

    made: Callable[[datetime, float], str] = workloads.healthy_history
    return made(now, hours)


class Prometheus(Service):
    """The sandbox's Prometheus: folder prometheus/ with prometheus.yml, rules.yml, targets.json, data/."""

    name: ClassVar[str] = "prometheus"
    processes: ClassVar[tuple[str, ...]] = ("prometheus",)

    @functools.cached_property
    def programs(self) -> dict[str, Path]:
        """prometheus and promtool. Raises debian.LeftOutError when this machine has no way to get them."""
        return debian.programs("prometheus", ("prometheus", "promtool"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        self.aim()
        if self.running():
            if not self.trouble():
                return
            self.abandon()
        if not self.data.exists():
            self.backfill()
        self._run()

    def stop(self) -> None:
        self.supervisor.stop(self.name)

    def trouble(self) -> str:
        if not self.running():
            return "not running"
        return "" if self._ready(self.port or 0) else "does not answer"

    def save(self, target: Path) -> None:
        """Nothing: its data is not kept but made again, so that no fault of the past remains in it."""

    def restore(self, source: Path) -> None:  # noqa: ARG002
        """Throw its data away and start with a healthy past that ends now."""
        self.discard()
        self.start()

    def discard(self) -> None:
        """End it and throw its data away."""
        self.supervisor.stop(self.name, how=signal.SIGKILL)
        remove(self.data)

    def aim(self) -> None:
        """Point it at the platform process' exporter; it notices by itself when that has moved."""
        platform = self.sandbox.address("platform") or {}
        exporter = urlsplit(str(platform.get("exporter", "")))
        targets = [{"targets": [exporter.netloc], "labels": {}}] if exporter.netloc else []
        write_atomic(self.folder / "targets.json", json.dumps(targets) + "\n")

    def backfill(self) -> None:
        """Make its data folder, with blocks of healthy history that end now.

        The long past is made once and linked from then on; only what has passed since is made anew.
        """
        past, now = self.folder / "past", datetime.now(UTC)
        made = datetime.fromtimestamp(past.stat().st_mtime, UTC) if past.exists() else None
        if made is None or not timedelta(0) <= now - made < REMAKE:
            remove(past)
            fresh = self.folder / "past.part"
            remove(fresh)
            self._blocks(fresh, now, timedelta(hours=HOURS))
            os.utime(fresh, (now.timestamp(), now.timestamp()))
            fresh.replace(past)
            made = now
        part = self.folder / "data.part"
        remove(part)
        if now - made > GAP:
            self._blocks(part, now, now - made - timedelta(seconds=1))
        part.mkdir(exist_ok=True)
        for block in past.iterdir():
            # Blocks are never written to again: a link is as good as a copy.
            shutil.copytree(block, part / block.name, copy_function=os.link)
        part.replace(self.data)

    def _blocks(self, target: Path, end: datetime, span: timedelta) -> None:
        text = self.folder / "history.txt"
        write_atomic(text, healthy_history(end, span.total_seconds() / 3600))
        argv = [str(self.programs["promtool"]), "tsdb", "create-blocks-from", "openmetrics", "-q"]
        done = subprocess.run([*argv, str(text), str(target)], capture_output=True, text=True, check=False)
        if done.returncode:
            remove(target)
            raise SandboxError(
                f"promtool refused the healthy history: {done.stderr.strip()[-400:]}",
                next=f"look at {text}, and at healthy_history of the sandbox's exporter.",
            )
        text.unlink()

    def _run(self, attempts: int = 3) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "prometheus.yml", self._configuration())
        write_atomic(self.folder / "rules.yml", rules(self.supervisor.record.speed))
        for left in reversed(range(attempts)):
            port = free_port(self.port)
            write_atomic(
                self.folder / "address.json",
                json.dumps({"host": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}"}) + "\n",
            )
            argv = [
                str(self.programs["prometheus"]),
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.data}",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ]
            try:
                ready = functools.partial(self._ready, port)
                self.supervisor.start(self.name, argv, ready=ready, env={**LEAN, "TZ": "UTC"})
                return
            except SandboxError as error:
                # A free port may be taken between the look and the use.
                if left == 0 or "already in use" not in str(error):
                    raise

    def _ready(self, port: int) -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _configuration(self) -> str:
        document = {
            "global": {
                "scrape_interval": f"{SCRAPE:g}s",
                "scrape_timeout": f"{SCRAPE:g}s",
                "evaluation_interval": "1s",
                "external_labels": {"cluster": "pss-nano", "environment": "production"},
            },
            "rule_files": [str(self.folder / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": JOB,
                    # The exporter's own namespace, pod and service labels are those of what it reports on.
                    "honor_labels": True,
                    "file_sd_configs": [
                        {"files": [str(self.folder / "targets.json")], "refresh_interval": "2s"}
                    ],
                    "relabel_configs": [{"target_label": "instance", "replacement": INSTANCE}],
                }
            ],
        }
        return yaml.safe_dump(document, sort_keys=False)
