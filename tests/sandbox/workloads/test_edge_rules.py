"""How Ingress objects are merged into the edge's table."""

from __future__ import annotations

from opslib.sandbox.workloads.edge import build_table, is_ours
from opslib.sandbox.workloads.kube_state import quantity


def ingress(name: str, created: str, paths: list[tuple[str, str, str]], **more: object) -> dict:
    http = {
        "paths": [
            {"path": p, "pathType": kind, "backend": {"service": {"name": to, "port": {"number": 80}}}}
            for p, kind, to in paths
        ]
    }
    meta = {
        "name": name,
        "namespace": "n",
        "creationTimestamp": created,
        "annotations": more.pop("notes", {}),
    }
    return {"metadata": meta, "spec": {"rules": [{"host": "a.example", "http": http}], **more}}


def target(table: dict, path: str) -> str | None:
    return next((rule.service for rule in table["a.example"] if rule.matches(path)), None)


def test_oldest_object_keeps_a_path_that_two_claim():
    old = ingress("old", "2026-01-01T00:00:00Z", [("/", "Prefix", "first")])
    new = ingress("new", "2026-02-01T00:00:00Z", [("/", "Prefix", "second")])
    assert target(build_table([new, old]), "/x") == "first"


def test_exact_wins_over_prefix_and_longer_over_shorter():
    one = ingress(
        "one",
        "2026-01-01T00:00:00Z",
        [("/", "Prefix", "root"), ("/api", "Prefix", "api"), ("/api/v1", "Exact", "exact")],
    )
    table = build_table([one])
    assert [target(table, p) for p in ("/", "/api", "/api/x", "/api/v1", "/apix")] == [
        "root",
        "api",
        "api",
        "exact",
        "root",
    ]


def test_prefix_matches_whole_path_elements_only():
    table = build_table([ingress("one", "2026-01-01T00:00:00Z", [("/api", "Prefix", "api")])])
    assert target(table, "/apix") is None


def test_other_classes_are_not_served():
    foreign = ingress("x", "2026-01-01T00:00:00Z", [("/", "Prefix", "x")], ingressClassName="istio")
    legacy = ingress("y", "2026-01-01T00:00:00Z", [], notes={"kubernetes.io/ingress.class": "nginx"})
    assert not is_ours(foreign) and is_ours(legacy)
    assert build_table([foreign]) == {}


def test_default_backend_of_an_ingress_serves_every_host():
    plain = ingress("one", "2026-01-01T00:00:00Z", [])
    plain["spec"]["defaultBackend"] = {"service": {"name": "page", "port": {"name": "http"}}}
    assert build_table([plain])[""][0].service == "page"


def test_quantities():
    assert [quantity(q) for q in ("500m", "1Gi", "2", "64Mi", "1k")] == [0.5, 2**30, 2.0, 64 * 2**20, 1000.0]
