"""SQL of margins: what was rated and what it cost, by job, customer, block and month."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from scalar.billing.block_prices import Bought
from scalar.billing.margin import BlockPnl, CustomerLine, JobLine, MonthLine, NodePaid
from scalar.billing.months import month_of
from scalar.database import Transaction
from scalar.metering.model import Window

_EARNED = """
    select job_id, organisation_id, sum(amount) as revenue, 0 as cost, 0 as idle_cost, 0 as gpu_seconds
    from rated_lines where hour >= %(start)s and hour < %(end)s group by job_id, organisation_id
    union all
    select job_id, organisation_id, 0, sum(cost), sum(idle_cost), 0
    from run_costs where hour >= %(start)s and hour < %(end)s group by job_id, organisation_id
    union all
    select r.job_id, u.organisation_id, 0, 0, 0, sum(u.gpu_seconds)
    from hourly_usage u join job_runs r on r.id = u.run_id
    where u.hour >= %(start)s and u.hour < %(end)s group by r.job_id, u.organisation_id"""
_SUMS = """sum(e.revenue)::bigint as revenue, sum(e.cost)::bigint as cost, sum(e.idle_cost)::bigint as idle_cost,
    sum(e.gpu_seconds) as gpu_seconds"""


def jobs(tx: Transaction, window: Window, *, limit: int) -> list[JobLine]:
    """What jobs earned in these hours, those that earned least first."""
    rows = tx.execute(
        f"""select e.job_id, j.name, o.name as organisation, j.tier, {_SUMS} from ({_EARNED}) e
            join jobs j on j.id = e.job_id join organisations o on o.id = e.organisation_id
            group by e.job_id, j.name, o.name, j.tier
            order by sum(e.revenue) - sum(e.cost) - sum(e.idle_cost), e.job_id limit %(limit)s""",
        {"start": window.start, "end": window.end, "limit": limit},
    )
    return [JobLine(**row) for row in rows]


def customers(tx: Transaction, window: Window) -> list[CustomerLine]:
    """What organisations' jobs earned in these hours, the greatest revenue first."""
    rows = tx.execute(
        f"""select e.organisation_id, o.name, {_SUMS} from ({_EARNED}) e
            join organisations o on o.id = e.organisation_id
            group by e.organisation_id, o.name order by sum(e.revenue) desc, o.name""",
        {"start": window.start, "end": window.end},
    )
    return [CustomerLine(**row) for row in rows]


def months(tx: Transaction, window: Window) -> list[MonthLine]:
    """Every month of the window in which something was earned or paid, oldest first."""
    rows = tx.execute(
        """select month, sum(revenue)::bigint as revenue, sum(direct)::bigint as direct,
               sum(idle_shared)::bigint as idle_shared, sum(idle_unshared)::bigint as idle_unshared,
               sum(resale_result)::bigint as resale_result
           from (
               select date_trunc('month', hour at time zone 'UTC')::date as month, amount as revenue, 0 as direct,
                   0 as idle_shared, 0 as idle_unshared, 0 as resale_result
               from rated_lines where hour >= %(start)s and hour < %(end)s
               union all
               select date_trunc('month', hour at time zone 'UTC')::date, 0, direct, idle_shared, idle_unshared, 0
               from node_costs where hour >= %(start)s and hour < %(end)s
               union all
               select date_trunc('month', f.filled_at at time zone 'UTC')::date, 0, 0, 0, 0,
                   p.cost_of_sold - p.amount + p.fee
               from posted_fills p join fills f using (order_id, position) join orders o on o.id = f.order_id
               where o.side = 'sell' and f.filled_at >= %(start)s and f.filled_at < %(end)s) every
           group by month order by month""",
        {"start": window.start, "end": window.end},
    )
    return [MonthLine(**row) for row in rows]


def month_line(tx: Transaction, window: Window) -> MonthLine:
    """`window`: a month."""
    return next(iter(months(tx, window)), MonthLine(month=month_of(window.start)))


