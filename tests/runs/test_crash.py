"""A run killed in the middle of an apply: the journal tells, and nothing is applied twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from file_platform import Errors

from opslib.errors import StaleConfirmation, UsageError
from opslib.records import journal
from opslib.records.model import Outcome

GOOD = Errors((0.0, 50))

SCRIPT = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from file_platform import Store
from opslib import open_run
store = Store(Path({store!r}))
run = open_run("incident-response/p0", parameters={{"approve": {approve!r}}}, nouns={{"cluster": lambda:
store}})
asyncio.run(run.apply(run.cluster.set_replicas(4, stop={stop!r}, after_write={after!r})))
"""


async def kill_in_the_middle(opened, store, tmp_path: Path, *, after_write: bool) -> str:
    """Confirm a change, kill the run while it applies it; returns the confirmation."""
    observer = opened()
    change = observer.cluster.set_replicas(4)
    await observer.apply(change)
    observer.finish()
    stop = tmp_path / "reached"
    script = SCRIPT.format(
        tests=str(Path(__file__).parent),
        store=str(store.path),
        approve=change.confirmation,
        stop=str(stop),
        after=after_write,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 30
    while not stop.exists():
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    store.path.with_suffix(".lease").unlink()  # a real lease expires by itself
    return str(change.confirmation)


async def test_journal_of_a_killed_run_tells_what_it_was_about_to_write(opened, store, archive, tmp_path):
    confirmation = await kill_in_the_middle(opened, store, tmp_path, after_write=False)
    killed = journal.read(list(journal.follow(archive))[-1])
    assert killed.broken == []
    assert [entry["confirmation"] for entry in killed.unfinished()] == [confirmation]
    assert killed.writes(confirmation)[0]["request"] == {"verb": "patch", "object": "deployment/api-gateway"}
    assert killed.outcome() is None


async def test_write_that_arrived_is_not_made_again(opened, store, archive, tmp_path):
    confirmation = await kill_in_the_middle(opened, store, tmp_path, after_write=True)
    killed = store.mark_now_run()
    assert store.read()["writes"] == 1
    run = opened(approve=confirmation)
    result = await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    assert result.state == "already applied" and killed in result.says
    assert store.read()["writes"] == 1
    assert run.finish().outcome is Outcome.MITIGATED
    assert journal.read(run.journal.path).of("already_applied")[0]["by"] == killed


async def test_write_that_never_arrived_asks_for_a_new_confirmation(opened, store, archive, tmp_path):
    confirmation = await kill_in_the_middle(opened, store, tmp_path, after_write=False)
    run = opened(approve=confirmation)
    with pytest.raises(StaleConfirmation, match="used already"):
        await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    assert store.read().get("writes", 0) == 0
    observer = opened()
    await observer.apply(observer.cluster.set_replicas(4))
    again = opened(approve=confirmation)
    assert (await again.apply(again.cluster.set_replicas(4), verify=GOOD)).state == "applied"
    assert store.read()["writes"] == 1


async def test_fresh_proposal_of_what_a_dead_run_applied_is_refused(opened, store, tmp_path):
    """Observing again gives the same digest;

    the mark and the dead run's journal still keep it from being written twice.
    """
    confirmation = await kill_in_the_middle(opened, store, tmp_path, after_write=True)
    observer = opened()
    await observer.apply(observer.cluster.set_replicas(4))
    run = opened(approve=confirmation)
    result = await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    assert result.state == "already applied"
    assert store.read()["writes"] == 1


async def test_undo_of_a_killed_run_says_that_nothing_is_known(opened, store, archive, tmp_path):
    await kill_in_the_middle(opened, store, tmp_path, after_write=True)
    observer = opened()
    with pytest.raises(UsageError, match="what it wrote is not known"):
        observer.undoing(store.mark_now_run())


async def test_healthy_after_a_killed_run_names_what_it_did(opened, store, tmp_path):
    confirmation = await kill_in_the_middle(opened, store, tmp_path, after_write=True)
    run = opened(approve=confirmation)
    run.check("share of 5xx", 0.0, critical_above=0.05)
    await run.apply(None)
    conclusion = run.finish()
    assert conclusion.outcome is Outcome.HEALTHY
    assert store.mark_now_run() in conclusion.changed[0]
