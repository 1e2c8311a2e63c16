"""A job's events come from the table itself: whatever moves a job, in the same transaction."""

import re
from datetime import timedelta

import pytest

from scalar.ids import new_id
from scalar.jobs import life
from scalar.jobs.model import RetryPolicy
from scalar.webhooks.model import KEPT, WANTED, EventType
from scalar.webhooks.outbox import events, moment, publish
from tests.made_up import NOON, a_customer, a_job_of, a_node, ended, launch, running, told

LATER = NOON + timedelta(minutes=3)


def _events(tx, organisation_id):
    """Oldest first."""
    return events(tx, organisation_id=organisation_id, since=NOON - 10_000 * KEPT)[::-1]


def _one_after_another(tx, job_id):
    """(type, previous state) of a job's events; those of one millisecond come in no order of their ids."""
    rows = tx.execute(
        "select type, data->>'previous_state' as previous from webhook_events where data->>'id' = %s"
        " order by written_at",
        [job_id],
    )
    return [(row["type"], row["previous"]) for row in rows]


def test_a_job_tells_of_its_start_and_its_end(tx):
    a_node(tx)
    customer = a_customer(tx)
    job = a_job_of(tx, customer, name="finetune", labels={"team": "vision"}, env={"TOKEN": "hunter2"}, command=["x"])
    run = launch(tx, job.id)
    assert _events(tx, customer[0]) == []
    told(tx, run, running(run, at=NOON + timedelta(seconds=41)))
    (started,) = _events(tx, customer[0])
    assert (started.type, started.at) == ("job.started", NOON + timedelta(seconds=41))
    assert started.data["state"] == "running"
    told(tx, run, ended(run, at=LATER, started_at=NOON + timedelta(seconds=41), exit_code=3), now=LATER)
    (over,) = [each for each in _events(tx, customer[0]) if each.type == "job.failed"]
    assert over.at == LATER
    assert over.data == {
        "id": job.id, "name": "finetune", "state": "failed", "previous_state": "running", "reason": "error",
        "labels": {"team": "vision"}, "tier": "fast", "gpus": 1, "nodes": 1, "gpu_type": None,
        "attempt": 1, "exit_code": 3,
        "submitted_at": moment(NOON), "queued_at": moment(NOON),
        "started_at": moment(NOON + timedelta(seconds=41)), "ended_at": moment(LATER),
    }  # fmt: skip


def test_no_event_has_a_jobs_command_or_environment(tx):
    a_node(tx)
    customer = a_customer(tx)
    run = launch(tx, a_job_of(tx, customer, env={"TOKEN": "hunter2"}, command=["hunter2"], args=["hunter2"]).id)
    told(tx, run, running(run))
    told(tx, run, ended(run))
    assert len(_events(tx, customer[0])) == 2
    assert "hunter2" not in repr(_events(tx, customer[0]))


def test_tries_requeues_and_the_end_of_tries(tx):
    a_node(tx)
    job = a_job_of(tx, a_customer(tx), retries=RetryPolicy(max_attempts=2))
    for attempt in range(2):
        now = NOON + timedelta(seconds=20 * attempt)
        run = launch(tx, job.id, now=now)
        told(tx, run, running(run, at=now))
        told(tx, run, ended(run, at=now, started_at=now, exit_code=1))
    life.requeue(tx, job.id, organisation_id=None, actor="t", now=LATER)
    life.cancel(tx, job.id, organisation_id=None, actor="t", now=LATER)
    assert _one_after_another(tx, job.id) == [
        ("job.started", "placed"), ("job.requeued", "running"),
        ("job.started", "placed"), ("job.dead_letter", "running"),
        ("job.requeued", "dead_letter"), ("job.cancelled", "queued"),
    ]  # fmt: skip


def test_what_leaves_the_state_as_it_is_is_no_event(tx):
    customer = a_customer(tx)
    job = a_job_of(tx, customer)
    tx.execute("update jobs set state = state, priority = 7 where id = %s", [job.id])
    assert _events(tx, customer[0]) == []


def test_a_move_that_is_rolled_back_is_no_event(tx):
    customer = a_customer(tx)
    job = a_job_of(tx, customer)
    with tx.transaction(force_rollback=True):
        life.cancel(tx, job.id, organisation_id=None, actor="t", now=NOON)
        assert len(_events(tx, customer[0])) == 1
    assert _events(tx, customer[0]) == []


def test_every_type_that_the_trigger_writes_is_one_that_can_be_asked_for(tx):
    moves = tx.execute("select distinct to_state from job_moves where to_state <> 'placed'").fetchall()
    names = {"running": "started", "queued": "requeued"}
    types = {f"job.{names.get(row['to_state'], row['to_state'])}" for row in moves}
    assert types == {each for each in EventType if each.startswith("job.")}


def test_an_unknown_type_is_the_publishers_mistake(tx):
    with pytest.raises(ValueError, match=r"invoice\.eaten"):
        publish(tx, organisation_id=a_customer(tx)[0], type="invoice.eaten", data={}, at=NOON)


def test_ids_are_as_those_that_are_made_elsewhere_and_sort_by_time(tx):
    rows = tx.execute("select webhook_id('evt') as id, pg_sleep(0.002) from generate_series(1, 50)").fetchall()
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert all(re.fullmatch(r"evt_[0-9a-hjkmnp-tv-z]{26}", each) for each in ids)
    between = new_id("evt")
    tx.execute("select pg_sleep(0.002)")
    assert ids[-1] < between < tx.execute("select webhook_id('evt') as id").fetchone()["id"]


def test_a_filter_can_name_every_type_but_the_ping():
    assert set(WANTED) == {*EventType, "job.*", "invoice.*"} - {EventType.PING}
