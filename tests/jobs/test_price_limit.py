"""The most that a job's nodes may cost: kept with it, and part of what makes a request the same request."""

from dataclasses import asdict, replace
from decimal import Decimal

import pytest

from scalar.database import Transaction
from scalar.errors import IdempotencyConflict
from scalar.jobs import life, store
from tests.made_up import NOON, a_customer, a_job_of, a_spec

BEFORE = "0bdd23733c2dea8334a26b28b289a9f6113c7a6c87f4756f6760ef1edccfa1c9"


@pytest.mark.parametrize("limit", [None, Decimal("2.5"), Decimal("0.000001")])
def test_a_limit_is_kept_exactly(tx: Transaction, limit: Decimal | None):
    job = a_job_of(tx, a_customer(tx), max_price_per_gpu_hour=limit)
    kept = store.job(tx, job.id)
    assert kept is not None
    assert kept.spec.max_price_per_gpu_hour == limit


def test_a_request_is_the_same_however_its_limit_is_written(tx: Transaction):
    org, key = a_customer(tx)

    def submit(limit: str | None) -> life.Submission:
        spec = a_spec(max_price_per_gpu_hour=None if limit is None else Decimal(limit))
        return life.submit(tx, spec, organisation_id=org, key_id=key, idempotency_key="once", now=NOON)

    assert submit("2.5").created
    assert not submit("2.50").created
    for other in ("2.51", None):
        with pytest.raises(IdempotencyConflict):
            submit(other)


def test_a_request_without_a_limit_has_the_hash_that_it_had_before_there_were_any():
    """Known from then: a retry of a request from before an upgrade is still the same request."""
    spec = a_spec(env={"A": "b"}, gpus=2)
    assert "max_price_per_gpu_hour" in asdict(spec)
    digest = life.request_hash(spec).hex()
    assert digest == BEFORE
    assert life.request_hash(replace(spec, max_price_per_gpu_hour=Decimal(2))).hex() != BEFORE
