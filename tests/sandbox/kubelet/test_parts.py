"""The pure parts of the kubelet: back-off, logs on disk, image names, SPDY, phases."""

from __future__ import annotations

import asyncio
import zlib

import pytest

from opslib.sandbox.kubelet.backoff import Backoff, text
from opslib.sandbox.kubelet.environment import expand
from opslib.sandbox.kubelet.images import image_id, policy_of
from opslib.sandbox.kubelet.logs import ContainerLog, LogOptions, LogStore, read
from opslib.sandbox.kubelet.spdy import DICTIONARY, Session
from opslib.sandbox.kubelet.status import ContainerState, phase_of, qos_class


def test_back_off_doubles_to_its_cap_and_starts_anew_after_a_calm_time():
    b = Backoff()
    assert b.wait(0, 0) == 0  # the first restart is at once
    waits, now = [], 0.0
    for _ in range(7):
        b.next(now)
        now += 1
        waits.append(b.wait(now, now))
        now += b.wait(now, now)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    later = now + 601
    assert b.wait(later, later) == 0
    b.next(later)
    assert b.current == 10
    assert [text(s) for s in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]


async def everything(log: ContainerLog, **options) -> str:
    return b"".join([piece async for piece in read(log, LogOptions(**options))]).decode()


async def test_logs_survive_on_disk_and_old_instances_go(tmp_path):
    store = LogStore(tmp_path)
    for restart in range(3):
        log = store.open("uid", "main", restart)
        log.write(f"hello {restart}\nsecond")
        log.close()
    again = LogStore(tmp_path)
    assert again.find("uid", "main", 0) is None
    assert await everything(again.find("uid", "main", 1)) == "hello 1\nsecond\n"
    assert await everything(again.find("uid", "main", 2), tail=1) == "second\n"
    again.drop("uid")
    assert list(tmp_path.iterdir()) == []


async def test_a_follower_gets_every_line_once(tmp_path):
    log = ContainerLog()
    log.write("before")
    follower = asyncio.create_task(everything(log, follow=True))
    for number in range(200):
        log.write(f"line {number}")
        if number % 20 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    log.write("last")
    log.close()
    got = (await asyncio.wait_for(follower, 5)).splitlines()
    assert got == ["before", *(f"line {n}" for n in range(200)), "last"]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a/b:v1", "IfNotPresent"),
        ("a/b:latest", "Always"),
        ("host:5000/b", "Always"),
        ("b@sha256:1", "IfNotPresent"),
    ],
)
def test_pull_policy_defaults_as_the_api_does(image, policy):
    assert policy_of({"image": image}) == policy
    assert policy_of({"image": image, "imagePullPolicy": "Never"}) == "Never"


def test_an_image_id_names_repository_and_digest():
    assert image_id("gcr.io/p/app:v1", "sha256:ab") == "gcr.io/p/app@sha256:ab"
    assert image_id("host:5000/app", "sha256:ab") == "host:5000/app@sha256:ab"


def test_variables_expand_as_the_kubelet_does():
    assert expand("$(A)-$(B)-$$(A)-$A", {"A": "1"}) == "1-$(B)-$(A)-$A"


def state(**parts) -> ContainerState:
    return ContainerState(spec={"name": "c", "image": "i"}, **parts)


def test_phases():
    running = state(state={"running": {}})
    fresh = state(state={"waiting": {"reason": "ContainerCreating"}})
    looping = state(state={"waiting": {"reason": "CrashLoopBackOff"}}, last={"exitCode": 1})
    good, bad = state(state={"terminated": {"exitCode": 0}}), state(state={"terminated": {"exitCode": 1}})
    assert phase_of("Always", [], [fresh, running]) == "Pending"
    assert phase_of("Always", [], [running, looping]) == "Running"
    assert phase_of("Always", [], [looping]) == "Running"
    assert phase_of("Never", [], [good, good]) == "Succeeded"
    assert phase_of("Never", [], [good, bad]) == "Failed"
    assert phase_of("OnFailure", [], [bad]) == "Running"
    assert phase_of("Always", [bad], [fresh]) == "Pending"
    assert phase_of("Never", [bad], [fresh]) == "Failed"


def test_quality_of_service():
    def pod(**resources):
        return {"spec": {"containers": [{"resources": resources}]}}

    full = {"cpu": "1", "memory": "1Gi"}
    assert qos_class(pod()) == "BestEffort"
    assert qos_class(pod(requests=full)) == "Burstable"
    assert qos_class(pod(requests=full, limits=full)) == "Guaranteed"


async def test_what_is_not_spdy_is_refused():
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2  # the dictionary every SPDY/3 peer uses

    async def nowhere(*_):
        raise AssertionError("nothing may be sent or opened")

    with pytest.raises(ConnectionError, match=r"not SPDY/3\.1"):
        await Session(nowhere, nowhere).feed(b"\xff\xff\xff\xff\x00\x00\x00\x00")
