"""What of a platform can be reached, as whom, and what that identity may do for each runbook.

Everything is asked at once, each with a deadline; reads and access reviews only.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib.errors import NotInstalled, OpslibError
from opslib.settings import Profile

if TYPE_CHECKING:
    from opslib.cluster.cluster import Cluster

OK = "ok"
FAILED = "failed"
PARTLY = "partly"
UNSET = "not configured"
DEADLINE = 12.0  # seconds for all checks together; a source that is dead costs no more


@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at. `required` things decide the exit status."""

    name: str
    status: str  # ok, partly, failed, not configured
    says: str
    next: str = ""
    required: bool = True

    @property
    def good(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.status != FAILED or not self.required


Check = Callable[[], Finding]


def examine(profile: Profile) -> list[Finding]:
    """Look at everything the profile names, and at what each runbook needs; in this order."""
    from opslib.cluster import Cluster

    cluster = Cluster(profile)
    checks: list[tuple[str, Check]] = [
        ("evidence", lambda: _evidence(profile)),
        ("kernel", _kernel),
        ("kubernetes", lambda: _kubernetes(profile, cluster)),
        ("identity", lambda: _identity(cluster)),
        ("namespace", lambda: _namespace(cluster)),
        ("ingress", lambda: _ingress(profile, cluster)),
        ("prometheus", lambda: _prometheus(profile)),
        ("postgresql", lambda: _postgresql(profile)),
        ("redis", lambda: _redis(profile)),
        *((f"may: {name}", check) for name, check in _permissions(cluster)),
    ]
    with contextlib.suppress(OpslibError):
        _ = cluster.name  # reads the kubeconfig and imports its client, which no deadline should pay for
    pool = ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="doctor")
    futures = [(name, pool.submit(_safely, name, check)) for name, check in checks]
    found = []
    for name, future in futures:
        try:
            found.append(future.result(timeout=DEADLINE))
        except Late:
            found.append(
                Finding(
                    name,
                    FAILED,
                    f"no answer within {DEADLINE:g} s",
                    "is there a firewall or a proxy between?",
                )
            )
    pool.shutdown(wait=False, cancel_futures=True)
    return _once(found)


def _once(found: list[Finding]) -> list[Finding]:
    """The findings with a failure that several share told once."""
    seen: dict[str, str] = {}
    told = []
    for each in found:
        first = seen.setdefault(each.says, each.name) if each.status == FAILED else each.name
        told.append(each if first == each.name else replace(each, says=f"as {first}", next=""))
    return told


def _safely(name: str, check: Check) -> Finding:
    try:
        return check()
    except NotInstalled as error:
        return Finding(name, UNSET, f"not installed: {error.what}", required=False)
    except OpslibError as error:
        where = f" [{error.target}]" if error.target else ""
        return Finding(
            name, FAILED, f"{error.what}{where}", error.next or _NEXT.get(name, "ask the platform's owner")
        )


_NEXT = {
    "kubernetes": "check `kubectl version` and the context; `opslib sandbox up` gives a platform of your own",
    "identity": "log in again, or name another context in the profile",
    "namespace": "name another namespace in the profile, or ask for the observer Role",
    "ingress": "set OPSLIB_EDGE to the ingress' address when its status does not tell it",
    "prometheus": "check PROMETHEUS_URL, or forward a port: kubectl port-forward -n monitoring svc/prometheus 9090",
    "postgresql": "check PGSERVICE or PGHOST, PGUSER and the password file",
    "redis": "check REDIS_URL and REDISCLI_AUTH",
}


def _evidence(profile: Profile) -> Finding:
    root = Path(profile.evidence).absolute()
    # The nearest folder that exists must take new ones; nothing is left behind by asking.
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        return Finding(
            "evidence", FAILED, f"{root}: {error.strerror or error}", "choose another folder with --evidence"
        )
    return Finding("evidence", OK, f"{root} can be written")


def _kernel() -> Finding:
    from importlib.util import find_spec

    missing = [name for name in ("ipykernel", "papermill", "nbconvert") if find_spec(name) is None]
    if missing:
        return Finding("kernel", FAILED, f"not installed: {', '.join(missing)}", "install opslib again")
    return Finding("kernel", OK, "runbooks can be run")


