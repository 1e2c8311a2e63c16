"""What came of a demo week, read from its database: so far, and in the end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import numpy as np

from scalar.billing import margin_store
from scalar.billing.money import dollars
from scalar.billing.rate_cards_store import cards_between
from scalar.database import Transaction, one
from scalar.forecasts import store as forecasts
from scalar.forecasts.authority import authority
from scalar.forecasts.model import MEDIAN
from scalar.forecasts.store import Kind
from scalar.jobs.model import Tier
from scalar.metering.model import Window
from scalar.replay import store as replays
from scalar.replay.model import Report
from scalar.replay.policies import NAMES, policy_named
from scalar.replay.reporting import oracle_of, replay_parts

AT_ONCE = timedelta(seconds=60)
"""Who waited no longer didn't wait for a machine."""
_MONTH = timedelta(days=28)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How things stand: nodes that work, GPUs, and dollars since the week began."""

    nodes: int
    running: int
    queued: int
    orders: int
    spent: Decimal
    refused: int
    revenue: Decimal
    cost: Decimal


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Machines that were bought before any job asked for them, and what became of them. Times in minutes."""

    machines: int
    used: int
    """On which some job ran."""
    in_time: int
    """Of those: ready before their first job was even submitted."""
    until_used: float
    """From ready to the first job, in the middle, of those that were in time."""


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Of jobs that started: seconds. `at_once`: share of them."""

    jobs: int
    at_once: float
    median: float
    p95: float


def standing(tx: Transaction, window: Window, now: datetime) -> Standing:
    jobs = one(
        tx,
        """select coalesce(sum(gpus * nodes) filter (where state = 'running'), 0)::int as running,
               coalesce(sum(gpus * nodes) filter (where state = 'queued'), 0)::int as queued,
               (select count(*) from nodes where state in ('ready', 'draining'))::int as nodes from jobs""",
    )
    bought = one(
        tx,
        """select count(*)::int as orders, coalesce(sum(amount), 0) as spent from orders
           where side = 'buy' and amount > 0 and filled_at >= %s and filled_at < %s""",
        [window.start, now],
    )
    money = books(tx, Window(start=window.start, end=now))
    return Standing(
        nodes=jobs["nodes"],
        running=jobs["running"],
        queued=jobs["queued"],
        orders=bought["orders"],
        spent=bought["spent"],
        refused=sum(refusals(tx).values()),
        revenue=money[0],
        cost=money[1],
    )


def books(tx: Transaction, window: Window) -> tuple[Decimal, Decimal]:
    """(revenue, cost) by the ledger's lines, in dollars."""
    months = margin_store.months(tx, window)
    return dollars(sum(each.revenue for each in months)), dollars(sum(each.cost for each in months))


def refusals(tx: Transaction) -> dict[str, int]:
    """What was planned and not ordered: why, without its figures, and how often."""
    rows = tx.execute(
        r"""select regexp_replace(outcome, '\$?[0-9][0-9.,:-]*', '…', 'g') as why, count(*)::int as n from plan_actions
            where order_id is null and outcome is not null and kind <> 'lapse' group by 1 order by 2 desc"""
    )
    return {row["why"]: row["n"] for row in rows}


def most_spent(tx: Transaction) -> tuple[Decimal, Decimal, Decimal]:
    """(the dearest order, the most within an hour, the most within a day), in dollars of what was filled.

    By when each was let out, which is what the guards go by; an hour begins after the moment an hour before.
    """
    row = one(
        tx,
        """select max(amount) as an_order, max(hour) as an_hour, max(day) as a_day from (
               select amount, sum(amount) over (order by at range between
                       interval '1 hour' - interval '1 microsecond' preceding and current row) as hour,
                   sum(amount) over (order by at range between
                       interval '1 day' - interval '1 microsecond' preceding and current row) as day
               from (select coalesce(intended_at, created_at) as at, amount from orders where side = 'buy') o) w""",
    )
    return tuple(row[name] or Decimal(0) for name in ("an_order", "an_hour", "a_day"))  # type: ignore[return-value]


def orders_by_state(tx: Transaction) -> dict[str, int]:
    rows = tx.execute("select side || ' ' || state as what, count(*)::int as n from orders group by 1 order by 1")
    return {row["what"]: row["n"] for row in rows}


def bought_ahead(tx: Transaction) -> Ahead:
    """By the order of the first block that a machine sat on, and the jobs that it was ordered for: none."""
    rows = tx.execute(
        """select i.ready_at, first.submitted_at, first.placed_at from instances i
           cross join lateral (
               select block_id from seatings where instance_id = i.id order by lower(during) limit 1) s
           join blocks b on b.id = s.block_id join plan_actions a on a.order_id = b.order_id
           left join lateral (
               select j.submitted_at, r.placed_at from run_tasks t join job_runs r on r.id = t.run_id
                   join jobs j on j.id = r.job_id
               where t.node_id = i.node_id order by r.placed_at limit 1) first on true
           where i.ready_at is not null and a.kind = 'buy' and a.jobs = '{}'"""
    ).fetchall()
    used = [row for row in rows if row["placed_at"] is not None]
    in_time = [row for row in used if row["ready_at"] <= row["submitted_at"]]
    minutes = [(row["placed_at"] - row["ready_at"]).total_seconds() / 60 for row in in_time]
    return Ahead(
        machines=len(rows),
        used=len(used),
        in_time=len(in_time),
        until_used=float(np.median(minutes)) if minutes else 0.0,
    )


