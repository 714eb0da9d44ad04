"""One change at a time on a target: a Lease in the target's namespace, renewed while it is held.

Source: the client-go leader election record (coordination.k8s.io/v1). Times are compared on the server's clock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from opslib.cluster.client import Conflict
from opslib.cluster.frames import parse_time
from opslib.cluster.kinds import KINDS
from opslib.errors import LeaseHeld, NotFound, OpslibError, SourceError

if TYPE_CHECKING:
    from opslib.cluster.client import Api

Json = Any
SECONDS = 60  # how long a lease stands without being renewed
RENEW_EVERY = 15.0


class Held:
    """A lease that is held; `lost` says why it no longer is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lost = ""


@contextmanager
def lease(api: Api, namespace: str, name: str, holder: str) -> Iterator[Held]:
    """Hold one lease, renewing it in the background. Raises LeaseHeld, which names the holder and since when."""
    path, item = _take(api, namespace, name, holder)
    held, stop = Held(name), threading.Event()

    def keep() -> None:
        nonlocal item
        while not stop.wait(RENEW_EVERY):
            try:
                _, now = api.get_with_time(path)
                item = api.put(path, _with(item, renewTime=_micro(now)))
            except Conflict:
                held.lost = "somebody took it over"
                return
            except OpslibError as error:
                # The API may be away for a moment: the lease is lost only when its time is over.
                last = parse_time(item["spec"]["renewTime"])
                if last and datetime.now(last.tzinfo) - last > timedelta(seconds=SECONDS):
                    held.lost = f"it could not be renewed: {error.what}"
                    return

    keeper = threading.Thread(target=keep, name=f"lease-{name}", daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        stop.set()
        keeper.join(timeout=api.connect_seconds + api.read_seconds)
        if not held.lost:
            _release(api, path, item)


@contextmanager
def leases(api: Api, wanted: list[tuple[str, str]], holder: str) -> Iterator[list[Held]]:
    """Hold several leases, given as (namespace, name), taken in one order everywhere so that two never wait."""
    with ExitStack() as stack:
        yield [stack.enter_context(lease(api, namespace, name, holder)) for namespace, name in sorted(wanted)]


def lease_name(obj: str) -> str:
    """The lease of an object such as deployment/api-gateway."""
    return "opslib-" + obj.lower().replace("/", "-")


def _take(api: Api, namespace: str, name: str, holder: str) -> tuple[str, Json]:
    kind = KINDS["lease"]
    path = kind.path(namespace, name)
    for _ in range(3):  # each turn lost to somebody else is read again
        try:
            item, now = api.get_with_time(path)
        except NotFound:
            _, now = api.get_with_time("/version")
            fresh = {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "holderIdentity": holder,
                    "leaseDurationSeconds": SECONDS,
                    "acquireTime": _micro(now),
                    "renewTime": _micro(now),
                    "leaseTransitions": 0,
                },
            }
            try:
                return path, api.post(kind.path(namespace), fresh)
            except Conflict:
                continue
        spec = item.get("spec") or {}
        owner, renewed = spec.get("holderIdentity") or "", parse_time(spec.get("renewTime"))
        term = timedelta(seconds=spec.get("leaseDurationSeconds") or SECONDS)
        if owner and renewed and renewed + term > now:
            raise LeaseHeld(
                f"{owner} has been changing it since {spec.get('acquireTime')}",
                target=f"{api.cluster}/{namespace}/lease/{name}",
                next=f"wait for that run; its lease ends {SECONDS} s after it stops renewing",
            )
        taken = _with(
            item,
            holderIdentity=holder,
            leaseDurationSeconds=SECONDS,
            acquireTime=_micro(now),
            renewTime=_micro(now),
            leaseTransitions=(spec.get("leaseTransitions") or 0) + 1,
        )
        try:
            return path, api.put(path, taken)
        except Conflict:
            continue
    raise LeaseHeld(
        "several runs reach for it at once",
        target=f"{api.cluster}/{namespace}/lease/{name}",
        next="try again",
    )


def _release(api: Api, path: str, item: Json) -> None:
    meta = item["metadata"]
    try:
        api.delete(path, uid=meta["uid"], resource_version=meta["resourceVersion"])
    except (OpslibError, SourceError):
        # Left behind it does no harm: it ends by itself after SECONDS.
        return


def _with(item: Json, **spec: Json) -> Json:
    return {**item, "spec": {**(item.get("spec") or {}), **spec}}


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
