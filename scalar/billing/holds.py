"""Hold, then settle: what a job may cost is held when it is accepted, and what it did not cost is free when it ends.

    submit, requeue ─► hold_for       refused where that is more than there is
    a next try      ─► hold_on        never refused: the job was accepted
    a sign of life  ─► keep_up        a job without max_runtime_seconds: what it has used, and some minutes ahead
    its end         ─► settle         what it cost, until that is rated

Only what may refuse takes the lock on the organisation's account, and takes it last (job, then run, then account): so
many submissions at once never hold more than there is, and no two deeds wait for each other in a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.billing import caps, wallet_store
from scalar.billing import hold_store as store
from scalar.billing.credit import Terms
from scalar.billing.money import micros, usd
from scalar.billing.rates import card_of, cards_within, worst_case
from scalar.billing.running_cost import cost_so_far, costs_so_far
from scalar.billing.settings import billing_settings
from scalar.database import Transaction
from scalar.errors import Conflict, PaymentRequired
from scalar.jobs.model import Job
from scalar.metering.model import Window, hour_of

_MICROSECOND = timedelta(microseconds=1)
_SILENCE = timedelta(seconds=90)
"""A node that says nothing for longer may be gone: nothing is added on for it."""


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """What is shown of a job's money."""

    so_far: Decimal
    """Dollars, to the last sign of life; what the platform lost costs nothing."""
    held: int
    """Micro-dollars that it may still cost; nothing once it has ended."""


def job_costs(tx: Transaction, job_ids: Sequence[str]) -> dict[str, JobCost]:
    """Of each of these jobs, in as many queries as for one."""
    costs, held = (costs_so_far(tx, job_ids), store.held(tx, job_ids)) if job_ids else ({}, {})
    return {each: JobCost(so_far=costs[each], held=held.get(each, 0)) for each in job_ids}


def hold_for(tx: Transaction, job: Job, now: datetime, *, new: bool = False) -> int:
    """Hold what a job may cost at worst, in micro-dollars. `new`: it can't have cost anything yet.

    The caller holds the job's lock, and takes no other lock after this.

    Raises: `PaymentRequired`, with how much is missing; `SpendCapReached`; `Conflict` where it has cost its max_cost.
    """
    cost = Decimal(0) if new else cost_so_far(tx, job.id)
    if job.spec.max_cost is not None and cost >= job.spec.max_cost:
        raise Conflict(f"{job.id} has cost its max_cost (${cost:.2f}): submit it anew, with a higher one.")
    amount = micros(_bounded(job, cost, cost + _one_try(tx, job, now)))
    account = wallet_store.account(tx, job.organisation_id, for_update=True)
    store.put(tx, job.id, amount, now)
    if account is not None:
        left = wallet_store.position(tx, job.organisation_id, now).available(account)
        if left is not None and left < 0:
            raise _missing(account.terms, amount, left)
        caps.refuse_beyond(tx, job, now)
    return amount


def hold_on(tx: Transaction, job: Job, now: datetime) -> None:
    """A job is tried again: hold what it has cost, and another try."""
    cost = cost_so_far(tx, job.id)
    store.put(tx, job.id, micros(_bounded(job, cost, cost + _one_try(tx, job, now))), now)


def keep_up(tx: Transaction, job: Job, now: datetime) -> Decimal:
    """Hold at least what a running job has used, in dollars, which is the answer: until now, and not only as far as its
    node has told. Without max_runtime_seconds, a quarter of the first hold more.
    """
    card = card_of(tx, job.organisation_id, now)
    unheard = store.unheard(tx, job.id, now, at_most=_SILENCE)
    cost = cost_so_far(tx, job.id)
    cost += sum((worst_case(card, job.spec.tier, each, 1, seconds) for each, seconds in unheard.items()), Decimal(0))
    more = Decimal(0)
    if job.spec.max_runtime_seconds is None:
        more = _worst(tx, job, Decimal(billing_settings().hold.total_seconds()) / 4, now)
    store.raise_to(tx, job.id, micros(_bounded(job, cost, cost + more)))
    return cost


def settle(tx: Transaction, job_id: str, now: datetime) -> None:
    """A job has ended: it holds what it cost, and that only until it is rated. Repeats are no-ops."""
    last_use = store.last_use(tx, job_id)
    cost = cost_so_far(tx, job_id) if last_use else Decimal(0)
    store.settle(tx, job_id, micros(cost), hour_of(last_use - _MICROSECOND) if last_use else None, now)


def _one_try(tx: Transaction, job: Job, now: datetime) -> Decimal:
    seconds = job.spec.max_runtime_seconds or billing_settings().hold.total_seconds()
    return _worst(tx, job, Decimal(seconds), now)


def _worst(tx: Transaction, job: Job, seconds: Decimal, now: datetime) -> Decimal:
    """At the dearest of the cards that hold meanwhile: a price that is set already, and is yet to begin, counts."""
    wanted, meanwhile = job.spec.requirements, Window(start=now, end=now + timedelta(seconds=float(seconds)))
    return max(
        worst_case(card, job.spec.tier, wanted.gpu_type, wanted.gpus * wanted.nodes, seconds)
        for card in cards_within(tx, job.organisation_id, meanwhile)
    )


def _bounded(job: Job, cost: Decimal, worst: Decimal) -> Decimal:
    """It is stopped at its max_cost, and what it has cost it has cost."""
    return worst if job.spec.max_cost is None else min(worst, max(job.spec.max_cost, cost))


def _missing(terms: Terms, amount: int, left: int) -> PaymentRequired:
    advice = (
        "Top up your wallet"
        if terms is Terms.PREPAID
        else "Pay what is open, ask us for a higher credit limit, or top up your wallet"
    )
    return PaymentRequired(
        f"This job may cost {usd(amount)} at worst and {usd(left + amount)} is available: {usd(-left)} is missing."
        f" {advice}, or ask for less: fewer GPUs, a shorter max_runtime_seconds, a max_cost."
        " GET /v1/balance shows what is held by other jobs.",
        missing=f"{Decimal(-left).scaleb(-6):.6f}",
        available=f"{Decimal(left + amount).scaleb(-6):.6f}",
        worst_case=f"{Decimal(amount).scaleb(-6):.6f}",
    )
