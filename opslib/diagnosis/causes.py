"""Why a service is down: from what was seen to findings, causes apart from consequences.

Pure functions: no request is made here, and nothing that was not seen is concluded from (unknown is not healthy).
The walk is outside in (PLATFORM.md 7.1, A1): what users get, the entry service, its backends, the stores, and what
changed anywhere shortly before.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from opslib.diagnosis.releases import Release, changed_configuration, releases, running_at, taken_back
from opslib.diagnosis.seen import Seen
from opslib.diagnosis.troubles import Kind, Trouble, last_words, newcomers, troubles
from opslib.records.change import Target
from opslib.records.finding import Finding

DOWN = 0.5  # share of failed requests from which users are 'down' rather than 'degraded' (RUNBOOK.md: P0, P1 at 5 %)
BLAMED = timedelta(minutes=30)  # a release longer than this before the failing began is not blamed for it
SKEW = timedelta(
    seconds=5
)  # between the clocks of the API and of Prometheus; a later release cannot be the cause
SHOWS = timedelta(
    minutes=3
)  # a rollout and the metric's window of a minute; before that its effect is not known
ROLLED_OUT_SINCE = "rolled-out-since-"
NEXT = {
    Kind.IMAGE: "common-issues/image-pull-backoff",
    Kind.CRASH: "common-issues/pod-crashloopbackoff",
    Kind.CONFIGURATION: "common-issues/pod-crashloopbackoff",
    Kind.MEMORY: "common-issues/high-memory-usage",
    Kind.LIVENESS: "common-issues/pod-crashloopbackoff",
}


def failed_share(seen: Seen) -> float | None:
    """The share of failed requests at the edge: the probe's, else the ingress metric's; None when neither is known."""
    if seen.known("probe") and len(seen.probe):
        return float(seen.probe["failed"].mean())
    return seen.ratio.value if seen.ratio is not None and seen.ratio.known else None


def failing_routes(seen: Seen) -> pd.DataFrame:
    """The routes of which more than 5 % were answered 5xx in the last minute, with at least 5 requests (B2's floor)."""
    routes = seen.routes
    if not seen.known("routes") or not len(routes):
        return routes.iloc[:0]
    return routes[(routes["ratio_5xx"] > 0.05) & (routes["requests"] >= 5)]


def failing_since(series: pd.DataFrame, limit: float = 0.05) -> datetime | None:
    """When the present failing began: the first sample of the last unbroken run above `limit`; None when it is fine.

    `series` is metrics.error_series (at, requests_per_second, error_ratio); samples without traffic do not count.
    """
    known = series.dropna(subset=["error_ratio"]) if len(series) else series
    if not len(known) or float(known["error_ratio"].iloc[-1]) <= limit:
        return None
    good = known.index[known["error_ratio"] <= limit]
    failing = known.loc[good[-1] :].iloc[1:] if len(good) else known
    began: datetime = failing["at"].iloc[0].to_pydatetime()
    return began


def service_down(seen: Seen) -> list[Finding]:
    """The findings of a P0 walk, causes first; [] when nothing is wrong in what was seen."""
    share = failed_share(seen)
    if not share and len(failing_routes(seen)):  # what the probe asks for is fine, other routes are not
        share = float(failing_routes(seen)["errors_5xx"].sum() / seen.routes["requests"].sum())
    found = troubles(seen)
    causes = [*_releases_to_blame(seen, found, share), *_troubles(seen, found, share), *_stores(seen, share)]
    if share and not any(f.cause for f in causes):
        causes += _saturated(seen, share)
    if share and not any(f.cause for f in causes):
        causes.append(_unexplained(seen, share))
    order = {"critical": 0, "unknown": 1, "warning": 2, "ok": 3}
    return sorted(causes, key=lambda f: (not f.cause, order[f.status]))


def _troubles(seen: Seen, found: list[Trouble], share: float | None) -> list[Finding]:
    backends = [t for t in found if t.deployment != seen.service]
    others = len(seen.deployments) - 1 if seen.known("deployments") else 0
    all_down = others > 0 and sum(t.down for t in backends) >= others
    findings = []
    for trouble in _without_common_cause(backends, all_down):
        findings.append(_from_trouble(seen, trouble, share))
    if all_down:
        findings.insert(0, _backends_down(seen, backends))
    for trouble in (t for t in found if t.deployment == seen.service):
        consequence = all_down and trouble.kind in (Kind.LIVENESS, Kind.NOT_READY, Kind.STALLED, Kind.CRASH)
        findings.append(_from_trouble(seen, trouble, share, consequence=consequence))
    return findings


def _without_common_cause(backends: list[Trouble], all_down: bool) -> list[Trouble]:
    return [] if all_down else backends


def _backends_down(seen: Seen, backends: list[Trouble]) -> Finding:
    kinds = sorted({t.kind.value for t in backends if t.down})
    down = [t.deployment for t in backends if t.down]
    return Finding(
        name="all-backends-down",
        status="critical",
        says=f"all {len(down)} backends are down ({', '.join(kinds)}); {seen.service} is not the cause",
        because=[
            f"without a ready pod: {', '.join(down)}",
            f"the liveness probe of {seen.service} asks for its backends' health: restarting or scaling it cannot help (A9)",
            *_first(backends),
        ],
        target=Target(object="deployment/" + down[0]),
        next=["bring the backends back before the gateway (E4)"],
    )


def _first(backends: list[Trouble]) -> list[str]:
    return [f"{backends[0].deployment}: {'; '.join(backends[0].because)}"] if backends else []


def _from_trouble(seen: Seen, trouble: Trouble, share: float | None, *, consequence: bool = False) -> Finding:
    says, because = trouble.says, list(trouble.because)
    release = releases(seen).get(trouble.deployment)
    stalled = trouble.ready > 0 and trouble.kind is not Kind.SCALED_TO_ZERO
    if stalled:
        says += f": degraded, not down ({trouble.ready} of {trouble.desired} pods still serve)"
    if release and trouble.kind in (Kind.IMAGE, Kind.CRASH, Kind.CONFIGURATION, Kind.MEMORY, Kind.STALLED):
        because.append(release.says)
    if trouble.kind is Kind.QUOTA:
        because += newcomers(seen)
    if trouble.kind in (Kind.CRASH, Kind.CONFIGURATION):
        because += [line for line in changed_configuration(seen, trouble.deployment) if line not in because]
        because += [line for line in last_words(seen, trouble.deployment) if line not in because]
    down = trouble.down and (trouble.deployment == seen.service or (share or 0) > 0)
    return Finding(
        name=f"{_slug(trouble.kind)}-{trouble.deployment}",
        status="critical" if down else "warning",
        says=says,
        because=because,
        target=Target(object=f"deployment/{trouble.deployment}"),
        cause=not consequence,
        since=release.at if release else None,
        next=[NEXT[trouble.kind]] if trouble.kind in NEXT else [],
    )


def _releases_to_blame(seen: Seen, found: list[Trouble], share: float | None) -> list[Finding]:
    """Releases whose pods are ready and that users' failing requests point at."""
    if not share or not seen.known("changes"):
        return []
    broken = {t.deployment for t in found}
    suspects = {
        name: release
        for name, release in releases(seen).items()
        if name not in broken and _may_have_caused(seen, release)
    }
    backends = [
        _bad_release(seen, release, hits, share)
        for name, release in suspects.items()
        if name != seen.service and (hits := _routes_hit(seen, name))
    ]
    if backends:  # some routes of some backends fail: the entry passes on what it gets
        return backends
    if fresh := _rolled_out_since(seen):
        return [fresh]
    entry = suspects.get(seen.service)
    hits = _entry_hit(seen, broken) if entry else ""
    return [_bad_release(seen, entry, hits, share)] if entry and hits else []


def _rolled_out_since(seen: Seen) -> Finding | None:
    """The entry service was rolled out again after the failing began, a moment ago: a rollback by hand, for instance."""
    release, since = releases(seen).get(seen.service), seen.failing_since
    if release is None or since is None or release.at <= since + SKEW or not len(seen.probe):
        return None
    if _may_have_caused(seen, release):
        return None
    if seen.probe["at"].max() - release.at > SHOWS:
        return None
    return Finding(
        name=f"{ROLLED_OUT_SINCE}{seen.service}",
        status="critical",
        says=f"{seen.service} was rolled out again after the failing began: its effect has yet to show",
        because=[release.says, f"requests have failed since {since:%H:%M:%S}Z"],
        target=Target(object=f"deployment/{seen.service}"),
        since=since,
        next=["run this again in a minute or two"],
    )


def _may_have_caused(seen: Seen, release: Release) -> bool:
    """Released when the failing began or not long before; without that moment the window of the changes decides.

    A rollout since then is blamed only when it brings back what ran when the failing began: a rollback taken back (G6).
    """
    since = seen.failing_since
    if since is None or since - BLAMED <= release.at <= since + SKEW:
        return True
    ran = running_at(seen, release.deployment, since + SKEW)
    return release.at > since and ran is not None and ran.after == release.after


def _entry_hit(seen: Seen, broken: set[str]) -> str:
    """Which failing requests point at the entry service itself, in words; '' when its backends explain them."""
    if not seen.known("probe") or not len(seen.probe):
        return f"{seen.service} was released shortly before"
    failed = seen.probe[seen.probe["failed"]]
    own = failed[failed["status"] == 500]
    if len(own):
        return f"{len(own)} of {len(seen.probe)} probes were answered 500 by {seen.service} itself"
    return "" if broken - {seen.service} else f"{len(failed)} of {len(seen.probe)} probes failed"


def _routes_hit(seen: Seen, name: str) -> str:
    """The failing routes that this backend answers for, while others work; '' when there are none.

    A backend is recognised by its routes: reservation-service answers for /api/v1/reservations.
    """
    failed: list[str] = (
        list(seen.probe[seen.probe["failed"]]["path"]) if seen.known("probe") and len(seen.probe) else []
    )
    asked = set(seen.probe["path"]) if seen.known("probe") and len(seen.probe) else set()
    failing = {*map(str, failed), *map(str, failing_routes(seen).get("path", []))}
    fine = sorted(path for path in asked if path not in failing)
    stem = name.removesuffix("-service")
    mine = sorted(path for path in failing if stem in path)
    if not mine or not fine:  # everything fails: the entry is nearer
        return ""
    return f"only {', '.join(mine)} fails; {', '.join(fine)} is answered"


def _bad_release(seen: Seen, release: Release, hits: str, share: float) -> Finding:
    ready = 0
    if seen.known("pods"):
        ready = int((seen.pods.loc[seen.pods["deployment"] == release.deployment, "ready"]).sum())
    began = f"{seen.failing_since:%H:%M:%S}Z" if seen.failing_since else ""
    return Finding(
        name=f"bad-release-{release.deployment}",
        status="critical" if share >= DOWN else "warning",
        says=f"the release of {release.deployment} to {release.version} answers with errors"
        + (f" since {began}" if began else ""),
        because=[
            hits,
            release.says,
            f"its {ready} pods are ready: the probes do not see it",
            *([again] if (again := taken_back(seen, release)) else []),
            *last_words(seen, release.deployment),
        ],
        target=Target(object=f"deployment/{release.deployment}"),
        since=seen.failing_since or release.at,
        next=["post-incident/post-mortem"],
    )


def _stores(seen: Seen, share: float | None) -> list[Finding]:
    findings = []
    for name, what in (("connections", "PostgreSQL"), ("cache", "Redis")):
        why = str(getattr(seen, name).attrs.get("unknown", ""))
        if why and why not in ("not read", "not installed"):
            findings.append(
                Finding(
                    name=f"{what.lower()}-unreachable",
                    status="unknown",
                    says=f"{what} does not answer from here",
                    because=[why],
                    cause=bool(share),
                    next=["incident-response/p1-high-error-rate"],
                )
            )
    return findings


def _saturated(seen: Seen, share: float) -> list[Finding]:
    """The entry service at its autoscaler's maximum while requests fail and nothing else explains it (A4, G7)."""
    if not seen.known("hpas"):
        return []
    full = seen.hpas[(seen.hpas["deployment"] == seen.service) & (seen.hpas["current"] >= seen.hpas["max"])]
    if not len(full):
        return []
    row = full.iloc[0]
    return [
        Finding(
            name=f"saturated-{seen.service}",
            status="critical" if share >= DOWN else "warning",
            says=f"{seen.service} is saturated: {share:.0%} of the requests fail with {row['current']} of at most {row['max']} replicas",
            because=[
                f"its autoscaler {row['hpa']} keeps {row['min']} to {row['max']} replicas and may not add one",
                f"its metrics: {row['metrics']}",
            ],
            target=Target(object=f"deployment/{seen.service}"),
            next=["performance-tuning/kubernetes"],
        )
    ]


def _unexplained(seen: Seen, share: float) -> Finding:
    unknown = [f"{name} was not seen: {why}" for name, why in seen.unknown().items()]
    return Finding(
        name="unexplained",
        status="unknown",
        says=f"{share:.0%} of the requests fail and nothing that was seen explains it",
        because=unknown or ["pods, rollouts, quota, nodes and stores look right"],
        target=Target(object=f"deployment/{seen.service}"),
        next=["incident-response/p1-high-error-rate"],
    )


def _slug(kind: Kind) -> str:
    return kind.value.replace(" ", "-")