@dataclass(frozen=True, kw_only=True)
class HourLine:
    """What an hour's nodes cost, and who bore it."""

    hour: datetime
    direct: int
    idle_shared: int
    idle_unshared: int


def hours(tx: Transaction, window: Window) -> list[HourLine]:
    rows = tx.execute(
        """select hour, sum(direct)::bigint as direct, sum(idle_shared)::bigint as idle_shared,
               sum(idle_unshared)::bigint as idle_unshared
           from node_costs where hour >= %s and hour < %s group by hour order by hour""",
        [window.start, window.end],
    )
    return [HourLine(**row) for row in rows]


def pnl(tx: Transaction, blocks: Collection[Bought], until: datetime) -> list[BlockPnl]:
    """Of these blocks, all that happened before then; what a run is charged for an hour is shared by GPU-seconds."""
    rows = tx.execute(
        """with own as (select id, order_id from blocks where id = any(%(ids)s)),
           spent as (
               select block_id, sum(direct)::bigint as direct, sum(idle_shared)::bigint as idle_shared,
                   sum(idle_unshared)::bigint as idle_unshared
               from node_costs where block_id = any(%(ids)s) and hour < %(until)s group by block_id),
           parts as (
               select hour, run_id, block_id, gpu_seconds, sum(gpu_seconds) over (partition by hour, run_id) as whole,
                   sum(gpu_seconds) over (partition by hour, run_id order by block_id) as upto
               from run_costs where hour < %(until)s and (hour, run_id) in (
                   select hour, run_id from run_costs where block_id = any(%(ids)s) and hour < %(until)s)),
           earned as (
               select p.block_id,
                   sum(round(l.amount * upto / whole) - round(l.amount * (upto - gpu_seconds) / whole)) as revenue
               from parts p cross join lateral (
                   select sum(amount) as amount from rated_lines where run_id = p.run_id and hour = p.hour) l
               group by p.block_id)
           select o.id, o.order_id, coalesce(s.direct, 0) as direct, coalesce(s.idle_shared, 0) as idle_shared,
               coalesce(s.idle_unshared, 0) as idle_unshared, coalesce(e.revenue, 0)::bigint as revenue
           from own o left join spent s on s.block_id = o.id left join earned e on e.block_id = o.id""",
        {"ids": [each.id for each in blocks], "until": until},
    )
    found = {row.pop("id"): row for row in rows}
    return [_pnl(block, found[block.id], until) for block in blocks]


def nodes_of_job(tx: Transaction, gpu_seconds: dict[str, Decimal]) -> list[NodePaid]:
    """By block: what the job used of it is known."""
    query = "select id as block_id, order_id, price from blocks where id = any(%s) order by starts_at, id"
    return [NodePaid(**row, gpu_seconds=gpu_seconds[row["block_id"]]) for row in tx.execute(query, [list(gpu_seconds)])]


def rated_hours(tx: Transaction, hours: Collection[datetime]) -> set[datetime]:
    """Those of them that are rated from what is known."""
    rows = tx.execute(
        """select r.hour from rated_hours r join metered_hours m on m.hour = r.hour
           where r.hour = any(%s) and r.built_at = m.built_at""",
        [list(hours)],
    )
    return {row["hour"] for row in rows}


def _pnl(block: Bought, row: dict[str, int], until: datetime) -> BlockPnl:
    settled = [each for each in block.settled if each.sale.at < until]
    return BlockPnl(
        block_id=block.id,
        gpu_type=block.gpu_type,
        nodes=block.nodes,
        window=block.window,
        paid=block.paid,
        resold=sum(each.sale.net for each in settled),
        resale_result=sum(each.result for each in settled),
        order_id=str(row["order_id"]),
        direct=row["direct"],
        idle_shared=row["idle_shared"],
        idle_unshared=row["idle_unshared"],
        revenue=row["revenue"],
    )
