"""SQL of replay: what was recorded of a month, what the ledger has of it, and the reports of replays."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from scalar.billing import cost_store, fill_store, rate_cards_store, rated_store
from scalar.billing.fill_store import FillFact
from scalar.billing.money import micros
from scalar.database import Transaction, one
from scalar.jobs.model import Tier
from scalar.market.model import Side, Sku
from scalar.market.store import skus
from scalar.metering.model import Window
from scalar.planning.foresight_store import used_by_hour
from scalar.replay.books import LineKey, Records, Rows, line_key
from scalar.replay.model import A_KIND, Arrival, History, Part, Report, Setup

_REPORT = TypeAdapter(Report)
_EARLIER = timedelta(weeks=6)
_FLEX_WAIT = timedelta(days=1)
_FINE = Decimal("0.0001")


def records(tx: Transaction, month: Window) -> Records:
    """What the books of [start, end) are made of; the window is one UTC month, or a part of it from its start on."""
    rated = _rated(tx, month)
    organisations = _organisations(tx, rated)
    costed = _costed(tx, month)
    fills = _fills(tx, month)
    wanted = {block.id for block in cost_store.blocks_in(tx, month)} | {
        block_id for each in fills for block_id in each.block_ids
    }
    return Records(
        month=month,
        rated=rated,
        uses=rated_store.uses_of(tx, organisations, month),
        cards=rate_cards_store.cards_between(tx, month.start, month.end, organisations),
        prices=rated_store.market_prices(tx, rated),
        costed=costed,
        blocks=cost_store.bought(tx, sorted(wanted)),
        costed_uses={hour: cost_store.uses_in(tx, Window.hour(hour)) for hour in costed},
        fills=fills,
    )


def ledger_rows(tx: Transaction, month: Window) -> Rows:
    """What the ledger has of the month's usage, hours and fills, whenever it was posted: by what it was posted for."""
    rows = tx.execute(
        """with posted as (
               select id, kind, split_part(source, '/', 2) as hour,
                   split_part(source, '/', 2) || '/' || split_part(source, '/', 3) as fill
               from ledger_transactions where kind in ('usage', 'cost', 'fill'))
           select p.kind, e.account, sum(e.amount)::bigint as amount,
               case p.kind when 'fill' then p.fill when 'cost' then p.hour else left(p.hour, 7) end as subject
           from posted p join ledger_entries e on e.transaction_id = p.id
           where case p.kind when 'fill' then exists (
                   select from fills f where f.order_id || '/' || f.position = p.fill
                       and f.filled_at >= %(start)s and f.filled_at < %(end)s)
               else (p.hour || ':00Z')::timestamptz >= %(start)s and (p.hour || ':00Z')::timestamptz < %(end)s end
           group by p.kind, subject, e.account having sum(e.amount) <> 0""",
        {"start": month.start, "end": month.end},
    )
    return {(row["kind"], row["subject"], row["account"]): row["amount"] for row in rows}


def rated_rows(tx: Transaction, month: Window) -> dict[LineKey, int]:
    """What the lines of the month's usage stand at."""
    standing = rated_store.standing_of(tx, _organisations(tx, _rated(tx, month)), month)
    return {line_key(line): line.amount for line in standing if line.amount}


def recorded_parts(tx: Transaction, start: datetime, end: datetime) -> list[Part]:
    """What came in [start, end) and ran, by the GPU type that it ran on, each with the prices of that type's market."""
    arrivals: dict[str, list[Arrival]] = {}
    for gpu_type, arrival in _arrivals(tx, start, end):
        arrivals.setdefault(gpu_type, []).append(arrival)
    found = []
    for gpu_type, came in arrivals.items():
        sku = _traded(tx, gpu_type, end)
        if sku is not None:
            prices = _prices(tx, sku, end)
            earlier = _wanted(tx, gpu_type, start - _EARLIER, start)
            history = History(start=start, end=end, arrivals=tuple(came), prices=prices, earlier=earlier)
            found.append(Part(history=history, setup=_quoted(tx, _kind(tx, sku, gpu_type), sku, start, end)))
    return found


def any_job_ran(tx: Transaction, start: datetime, end: datetime) -> bool:
    return bool(_arrivals(tx, start, end))


