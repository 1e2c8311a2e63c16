"""By when a job is to be done: kept with it, part of the request, and what puts it first when its time has come."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from psycopg.errors import CheckViolation

from scalar.capacity.model import Obstacle
from scalar.database import Transaction
from scalar.errors import IdempotencyConflict, InvalidRequest
from scalar.jobs import life, store
from scalar.jobs.explanation import explain
from scalar.jobs.model import LAST_CALL, Tier
from tests.made_up import NOON, a_customer, a_job, a_job_of, a_spec

HOUR = timedelta(hours=1)


def flex(deadline: datetime | None, **changes: Any) -> dict[str, Any]:
    return {"tier": Tier.FLEX, "max_runtime_seconds": 3600, "deadline": deadline, **changes}


def test_it_is_kept_and_says_when_the_job_has_to_start(tx: Transaction):
    job = a_job_of(tx, a_customer(tx), **flex(NOON + 6 * HOUR))
    kept = store.job(tx, job.id)
    assert kept is not None
    assert kept.spec.deadline == NOON + 6 * HOUR
    assert kept.spec.start_by == NOON + 5 * HOUR
    assert a_spec().start_by is None


def test_a_request_is_the_same_in_whatever_zone_its_deadline_is_written(tx: Transaction):
    org, key = a_customer(tx)

    def submit(deadline: datetime | None) -> life.Submission:
        spec = a_spec(**flex(deadline))
        return life.submit(tx, spec, organisation_id=org, key_id=key, idempotency_key="once", now=NOON)

    due = NOON + 6 * HOUR
    assert submit(due).created
    assert not submit(due.astimezone(timezone(timedelta(hours=-8)))).created
    for other in (due + HOUR, None):
        with pytest.raises(IdempotencyConflict):
            submit(other)


def test_what_could_not_be_done_in_time_is_refused_unless_it_was_accepted_before(tx: Transaction):
    org, key = a_customer(tx)

    def submit(name: str, now: datetime) -> life.Submission:
        spec = a_spec(**flex(NOON + 2 * HOUR))
        return life.submit(tx, spec, organisation_id=org, key_id=key, idempotency_key=name, now=now)

    assert submit("in time", NOON + HOUR).created
    assert not submit("in time", NOON + 5 * HOUR).created
    with pytest.raises(InvalidRequest, match="would have had to start by 2026-"):
        submit("late", NOON + HOUR + timedelta(seconds=1))


@pytest.mark.parametrize("changes", [{"tier": Tier.FAST}, {"max_runtime_seconds": None}])
def test_only_a_flex_job_that_says_how_long_it_runs_has_one(tx: Transaction, changes: dict[str, Any]):
    with pytest.raises(CheckViolation, match="jobs_with_a_deadline_can_wait"):
        a_job_of(tx, a_customer(tx), **flex(NOON + 6 * HOUR, **changes))


def test_half_an_hour_before_it_has_to_start_it_goes_before_fast_jobs_that_came_later(tx: Transaction):
    customer = a_customer(tx)
    waits = a_job_of(tx, customer, **flex(None)).id
    due = a_job_of(tx, customer, **flex(NOON + 6 * HOUR)).id
    fast = a_job_of(tx, customer, now=NOON + HOUR).id
    last_call = NOON + 5 * HOUR - LAST_CALL

    def order(now: datetime) -> list[str]:
        return [job.id for job in store.queue(tx, now)]

    assert order(last_call - timedelta(seconds=1)) == [fast, waits, due]
    assert order(last_call) == [due, fast, waits]


def test_its_customer_is_told_when_it_has_to_start():
    def said(**changes: Any) -> tuple[str, ...]:
        job = a_job(waiting={"obstacle": Obstacle.BUSY.value, "ahead": 0}, **changes)
        return explain(job, [], [], frozenset(), NOON).details

    assert "has to start by 2026" in said(**flex(NOON + 6 * HOUR))[0]
    assert "had to start by 2026" in said(**flex(NOON + HOUR))[0]
    assert said(**flex(None)) == ()
