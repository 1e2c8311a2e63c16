"""What one job earned, at any time: from the books where its hours are in them, and worked out live where not yet.

What is worked out live is provisional: an hour that runs may still get other users, who share its idle time.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from scalar.billing import cost_store, margin_store
from scalar.billing.costing import cost_until_now
from scalar.billing.costs import RunCost
from scalar.billing.margin import JobMargin
from scalar.billing.money import micros
from scalar.billing.running_cost import cost_so_far
from scalar.database import Transaction
from scalar.errors import NotFound
from scalar.jobs import store as jobs
from scalar.metering.model import HOUR
from scalar.metering.store import spans_of_run
from scalar.metering.usage import gpu_seconds, hours_of


def margin_of_job(tx: Transaction, job_id: str, now: datetime) -> JobMargin:
    """All its runs together, until now. Raises: `NotFound`."""
    job = jobs.job(tx, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    spans = [span for run in jobs.runs_of_job(tx, job_id) for span in spans_of_run(tx, run.id)]
    hours = {hour for span in spans for hour in hours_of(span.start, span.end)}
    costed, rated = cost_store.fresh_hours(tx, hours), margin_store.rated_hours(tx, hours)
    exact = job.ended_at is not None and hours <= costed & rated and all(hour + HOUR <= now for hour in hours)
    costs = cost_store.costs_of_job(tx, job_id, costed)
    costs += [run for hour in sorted(hours - costed) for run in _live(tx, job_id, hour, now)]
    return JobMargin(
        job_id=job_id,
        organisation_id=job.organisation_id,
        revenue=micros(cost_so_far(tx, job_id)),
        cost=sum(each.cost for each in costs),
        idle_cost=sum(each.idle_cost for each in costs),
        gpu_seconds=gpu_seconds(spans),
        nodes=tuple(margin_store.nodes_of_job(tx, _by_block(costs))),
        exact=exact,
    )


def _live(tx: Transaction, job_id: str, hour: datetime, now: datetime) -> list[RunCost]:
    return [each for each in cost_until_now(tx, hour, now).runs if each.job_id == job_id]


def _by_block(costs: Iterable[RunCost]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for each in costs:
        found[each.block_id] += each.gpu_seconds
    return dict(found)