def waits(tx: Transaction, window: Window, tier: Tier | None = None) -> Waits:
    """From submission to the first start, of jobs that came in the window."""
    rows = tx.execute(
        """select extract(epoch from min(r.started_at) - j.submitted_at)::float8 as seconds
           from jobs j join job_runs r on r.job_id = j.id and r.started_at is not null
           where j.submitted_at >= %(start)s and j.submitted_at < %(end)s
             and (%(tier)s::text is null or j.tier = %(tier)s) group by j.id""",
        {"start": window.start, "end": window.end, "tier": tier.value if tier else None},
    )
    found = np.array([row["seconds"] for row in rows] or [0.0])
    return Waits(
        jobs=len(found),
        at_once=float((found <= AT_ONCE.total_seconds()).mean()),
        median=float(np.median(found)),
        p95=float(np.quantile(found, 0.95)),
    )


def foreseen(tx: Transaction, hours: int = 24) -> float:
    """GPUs, on average over the hours that come, by the middle of the last forecasts."""
    latest = forecasts.latest(tx, Kind.DEMAND)
    return float(sum(each.quantiles[:hours, MEDIAN].mean() for each in latest))


def came(tx: Transaction, window: Window) -> float:
    """GPUs that were wanted, on average."""
    row = one(
        tx,
        """select coalesce(sum(running + queued), 0) / greatest(1, (select count(*) from demand_hours
               where hour >= %(start)s and hour < %(end)s)) as gpus
           from demand_history where hour >= %(start)s and hour < %(end)s""",
        {"start": window.start, "end": window.end},
    )
    return float(row["gpus"])


def trust(tx: Transaction, now: datetime) -> list[str]:
    """What each forecast has earned."""
    return [
        f"{subject}: {found.why}; {found.order_size:.0%} of an order, {found.horizon_hours} h ahead"
        for subject, skill in forecasts.skills(tx, now - _MONTH).items()
        for found in [authority(skill)]
    ]


def as_it_was(tx: Transaction, window: Window) -> Report:
    """The week itself, as a replay would report it: by its ledger."""
    revenue, cost = books(tx, window)
    every, fast = waits(tx, window), waits(tx, window, Tier.FAST)
    jobs = one(
        tx,
        """select count(*)::int as jobs, count(*) filter (where state = 'succeeded')::int as finished,
               count(*) filter (where tier = 'flex')::int as flex,
               coalesce(sum(interruptions), 0)::int as interruptions
           from jobs where submitted_at >= %s and submitted_at < %s""",
        [window.start, window.end],
    )
    late = one(
        tx,
        """select count(*)::int as n from (
               select j.submitted_at, min(r.started_at) as started from jobs j left join job_runs r on r.job_id = j.id
               where j.tier = 'flex' and j.submitted_at >= %s and j.submitted_at < %s group by j.id) f
           where started is null or started > submitted_at + interval '1 day'""",
        [window.start, window.end],
    )
    used = one(
        tx,
        """select coalesce(sum(gpu_seconds), 0)::float8 / 3600 as owned,
               coalesce(sum(used_gpu_seconds), 0)::float8 / 3600 as used
           from node_costs where hour >= %s and hour < %s""",
        [window.start, window.end],
    )
    sold = one(
        tx,
        """select coalesce(sum(amount) filter (where side = 'sell'), 0) as sold, count(*)::int as orders from orders
           where created_at >= %s and created_at < %s""",
        [window.start, window.end],
    )
    return Report(
        policy="as it was",
        jobs=jobs["jobs"],
        finished=jobs["finished"],
        cost=cost,
        revenue=revenue,
        resold=sold["sold"],
        wait_median=every.median,
        wait_p95=every.p95,
        fast_wait_p95=fast.p95,
        deadlines=jobs["flex"],
        missed_deadlines=late["n"],
        interruptions=jobs["interruptions"],
        gpu_hours=used["used"],
        owned_gpu_hours=used["owned"],
        orders=sold["orders"],
    )


def replayed(tx: Transaction, window: Window) -> list[Report]:
    """The same jobs and prices under each policy, and by who knew everything."""
    parts = replays.recorded_parts(tx, window.start, window.end)
    cards = cards_between(tx, window.start, window.end)
    if not parts:
        return []
    found = [replay_parts(parts, partial(policy_named, name), cards) for name in NAMES]
    return [*found, oracle_of(parts, cards)]