def _arrivals(tx: Transaction, start: datetime, end: datetime) -> list[tuple[str, Arrival]]:
    """With the GPU type of the last run. A flex job that named no deadline may wait for a day."""
    rows = tx.execute(
        """select j.id, j.submitted_at as at, j.gpus, j.nodes, j.tier, j.organisation_id, j.max_price_per_gpu_hour,
               j.deadline,
               extract(epoch from sum(r.ended_at - r.started_at))::float8 as seconds,
               (array_agg(n.gpu_type order by r.started_at desc))[1] as gpu_type
           from jobs j join job_runs r on r.job_id = j.id and r.started_at is not null and r.ended_at > r.started_at
               join run_tasks t on t.run_id = r.id and t.rank = 0 join nodes n on n.id = t.node_id
           where j.submitted_at >= %s and j.submitted_at < %s group by j.id order by j.submitted_at, j.id""",
        [start, end],
    )
    return [(row.pop("gpu_type"), Arrival(**_with_deadline(row))) for row in rows]


def _with_deadline(row: dict[str, Any]) -> dict[str, Any]:
    tier = Tier(row["tier"])
    usual = row["at"] + timedelta(seconds=row["seconds"]) + _FLEX_WAIT if tier is Tier.FLEX else None
    return {**row, "tier": tier, "deadline": row["deadline"] or usual}


def _traded(tx: Transaction, gpu_type: str, before: datetime) -> str | None:
    """The kind of machine of that GPU type that was traded most; where none was, of any type."""
    row = tx.execute(
        """select p.sku from market_prices p left join skus s on s.id = p.sku
           where p.average is not null and p.hour < %s group by p.sku, s.gpu_type
           order by s.gpu_type is not distinct from %s desc, sum(p.node_hours) desc nulls last, p.sku limit 1""",
        [before, gpu_type],
    ).fetchone()
    return str(row["sku"]) if row else None


def _prices(tx: Transaction, sku: str, before: datetime) -> dict[datetime, Decimal]:
    query = "select hour, average from market_prices where average is not null and hour < %s and sku = %s order by hour"
    return {row["hour"]: row["average"] for row in tx.execute(query, [before, sku])}


def _wanted(tx: Transaction, gpu_type: str, start: datetime, end: datetime) -> tuple[float, ...]:
    """By hour, from the first that is known: what demand history says, or else what ran."""
    rows = tx.execute(
        """with known as (select min(hour) as first from demand_hours where hour >= %(start)s and hour < %(end)s)
           select coalesce(sum(d.running + d.queued), 0)::float8 as gpus
           from known cross join generate_series(first, %(end)s - interval '1 hour', interval '1 hour') as h (hour)
           left join demand_history d on d.hour = h.hour and d.gpu_type = %(gpu_type)s and d.tier = %(tier)s
           group by h.hour order by h.hour""",
        {"start": start, "end": end, "gpu_type": gpu_type, "tier": Tier.FAST},
    )
    wanted = tuple(row["gpus"] for row in rows)
    if any(wanted):
        return wanted
    used = used_by_hour(tx, gpu_type, Tier.FAST, start, end)
    return () if used is None else tuple(used.tolist())


def _quoted(tx: Transaction, kind: Sku, sku: str, start: datetime, end: datetime) -> Setup:
    """What a day and a week cost by what an hour did, and what was bid, as the market quoted them then, on average."""
    row = one(
        tx,
        """select avg(q.day / q.one) as day, avg(q.week / q.one) as week, avg(q.bid / q.one) as bid
           from market_prices p cross join lateral (
               select (quotes -> '1h' ->> 'buy')::numeric as one, (quotes -> '24h' ->> 'buy')::numeric as day,
                   (quotes -> '168h' ->> 'buy')::numeric as week, (quotes -> '1h' ->> 'sell')::numeric as bid) q
           where p.sku = %(sku)s and p.hour >= %(start)s and p.hour < %(end)s and q.one > 0""",
        {"sku": sku, "start": start, "end": end},
    )
    usual = Setup()
    ratios = {1: Decimal(1), 24: _ratio(row["day"], usual.block_ratios[24])}
    ratios[168] = _ratio(row["week"], usual.block_ratios[168])
    return Setup(sku=kind, block_ratios=ratios, bid_ratio=_ratio(row["bid"], usual.bid_ratio))


