"""The client and its informers: refusals, lost updates, big objects, history that is gone."""

from __future__ import annotations

import asyncio

import pytest

from opslib.sandbox.client import (
    CONFIGMAPS,
    ApiError,
    Client,
    Connection,
    UnreachableError,
    retry_on_conflict,
)
from opslib.sandbox.informer import Informer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def config(ns: str, name: str, **data: str) -> dict:
    return {"metadata": {"name": name, "namespace": ns}, "data": data}


async def test_a_refusal_carries_the_servers_words(cluster):
    with pytest.raises(ApiError) as refused:
        await cluster.client.get(CONFIGMAPS, "default", "absent")
    assert (refused.value.code, refused.value.reason) == (404, "NotFound")
    assert str(refused.value) == 'configmaps "absent" not found'
    assert await cluster.client.find(CONFIGMAPS, "default", "absent") is None


async def test_a_dead_server_is_unreachable_not_an_answer():
    async with Client(Connection("http://127.0.0.1:9", None, None)) as client:
        with pytest.raises(UnreachableError, match="GET /api/v1/configmaps"):
            await client.list(CONFIGMAPS)


async def test_concurrent_updates_are_not_lost(cluster):
    ns = await cluster.namespace("conflicts")
    await cluster.client.create(CONFIGMAPS, config(ns, "counter", n="0"))

    async def add():
        async def attempt():
            found = await cluster.client.get(CONFIGMAPS, ns, "counter")
            found["data"]["n"] = str(int(found["data"]["n"]) + 1)
            return await cluster.client.update(CONFIGMAPS, found)

        await retry_on_conflict(attempt, tries=50)

    await asyncio.gather(*(add() for _ in range(10)))
    assert (await cluster.client.get(CONFIGMAPS, ns, "counter"))["data"]["n"] == "10"


async def test_an_informer_follows_and_survives_a_replaced_state(cluster):
    ns = await cluster.namespace("informed")
    informer = Informer(cluster.client, CONFIGMAPS, retry=0.05)
    seen: list[tuple[str | None, str | None]] = []

    def noted(old, new):
        if (new or old)["metadata"]["namespace"] == ns and (new or old)["metadata"]["name"] != (
            "kube-root-ca.crt"
        ):
            seen.append((old and old.get("data", {}).get("v"), new and new.get("data", {}).get("v")))

    informer.on_change(noted)
    task = asyncio.create_task(informer.run())
    try:
        await informer.synced.wait()
        await cluster.client.create(CONFIGMAPS, config(ns, "one", v="1"))
        saved = await cluster.client.request("GET", "/sandbox/v1/state")
        await cluster.client.patch(CONFIGMAPS, ns, "one", {"data": {"v": "2"}})
        # larger than any line limit of a stream reader
        await cluster.client.create(CONFIGMAPS, config(ns, "big", v="x" * 900_000))

        async def followed():
            return len(seen) == 3

        await cluster.wait("three changes", followed)
        assert seen[:2] == [(None, "1"), ("1", "2")]
        seen.clear()
        await cluster.client.request("PUT", "/sandbox/v1/state", saved)

        async def restored():
            found = informer.get(f"{ns}/one")
            return found and found["data"]["v"] == "1" and informer.get(f"{ns}/big") is None

        await cluster.wait("the old state", restored)
        assert ("2", "1") in seen
        await cluster.client.delete(CONFIGMAPS, ns, "one")

        async def gone():
            return informer.get(f"{ns}/one") is None

        await cluster.wait("the deletion", gone)
        assert seen[-1] == ("1", None)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_older_echo_never_overwrites_a_newer_object(cluster):
    informer = Informer(cluster.client, CONFIGMAPS)

    def version(number: int) -> dict:
        meta = {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": str(number)}
        return {"metadata": meta, "data": {"v": str(number)}}

    informer.observe(version(9))
    informer.observe(version(10))
    informer.observe(version(9))
    assert informer.get("b/a")["data"]["v"] == "10"
    informer.forget(version(11))
    informer.observe(version(10))
    assert informer.get("b/a") is None
