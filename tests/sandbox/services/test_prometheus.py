"""The sandbox's Prometheus scrapes the platform, has a past, and evaluates the platform's rules."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests

from opslib.sandbox.processes import Supervisor
from opslib.sandbox.services import debian, prometheus
from opslib.sandbox.services.prometheus import Prometheus
from opslib.sandbox.services.prometheus_rules import RULES
from opslib.sandbox.state import SandboxError, write_atomic

from .conftest import supervised

EDGE = "nginx_ingress_controller_requests"


class Exporter(http.server.BaseHTTPRequestHandler):
    """A small exporter: half of its requests fail."""

    count = 10_000

    def do_GET(self):
        type(self).count += 50
        self.send_response(200)
        self.end_headers()
        text = f"# TYPE {EDGE} counter\n"
        for status in (200, 502):
            text += f'{EDGE}{{ingress="api-gateway",namespace="pss-nano",status="{status}"}} {self.count}\n'
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Be quiet."""


def past(now: datetime, hours: float) -> str:
    end = int(now.timestamp())
    labels = (
        'ingress="api-gateway",namespace="pss-nano",status="200",job="pss-nano-sandbox",instance="platform"'
    )
    steps = int(hours * 240)
    lines = [f"{EDGE}{{{labels}}} {n * 3} {end - (steps - n) * 15}" for n in range(steps)]
    return "\n".join([f"# TYPE {EDGE} unknown", *lines, "# EOF"]) + "\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory, cache) -> Iterator[Prometheus]:
    patch = pytest.MonkeyPatch()
    patch.setattr(prometheus, "healthy_history", past)
    for supervisor in supervised(tmp_path_factory.mktemp("prometheus") / "one", speed=60):
        yield from running(supervisor)
    patch.undo()


def running(supervisor: Supervisor) -> Iterator[Prometheus]:
    made = Prometheus(supervisor)
    try:
        _ = made.programs
    except debian.LeftOutError as error:
        pytest.skip(str(error))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = {"exporter": f"http://127.0.0.1:{server.server_port}/metrics"}
    write_atomic(supervisor.sandbox.path / "platform/address.json", json.dumps(address))
    made.start()
    yield made
    server.shutdown()
    server.server_close()


def ask(service: Prometheus, query: str) -> list[dict]:
    answer = requests.get(f"{service.url}/api/v1/query", params={"query": query}, timeout=5).json()
    return answer["data"]["result"]


def until(condition, seconds: float = 30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("never happened")


def test_it_scrapes_the_platform_under_its_own_name_and_has_a_past(service):
    up = until(lambda: ask(service, "up == 1"))
    assert up[0]["metric"]["job"], up[0]["metric"]["instance"] == ("pss-nano-sandbox", "platform")
    old = ask(service, f'{EDGE}{{status="200"}} offset 1h')
    assert len(old) == 1
    now = ask(service, f'{EDGE}{{status="200"}}')
    # Past and present are one series: rates and plots run through.
    assert old[0]["metric"] == now[0]["metric"]


def test_every_rule_evaluates_and_the_error_rate_fires_while_half_of_the_requests_fail(service):
    def rules() -> dict[str, dict]:
        groups = requests.get(f"{service.url}/api/v1/rules", timeout=5).json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    until(lambda: rules()["CriticalErrorRate"]["state"] == "firing")
    found = rules()
    assert set(found) == {rule.alert for rule in RULES}
    assert {name: rule.get("lastError") for name, rule in found.items() if rule["health"] != "ok"} == {}
    assert found["Watchdog"]["state"] == "firing"
    assert found["TargetDown"]["state"] == "inactive"
    assert found["CriticalErrorRate"]["annotations"]["runbook"] == "incident-response/p0-service-down"


def test_a_restore_leaves_no_error_of_before(service, tmp_path):
    until(lambda: ask(service, f'{EDGE}{{status="502"}}'))
    Exporter.count = 0
    port = service.port
    service.restore(tmp_path / "nothing")
    assert service.port == port
    assert ask(service, f'count_over_time({EDGE}{{status="502"}}[1h] offset 3s)') == []
    assert len(ask(service, f'{EDGE}{{status="200"}} offset 30m')) == 1


def test_it_follows_an_exporter_that_moved(service):
    until(lambda: ask(service, "up == 1"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = {"exporter": f"http://127.0.0.1:{server.server_port}/metrics"}
    write_atomic(service.sandbox.path / "platform/address.json", json.dumps(address))
    service.aim()

    def target() -> bool:
        targets = requests.get(f"{service.url}/api/v1/targets", timeout=5).json()["data"]["activeTargets"]
        return [t["scrapeUrl"] for t in targets] == [address["exporter"]] and targets[0]["health"] == "up"

    try:
        until(target)
    finally:
        server.shutdown()
        server.server_close()


def test_a_history_that_is_none_is_reported(supervisor, monkeypatch):
    made = Prometheus(supervisor)
    try:
        _ = made.programs
    except debian.LeftOutError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(prometheus, "healthy_history", lambda *_: "not metrics\n")
    with pytest.raises(SandboxError, match="promtool refused"):
        made.backfill()
    assert not made.data.exists()


def test_a_program_that_cannot_be_had_is_left_out_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    with pytest.raises(debian.LeftOutError, match="not on PATH and this is not Debian"):
        debian.programs("prometheus", ("prometheus", "promtool"))