def _ratio(quoted: Decimal | None, usual: Decimal) -> Decimal:
    return usual if quoted is None else quoted.quantize(_FINE)


def _kind(tx: Transaction, sku: str, gpu_type: str) -> Sku:
    """The machine, with the GPUs of those who ran: a price of another type stands in where there is none."""
    gpus = next((each.gpus_per_node for each in skus(tx) if each.id == sku), A_KIND.gpus_per_node)
    return Sku(id=sku, alias=sku, gpu_type=gpu_type, gpus_per_node=gpus)


def keep_report(tx: Transaction, month: date, report: Report, now: datetime) -> None:
    """In place of an earlier one of the same month and policy."""
    tx.execute(
        """insert into policy_replays (month, policy, report, made_at) values (%s, %s, %s, %s)
           on conflict (month, policy) do update set report = excluded.report, made_at = excluded.made_at""",
        [month, report.policy, Jsonb(_REPORT.dump_python(report, mode="json")), now],
    )


def reports(tx: Transaction, month: date) -> dict[str, Report]:
    """By policy."""
    rows = tx.execute("select policy, report from policy_replays where month = %s order by policy", [month])
    return {row["policy"]: _REPORT.validate_python(row["report"]) for row in rows}


def last_whole_month(tx: Transaction) -> date | None:
    """The last that was replayed once it was over."""
    query = """select max(month) as month from policy_replays
               where made_at >= (month + interval '1 month') at time zone 'UTC'"""
    row = tx.execute(query).fetchone()
    return row["month"] if row else None


def _rated(tx: Transaction, month: Window) -> list[datetime]:
    query = "select hour from rated_hours where hour >= %s and hour < %s order by hour"
    return [row["hour"] for row in tx.execute(query, [month.start, month.end])]


def _organisations(tx: Transaction, hours: list[datetime]) -> list[str]:
    query = "select distinct organisation_id from hourly_usage where hour = any(%s) order by 1"
    return [row["organisation_id"] for row in tx.execute(query, [hours])]


def _costed(tx: Transaction, month: Window) -> list[datetime]:
    query = "select hour from costed_hours where costed_at is not null and hour >= %s and hour < %s order by hour"
    return [row["hour"] for row in tx.execute(query, [month.start, month.end])]


def _fills(tx: Transaction, month: Window) -> list[FillFact]:
    """Those that the ledger has."""
    rows = tx.execute(
        """select f.order_id, f.position, o.side, f.filled_at as at, f.amount, b.block_ids
           from fills f join orders o on o.id = f.order_id
           join posted_fills p on (p.order_id, p.position) = (f.order_id, f.position)
           cross join lateral (
               select coalesce(array_agg(distinct id), '{}') as block_ids from (
                   select id from blocks where (order_id, fill) = (f.order_id, f.position)
                   union select block_id from sales where (order_id, fill) = (f.order_id, f.position)) taken) b
           where f.filled_at >= %s and f.filled_at < %s order by f.filled_at, f.order_id, f.position""",
        [month.start, month.end],
    ).fetchall()
    sold = {
        (each.order_id, each.position): each
        for each in fill_store.fills(tx, of_blocks={block_id for row in rows for block_id in row["block_ids"]})
    }
    return [sold.get((row["order_id"], row["position"])) or _purchase(row) for row in rows]


def _purchase(row: dict[str, object]) -> FillFact:
    amount, blocks = row["amount"], row["block_ids"]
    assert isinstance(amount, Decimal)  # noqa: S101 - the column's type
    assert isinstance(blocks, list)  # noqa: S101
    return FillFact(
        order_id=str(row["order_id"]),
        position=int(str(row["position"])),
        side=Side(str(row["side"])),
        at=_time(row["at"]),
        amount=micros(amount),
        fee=0,
        block_ids=tuple(blocks),
    )


def _time(value: object) -> datetime:
    assert isinstance(value, datetime)  # noqa: S101
    return value
