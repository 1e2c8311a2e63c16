"""Jobs as the scheduler knows them, of arrivals."""

from decimal import Decimal
from functools import cache

from scalar.jobs.model import Job, JobSpec, JobState, Requirements, Tier
from scalar.replay.model import Arrival


def job_of(arrival: Arrival) -> Job:
    limit = arrival.max_price_per_gpu_hour
    return Job(
        id=arrival.id,
        organisation_id=arrival.organisation_id,
        spec=_spec(arrival.gpus, arrival.nodes, arrival.tier, None if limit is None else str(limit)),
        state=JobState.QUEUED,
        reason=None,
        failures=0,
        interruptions=0,
        submitted_at=arrival.at,
        queued_at=arrival.at,
        not_before=None,
        ended_at=None,
        waiting=None,
    )


@cache
def _spec(gpus: int, nodes: int, tier: Tier, limit: str | None) -> JobSpec:
    """One for all that ask for the same: there are many."""
    return JobSpec(
        name="replayed",
        image="replayed",
        requirements=Requirements(gpus=gpus, nodes=nodes),
        tier=tier,
        max_price_per_gpu_hour=None if limit is None else Decimal(limit),
    )
