"""The healthy past: valid, monotone, and below where live counters start."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict

from opslib.sandbox.workloads import healthy_history, history
from opslib.sandbox.workloads.gateway_metrics import GatewayMetrics
from opslib.sandbox.workloads.metrics import Counter, Histogram, labels, restore, save

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
LINE = re.compile(r"^(\w+)\{(.*)\} (\S+) (\S+)$")


def test_text_is_openmetrics_with_the_scrapes_own_labels_and_counters_only_rise():
    lines = healthy_history(NOW, 0.5).splitlines()
    assert lines[-1] == "# EOF"
    last: dict[str, tuple[float, float]] = {}
    families: list[str] = []
    for line in lines[:-1]:
        if line.startswith("# TYPE"):
            families.append(line.split()[2])
            continue
        name, pairs, value, when = LINE.match(line).groups()
        assert 'job="pss-nano-sandbox"' in pairs and 'instance="platform"' in pairs
        assert name.startswith(families[-1])
        key = f"{name}{{{pairs}}}"
        before = last.get(key, (-1.0, 0.0))
        assert float(when) > before[1] and float(value) >= (0 if name.startswith("kube") else before[0])
        last[key] = (float(value), float(when))
    assert len(families) == len(set(families))
    assert all(when <= NOW.timestamp() for _, when in last.values())


def test_live_counters_start_at_or_above_the_end_of_the_past():
    requests, duration = Counter("nginx_ingress_controller_requests", ""), Histogram("x", "", (0.1, 1.0))
    gateway = GatewayMetrics()
    history.take_over((requests, duration), gateway.families, NOW.timestamp() + 1)
    past: dict[str, float] = defaultdict(float)
    for line in healthy_history(NOW, 0.1).splitlines():
        found = LINE.match(line)
        if found and found[1] in ("nginx_ingress_controller_requests", "http_requests_total"):
            pairs = found[2].replace('instance="platform",', "").replace('job="pss-nano-sandbox",', "")
            past[f"{found[1]}{{{pairs}}}"] = float(found[3])
    live = {}
    for line in [*requests.lines(), *gateway.requests.lines()]:
        if not line.startswith("#"):
            key, _, value = line.rpartition(" ")
            live[key] = float(value)
    assert set(past) == set(live)
    assert all(live[key] >= past[key] > 0 for key in past)


def test_counters_survive_a_restart_of_the_process(tmp_path):
    one, two = Counter("c", "text"), Histogram("h", "text", (0.1, 1.0))
    one.add(labels(a="1"), 5)
    two.observe(labels(a="1"), 0.5)
    save(tmp_path / "c.json", (one, two))
    again, other = Counter("c", "text"), Histogram("h", "text", (0.1, 1.0))
    restore(tmp_path / "c.json", (again, other))
    assert list(again.lines()) == list(one.lines()) and list(other.lines()) == list(two.lines())
    (tmp_path / "c.json").write_text("{")
    restore(tmp_path / "c.json", (again, other))
    assert again.values == one.values


def test_histogram_buckets_are_cumulative():
    h = Histogram("h", "text", (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 3.0):
        h.observe((), seconds)
    assert [line.rpartition(" ")[2] for line in h.rows(())] == ["2", "3", "4", "3.65", "4"]