def _kubernetes(profile: Profile, cluster: Cluster) -> Finding:
    version, uid = cluster.version(), cluster.cluster_uid()
    if profile.cluster_uid and profile.cluster_uid != uid:
        return Finding(
            "kubernetes",
            FAILED,
            f"{cluster.name} is {uid}, not the profile's {profile.cluster_uid}",
            "choose the context of the cluster you mean",
        )
    guard = (
        ""
        if profile.cluster_uid
        else "; set cluster_uid in the profile so that no other cluster is taken for it"
    )
    return Finding("kubernetes", OK, f"{cluster.name}, {version}, uid {uid}{guard}")


def _identity(cluster: Cluster) -> Finding:
    who = cluster.identity()
    groups = [group for group in who.groups if not group.startswith("system:")]
    return Finding("identity", OK, who.user + (f" ({', '.join(groups)})" if groups else ""))


def _namespace(cluster: Cluster) -> Finding:
    deployments = cluster.deployments()
    says = f"{cluster.namespace}: {len(deployments)} deployments"
    if not len(deployments):
        return Finding("namespace", FAILED, says, _NEXT["namespace"])
    return Finding("namespace", OK, says)


def _ingress(profile: Profile, cluster: Cluster) -> Finding:
    from opslib.edge import Edge

    hosts = [host for host in dict.fromkeys(cluster.ingresses()["host"]) if host]
    if not hosts:
        return Finding("ingress", FAILED, "no Ingress names a host in this namespace", _NEXT["ingress"])
    edge = Edge(profile, cluster)
    seen = edge.probe(hosts[0], requests=1)
    where = seen.attrs.get("address", "")
    if int(seen["status"].iloc[0]) == 0:
        return Finding("ingress", FAILED, f"{hosts[0]} at {where}: {seen['error'].iloc[0]}", _NEXT["ingress"])
    return Finding("ingress", OK, f"{hosts[0]} answers {seen['status'].iloc[0]} at {where}")


def _prometheus(profile: Profile) -> Finding:
    from opslib.metrics import Metrics

    if not profile.prometheus:
        return Finding(
            "prometheus", UNSET, "its measurements will be unknown", "set PROMETHEUS_URL", required=False
        )
    targets = Metrics(profile).targets()
    up = int((targets["health"] == "up").sum())
    return Finding("prometheus", OK, f"{profile.prometheus}: {up} of {len(targets)} targets up")


def _postgresql(profile: Profile) -> Finding:
    from opslib.database import Database

    if not (profile.pgservice or any(os.environ.get(name) for name in ("PGSERVICE", "PGHOST", "PGHOSTADDR"))):
        return Finding(
            "postgresql", UNSET, "its measurements will be unknown", "set PGSERVICE", required=False
        )
    row = Database(profile).reachable().iloc[0]
    return Finding("postgresql", OK, f"{row['server']} as {row['user']}, read-only transactions")


def _redis(profile: Profile) -> Finding:
    from opslib.cache import Cache

    if not profile.redis:
        return Finding("redis", UNSET, "its measurements will be unknown", "set REDIS_URL", required=False)
    row = Cache(profile).reachable().iloc[0]
    return Finding("redis", OK, f"{row['server']}, version {row['version']}, {row['role']}")


def _permissions(cluster: Cluster) -> Iterable[tuple[str, Check]]:
    """One check a runbook: what it declares to read is required, what it may change is only said."""
    from opslib import runbooks

    for book in runbooks.every():
        if isinstance(book, OpslibError):
            yield book.target, partial(Finding, f"may: {book.target}", FAILED, book.what, "opslib lint")
        else:
            yield book.name, partial(_may, cluster, book)


def _may(cluster: Cluster, book: Any) -> Finding:
    name = f"may: {book.name}"
    reads, changes = (_refused(cluster, book.front.access(what)) for what in ("reads", "changes"))
    if reads:
        return Finding(
            name, FAILED, f"may not {', '.join(reads)}", "ask for the observer Role: `opslib roles` prints it"
        )
    if changes:
        says = f"may observe; may not {', '.join(changes)}"
        return Finding(
            name, PARTLY, says, "ask for the responder Role (`opslib roles`) to apply changes", required=False
        )
    asked = bool(book.front.access("changes"))
    return Finding(
        name,
        OK,
        "may observe and apply" if asked else "may observe; what it changes is asked before each change",
    )


def _refused(cluster: Cluster, needed: Iterable[Any]) -> list[str]:
    from opslib.cluster import access
    from opslib.runbooks.roles import place_of

    def wish(each: Any) -> access.Wish:
        where = place_of(each, cluster.namespace)
        return access.Wish(each.verb, each.group, each.resource, where, subresource=each.subresource)

    return access.refused(cluster.api, [wish(each) for each in needed])
