"""SQL of costs: what was bought and sold, who used it, and the hours made from it."""

from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from scalar.billing.block_prices import Bought, Sale
from scalar.billing.costs import Costs, RunCost, Use
from scalar.billing.fill_store import sales_of
from scalar.billing.money import micros
from scalar.database import Transaction, one
from scalar.market.model import Rectangle
from scalar.metering.model import HOUR, Window

_MINUTES_AN_HOUR = 60


def blocks_in(tx: Transaction, window: Window) -> list[Bought]:
    """Every block of which some time lies in the window, whole, with all that was sold of it."""
    query = "select id from blocks where starts_at < %s and ends_at > %s"
    return bought(tx, [row["id"] for row in tx.execute(query, [window.end, window.start])])


def bought(tx: Transaction, block_ids: Collection[str]) -> list[Bought]:
    """The kind of a machine that the market doesn't name any more is told by the nodes that came of it."""
    rows = tx.execute(
        """select b.id, b.nodes, b.starts_at, b.ends_at, b.price,
               coalesce(k.gpu_type, seen.gpu_type, b.sku) as gpu_type, coalesce(k.gpus_per_node, seen.gpus, 1) as gpus
           from blocks b left join skus k on k.id = b.sku
           left join lateral (
               select max(n.gpu_type) as gpu_type, max(n.gpus) as gpus from seatings s
               join instances i on i.id = s.instance_id join nodes n on n.id = i.node_id where s.block_id = b.id) seen
               on k.id is null
           where b.id = any(%s) order by b.id""",
        [list(block_ids)],
    ).fetchall()
    sales = sales_of(tx, block_ids)
    return [_bought(row, sales.get(row["id"], ())) for row in rows]


def uses_in(tx: Transaction, window: Window) -> list[Use]:
    """The metered time of every task on a bought node, cut where its machine moved from block to block."""
    rows = tx.execute(
        """select t.run_id, r.job_id, e.organisation_id, s.block_id, e.gpus, n.gpus as of,
               greatest(e.start, lower(s.during)) as start, least(e."end", upper(s.during)) as "end"
           from run_tasks t join job_runs r on r.id = t.run_id join nodes n on n.id = t.node_id
           join instances i on i.node_id = n.id
           cross join lateral (
               select organisation_id, gpus, min(at) as start, max(at) as "end" from usage_events
               where run_id = t.run_id and rank = t.rank group by organisation_id, gpus) e
           join seatings s on s.instance_id = i.id and s.during && tstzrange(e.start, e."end")
           where t.started_at < %(end)s and (t.ended_at is null or t.ended_at > %(start)s)
             and e.start < %(end)s and e."end" > %(start)s and s.during && tstzrange(%(start)s, %(end)s)
           order by t.run_id, t.rank, start""",
        {"start": window.start, "end": window.end},
    )
    return [Use(window=Window(start=row.pop("start"), end=row.pop("end")), **row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What the ledger has of an hour, and which build of its usage it was made from."""

    amount: int
    postings: int
    metered_at: datetime | None


def open_hour(tx: Transaction, hour: datetime) -> Posted:
    """The hour is the caller's until the transaction ends. With the build of its usage that there is now."""
    tx.execute("insert into costed_hours (hour) values (%s) on conflict do nothing", [hour])
    row = one(
        tx,
        """select posted as amount, postings, (select built_at from metered_hours where hour = c.hour) as metered_at
           from costed_hours c where hour = %s for update""",
        [hour],
    )
    return Posted(**row)


def replace_hour(tx: Transaction, hour: datetime, costs: Costs, posted: Posted, now: datetime) -> None:
    """The hour is these costs, and no others."""
    tx.execute("delete from run_costs where hour = %s", [hour])
    tx.execute("delete from node_costs where hour = %s", [hour])
    cursor = tx.cursor()
    cursor.executemany(
        """insert into node_costs (hour, block_id, gpu_type, gpu_seconds, used_gpu_seconds, cost, direct, idle_shared,
               idle_unshared) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [(hour, *astuple(node)) for node in costs.nodes],
    )
    cursor.executemany(
        """insert into run_costs (hour, run_id, job_id, organisation_id, block_id, gpu_seconds, cost, idle_cost)
           values (%s, %s, %s, %s, %s, %s, %s, %s)""",
        [(hour, *astuple(run)) for run in costs.runs],
    )
    tx.execute(
        """update costed_hours set costed_at = %(now)s, stale = false, posted = %(posted)s, postings = %(postings)s,
               metered_at = %(metered_at)s where hour = %(hour)s""",
        {
            "hour": hour,
            "now": now,
            "posted": posted.amount,
            "postings": posted.postings,
            "metered_at": posted.metered_at,
        },
    )


def mark_stale(tx: Transaction, window: Window) -> None:
    """What the hours of the window were made from has changed."""
    update = "update costed_hours set stale = true where hour > %s and hour < %s"
    tx.execute(update, [window.start - HOUR, window.end])


@dataclass(frozen=True, kw_only=True)
class DueHour:
    hour: datetime
    costed_at: datetime | None
    metered_at: datetime | None


def due_hours(tx: Transaction, until: datetime, *, since: datetime | None = None) -> list[DueHour]:
    """Hours that ended by then in which nodes were ours, and that were never costed, or from what has changed since.

    `since`: only those from then on. An hour that has been used waits until it is metered.
    """
    rows = tx.execute(
        """select h as hour, c.costed_at, m.built_at as metered_at
           from generate_series(
               greatest((select date_trunc('hour', min(starts_at), 'UTC') from blocks), %(since)s::timestamptz),
               %(until)s::timestamptz - interval '1 hour', interval '1 hour') h
           left join costed_hours c on c.hour = h left join metered_hours m on m.hour = h
           where (c.hour is null or c.stale or c.metered_at is distinct from m.built_at)
             and exists (select from blocks b where b.starts_at < h + interval '1 hour' and b.ends_at > h)
             and (m.hour is not null or not exists (
                 select from run_tasks t where t.started_at < h + interval '1 hour'
                 and (t.ended_at is null or t.ended_at > h)))
           order by h""",
        {"until": until, "since": since},
    )
    return [DueHour(**row) for row in rows]


def fresh_hours(tx: Transaction, hours: Collection[datetime]) -> set[datetime]:
    """Those of them that are costed from what is known."""
    rows = tx.execute(
        """select c.hour from costed_hours c left join metered_hours m on m.hour = c.hour
           where c.hour = any(%s) and not c.stale and c.metered_at is not distinct from m.built_at""",
        [list(hours)],
    )
    return {row["hour"] for row in rows}


def costs_of_job(tx: Transaction, job_id: str, hours: Collection[datetime]) -> list[RunCost]:
    rows = tx.execute(
        """select run_id, job_id, organisation_id, block_id, gpu_seconds, cost, idle_cost from run_costs
           where job_id = %s and hour = any(%s) order by hour, run_id, block_id""",
        [job_id, list(hours)],
    )
    return [RunCost(**row) for row in rows]


def _bought(row: dict[str, Any], sales: Iterable[Sale]) -> Bought:
    window = Rectangle(start=row["starts_at"], end=row["ends_at"], nodes=row["nodes"])
    return Bought(
        id=row["id"],
        gpu_type=row["gpu_type"],
        gpus=row["gpus"],
        nodes=row["nodes"],
        window=Window(start=window.start, end=window.end),
        paid=micros(window.cost_at(row["price"])),
        sales=tuple(sales),
    )
