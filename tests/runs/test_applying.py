"""Observed, confirmed, applied, verified: and every way it is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from file_platform import Errors

from opslib.errors import (
    LeaseHeld,
    NotPermitted,
    Refused,
    StaleConfirmation,
    TargetChanged,
    Unreachable,
    WrongCluster,
)
from opslib.records import journal
from opslib.records.change import Mark
from opslib.records.model import Kind, Outcome
from opslib.runs import confirmations

GOOD = Errors((0.0, 50))


async def observe(opened, **settings):
    run = opened()
    change = run.cluster.set_replicas(4, **settings)
    result = await run.apply(change)
    assert result.state == "proposed"
    run.finish()
    return run, change


async def test_observing_proposes_and_writes_nothing(opened, store):
    before = store.path.read_bytes()
    run, change = await observe(opened)
    assert store.path.read_bytes() == before
    assert run.conclusion.outcome is Outcome.PROPOSED
    proposal = run.emitter.of(Kind.PROPOSAL)[0]
    assert proposal["command"] == f"opslib apply {run.id}"
    assert '+ "replicas": 4' in proposal["change"]["diff"]
    assert proposal["change"]["confirmation"] == change.confirmation
    assert "server" in proposal["tried"]
    written = journal.read(run.journal.path)
    assert [item["confirmation"] for item in written.proposals()] == [change.confirmation]
    assert not written.of("writing", "intent", "receipt")


async def test_confirmed_applies_once_and_verifies_only_samples_after_it(opened, store):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    symptom = Errors((0.9, 50), (0.0, 3), (0.0, 30))
    result = await run.apply(run.cluster.set_replicas(4), verify=symptom)
    conclusion = run.finish()
    assert (result.state, result.verified, result.good) == ("applied", True, True)
    assert conclusion.outcome is Outcome.MITIGATED
    assert store.read()["replicas"] == 4 and store.read()["writes"] == 1
    assert store.mark_now_run() == run.id
    assert symptom.since == sorted(symptom.since) and symptom.since[1] > symptom.since[0]
    kinds = [entry["entry"] for entry in journal.read(run.journal.path).entries]
    order = [
        kinds.index(kind)
        for kind in ("claimed", "intent", "writing", "receipt", "settled", "verified", "finished")
    ]
    assert order == sorted(order)
    applied = journal.read(run.journal.path).applied()
    assert applied[0]["undo_spec"] == {"noun": "cluster", "replicas": 2}
    assert applied[0]["settled"] is True and applied[0]["verified"] is True


async def test_symptom_that_stays_is_not_mitigated(opened):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    result = await run.apply(run.cluster.set_replicas(4), verify=Errors((0.4, 50)))
    assert result.verified is False
    assert run.finish().outcome is Outcome.NOT_MITIGATED


@pytest.mark.parametrize("answer", [(None, 0), (0.0, 2)])
async def test_symptom_without_proof_needs_a_person(opened, answer):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    result = await run.apply(run.cluster.set_replicas(4), verify=Errors(answer))
    assert result.verified is None
    assert run.finish().outcome is Outcome.NEEDS_A_PERSON


async def test_change_that_does_not_settle_is_not_mitigated(opened):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    await run.apply(run.cluster.set_replicas(4, settles=False), verify=GOOD)
    assert run.finish().outcome is Outcome.NOT_MITIGATED


async def test_confirmation_serves_once(opened, store):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    run.finish()
    with pytest.raises(StaleConfirmation, match=f"used already, by run {run.id}"):
        opened(approve=change.confirmation)
    assert store.read()["writes"] == 1


async def test_earlier_proposal_of_a_used_confirmation_is_void(opened, store):
    await observe(opened)
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    store.write(store.read() | {"replicas": 2})
    with pytest.raises(StaleConfirmation, match="used already"):
        opened(approve=change.confirmation)


def test_two_claims_of_one_confirmation_one_wins(opened, archive):
    run = opened()
    change = run.cluster.set_replicas(4)
    known = confirmations.Confirmations(archive)
    known.propose(run.id, change)
    first = known.check(change.confirmation, "")
    second = known.check(change.confirmation, "")
    known.claim(first, "one", "me")
    with pytest.raises(StaleConfirmation, match="used already"):
        known.claim(second, "two", "me")


async def test_confirmation_expires(opened, monkeypatch):
    _, change = await observe(opened)
    later = confirmations.now() + timedelta(minutes=31)
    monkeypatch.setattr(confirmations, "now", lambda: later)
    with pytest.raises(StaleConfirmation, match="expired"):
        opened(approve=change.confirmation)


def test_unknown_confirmation_is_refused_before_anything_runs(opened, archive):
    with pytest.raises(StaleConfirmation, match="no run in this archive proposed that"):
        opened(approve="rollback-api-gateway@0123456789ab")


async def test_confirmation_for_another_cluster_is_refused(opened, store):
    _, change = await observe(opened)
    store.write(store.read() | {"uid": "99999999-0000-0000-0000-000000000000"})
    with pytest.raises(StaleConfirmation, match="another cluster"):
        opened(approve=change.confirmation)


async def test_change_that_is_no_longer_the_one_confirmed_is_proposed_anew_and_refused(opened, store):
    _, change = await observe(opened)
    store.write(store.read() | {"hash": "def"})
    run = opened(approve=change.confirmation)
    fresh = run.cluster.set_replicas(4)
    with pytest.raises(StaleConfirmation, match=fresh.confirmation) as caught:
        await run.apply(fresh)
    run.fail(caught.value)
    assert run.conclusion.outcome is Outcome.REFUSED
    assert store.read().get("writes", 0) == 0
    assert run.emitter.of(Kind.PROPOSAL)[0]["change"]["confirmation"] == fresh.confirmation


async def test_guard_that_no_longer_holds_touches_nothing(opened, store):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    change = run.cluster.set_replicas(4)
    store.write(store.read() | {"hash": "def"})
    with pytest.raises(TargetChanged):
        await run.apply(change)
    read_back = journal.read(run.journal.path)
    assert store.read()["replicas"] == 2
    assert read_back.of("not_applied") and not read_back.unfinished()


async def test_lease_of_somebody_else(opened, store):
    _, change = await observe(opened)
    store.path.with_suffix(".lease").touch()
    run = opened(approve=change.confirmation)
    with pytest.raises(LeaseHeld) as caught:
        await run.apply(run.cluster.set_replicas(4))
    run.fail(caught.value)
    assert run.conclusion.to_json()["exit_status"] == 6
    store.path.with_suffix(".lease").unlink()
    # It was not used up: nothing was touched.
    again = opened(approve=change.confirmation)
    assert (await again.apply(again.cluster.set_replicas(4), verify=GOOD)).good


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"allowed": "not permitted"}, NotPermitted), ({"rejected": "quota exceeded"}, Refused)],
)
async def test_refused_by_the_platform(opened, store, settings, error):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    with pytest.raises(error):
        await run.apply(run.cluster.set_replicas(4, **settings))
    assert store.read().get("writes", 0) == 0
    assert not journal.read(run.journal.path).of("intent")


async def test_observer_without_permission_still_gets_a_proposal(opened):
    run, _ = await observe(opened, allowed="not permitted")
    assert run.emitter.of(Kind.PROPOSAL)[0]["permitted"].startswith("not permitted")


async def test_change_for_another_cluster_is_refused(opened, store):
    run = opened()
    change = run.cluster.set_replicas(4)
    run.cluster_uid = "another"
    with pytest.raises(WrongCluster):
        await run.apply(change)


def test_wrong_cluster_is_refused_first(opened):
    with pytest.raises(WrongCluster, match="parameter cluster_uid"):
        opened(cluster_uid="00000000-0000-0000-0000-000000000000")


async def test_nothing_to_apply(opened):
    run = opened()
    run.check("share of 5xx", 0.0, unit="ratio", critical_above=0.05)
    assert (await run.apply(None)).state == "nothing to apply"
    assert run.finish().outcome is Outcome.HEALTHY


async def test_confirmation_that_no_change_asked_for_is_not_used_up(opened):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    run.check("share of 5xx", 0.0, critical_above=0.05)
    await run.apply(None)
    assert run.finish().outcome is Outcome.HEALTHY
    assert not run.confirmations.claimed(change.confirmation)
    assert any(record["name"] == "not used" for record in run.emitter.of(Kind.NOTE))


async def test_lost_answer_is_looked_up_by_the_mark(opened, store, monkeypatch):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    change = run.cluster.set_replicas(4)
    apply = change.apply

    def answer_lost(mark: Mark, about_to):
        apply(mark, about_to)
        raise ConnectionError("the answer did not arrive")

    change.apply = answer_lost
    with pytest.raises(ConnectionError) as caught:
        await run.apply(change)
    run.fail(caught.value)
    lost = journal.read(run.journal.path).of("lost")
    assert lost[0]["arrived"] is True
    assert run.conclusion.outcome is Outcome.FAILED
    assert run.emitter.of(Kind.CHANGE)[0]["state"] == "result lost"


async def test_undo_is_built_from_the_journal(opened, store, archive: Path):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    run.finish()
    observer = opened()
    undo = observer.undoing(run.id)[0]
    assert undo.operation == "undo" and undo.after == {"replicas": 2}
    await observer.apply(undo)
    responder = opened(approve=undo.confirmation)
    assert (await responder.apply(responder.undoing(run.id)[0])).good
    assert store.read()["replicas"] == 2


async def test_every_file_of_the_archive_holds_together(opened, archive: Path):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    await run.apply(run.cluster.set_replicas(4), verify=GOOD)
    run.finish()
    journals = list(journal.follow(archive))
    assert len(journals) == 2
    assert all(journal.verify(path) == [] for path in journals)
    assert journal.find(archive, run.id) == run.journal.path
    claims = [json.loads(path.read_text()) for path in (archive / "confirmations").glob("*.json")]
    assert [claim["run"] for claim in claims] == [run.id]


async def test_a_change_made_in_part_is_no_refusal_and_can_be_undone(opened, store):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    change = run.cluster.set_replicas(4)
    apply = change.apply

    def half(mark: Mark, about_to):
        receipt = apply(mark, about_to)
        error = LeaseHeld("the lease was lost on the way")
        error.receipt = receipt
        raise error

    change.apply = half
    with pytest.raises(LeaseHeld) as caught:
        await run.apply(change)
    run.fail(caught.value)
    assert run.conclusion.outcome is Outcome.FAILED
    assert run.emitter.of(Kind.CHANGE)[0]["state"] == "applied in part"
    assert opened().undoing(run.id)[0].after == {"replicas": 2}


async def test_nothing_known_to_be_written_is_a_lost_result(opened, store):
    _, change = await observe(opened)
    run = opened(approve=change.confirmation)
    change = run.cluster.set_replicas(4)

    def silent(mark: Mark, about_to):
        about_to({"verb": "patch"})
        error = Unreachable("no answer")
        error.receipt = {"edits": [], "complete": False}
        raise error

    change.apply = silent
    with pytest.raises(Unreachable):
        await run.apply(change)
    read_back = journal.read(run.journal.path)
    assert read_back.of("lost")[0]["arrived"] is False and read_back.unfinished()
    assert run.emitter.of(Kind.CHANGE)[0]["state"] == "result lost"
