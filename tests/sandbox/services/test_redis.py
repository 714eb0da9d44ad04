"""The sandbox's Redis really is one, filled as on the platform, with a replica."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis as client
from redis.backoff import NoBackoff
from redis.retry import Retry

from opslib.sandbox.services.redis import Redis


@pytest.fixture
def redis(supervisor) -> Redis:
    service = Redis(supervisor)
    service.start()
    return service


def connect(service: Redis, port: int | None = None, db: int = 0) -> client.Redis:
    return client.Redis(port=port or service.port, password=service.password, db=db, decode_responses=True)


def until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_each_logical_database_holds_what_its_service_keeps(redis):
    sizes = {db: connect(redis, db=db).dbsize() for db in range(9)}
    assert all(sizes.values()), sizes
    assert connect(redis, db=7).get("dcs:baggage:tag:counter") == "184213"
    assert connect(redis, db=7).ttl("dcs:baggage:tag:counter") == -1
    carts = list(connect(redis, db=2).scan_iter("cart:*"))
    assert len(carts) == 45
    assert all(0 < connect(redis, db=2).ttl(cart) <= 1800 for cart in carts[:5])


def test_it_asks_for_its_password(redis):
    with pytest.raises(client.AuthenticationError):
        client.Redis(port=redis.port, retry=Retry(NoBackoff(), 0)).ping()


@pytest.mark.parametrize("command", ["FLUSHDB", "FLUSHALL"])
def test_a_flush_is_renamed_away(redis, command):
    with pytest.raises(client.ResponseError, match="unknown command"):
        connect(redis).execute_command(command)
    assert connect(redis).dbsize() > 0


def test_the_replica_follows_and_refuses_writes(redis):
    replica = connect(redis, redis.replica_port)
    assert until(lambda: replica.info("replication")["master_link_status"] == "up")
    connect(redis).set("seen", "by both")
    assert until(lambda: replica.get("seen") == "by both")
    with pytest.raises(client.ReadOnlyError):
        replica.set("seen", "no")


def test_what_is_saved_comes_back(redis, tmp_path):
    before = connect(redis, db=7).dbsize()
    connect(redis, db=7).incr("dcs:baggage:tag:counter")
    redis.save(tmp_path / "saved")
    port = redis.port
    lost = connect(redis, db=7)
    lost.delete(*lost.keys("*"))
    redis.restore(tmp_path / "saved")
    assert connect(redis, db=7).dbsize() == before
    assert connect(redis, db=7).get("dcs:baggage:tag:counter") == "184214"
    assert redis.port == port


def test_a_dead_replica_is_named_and_started_again(redis, supervisor):
    os.kill(supervisor.record.processes["redis-replica"].pid, signal.SIGKILL)
    assert until(lambda: not supervisor.running("redis-replica"))
    assert redis.trouble() == "its replica is not running"
    master = supervisor.record.processes["redis"].pid
    redis.start()
    assert redis.trouble() == ""
    assert supervisor.record.processes["redis"].pid == master
