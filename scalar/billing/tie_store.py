"""SQL of the ties: do the figures of one book and of another agree? Costs, the ledger, the market's statement."""

from dataclasses import dataclass
from datetime import datetime

from scalar.billing.cost_store import bought
from scalar.billing.ledger import CASH_MARKET, CREDITS, PREPAID_NODE_HOURS, REVENUE, SUPPLIER_COST
from scalar.billing.margin import added_up
from scalar.billing.margin_store import customers, month_line
from scalar.database import Transaction, one
from scalar.metering.model import Window


@dataclass(frozen=True, kw_only=True)
class Tie:
    """Two books' figures of the same, in micro-dollars."""

    what: str
    ours: int
    theirs: int

    @property
    def off(self) -> int:
        return self.theirs - self.ours


def hour_in_ledger(tx: Transaction, hour: datetime) -> list[Tie]:
    """The cost of an hour, as its nodes' and in the ledger; its parts, as its nodes' and its runs'."""
    row = one(
        tx,
        """select coalesce(sum(cost), 0)::bigint as cost, coalesce(sum(direct), 0)::bigint as direct,
               coalesce(sum(idle_shared), 0)::bigint as idle_shared from node_costs where hour = %s""",
        [hour],
    )
    runs = one(
        tx,
        """select coalesce(sum(cost), 0)::bigint as direct, coalesce(sum(idle_cost), 0)::bigint as idle_shared
           from run_costs where hour = %s""",
        [hour],
    )
    posted = {account.name: _posted(tx, hour, account.name) for account in (SUPPLIER_COST, PREPAID_NODE_HOURS)}
    return [
        Tie(what="supplier cost", ours=row["cost"], theirs=posted[SUPPLIER_COST.name]),
        Tie(what="prepaid node-hours", ours=-row["cost"], theirs=posted[PREPAID_NODE_HOURS.name]),
        Tie(what="the runs' own", ours=row["direct"], theirs=runs["direct"]),
        Tie(what="idle time", ours=row["idle_shared"], theirs=runs["idle_shared"]),
    ]


def costs_in_ledger(tx: Transaction, window: Window) -> list[Tie]:
    """Hours of which the ledger has another supplier cost than their nodes."""
    rows = tx.execute(
        """with cost as (
               select hour, sum(cost)::bigint as amount from node_costs
               where hour >= %(start)s and hour < %(end)s group by hour),
           posted as (
               select c.hour, sum(e.amount)::bigint as amount from costed_hours c
               cross join lateral generate_series(0, c.postings - 1) k
               join ledger_transactions t
                   on t.source = 'cost/' || to_char(c.hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24') || '/' || k
               join ledger_entries e on e.transaction_id = t.id and e.account = %(account)s
               where c.hour >= %(start)s and c.hour < %(end)s group by c.hour)
           select to_char(hour at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as what,
               coalesce(c.amount, 0) as ours, coalesce(p.amount, 0) as theirs
           from cost c full join posted p using (hour)
           where coalesce(c.amount, 0) <> coalesce(p.amount, 0) order by hour""",
        {"start": window.start, "end": window.end, "account": SUPPLIER_COST.name},
    )
    return [Tie(**row) for row in rows]


def revenue_in_ledger(tx: Transaction, window: Window) -> list[Tie]:
    """Postings of these hours' usage that are not what their lines add up to."""
    rows = tx.execute(
        """with lines as (
               select ledger_source as what, sum(amount)::bigint as ours from rated_lines
               where ledger_source in (select ledger_source from rated_lines where hour >= %s and hour < %s)
               group by ledger_source)
           select l.what, l.ours, -coalesce((
                   select sum(e.amount) from ledger_transactions t join ledger_entries e on e.transaction_id = t.id
                   where t.source = l.what and e.account = any(%s)), 0)::bigint as theirs
           from lines l order by l.what""",
        [window.start, window.end, [REVENUE.name, CREDITS.name]],
    )
    return [tie for row in rows if (tie := Tie(**row)).off]


def month_ties(tx: Transaction, window: Window) -> list[Tie]:
    """The month's revenue and cost, as the customers', and as the ledger's postings of these hours have them."""
    line, every = month_line(tx, window), added_up(customers(tx, window))
    posted = one(
        tx,
        """select coalesce(sum(posted), 0)::bigint as cost from costed_hours where hour >= %s and hour < %s""",
        [window.start, window.end],
    )
    return [
        Tie(what="revenue", ours=line.revenue, theirs=every.revenue),
        Tie(what="the runs' own", ours=line.direct, theirs=every.cost),
        Tie(what="idle time, shared", ours=line.idle_shared, theirs=every.idle_cost),
        Tie(
            what="supplier cost of the hours",
            ours=line.direct + line.idle_shared + line.idle_unshared,
            theirs=int(posted["cost"]),
        ),
    ]


def prepaid_in_ledger(tx: Transaction) -> Tie:
    """What of all blocks is ahead still, by their prices, hours and sales; and what the ledger has prepaid."""
    row = one(
        tx,
        """select array(select id from blocks) as blocks,
               (select coalesce(sum(cost), 0)::bigint from node_costs) as used,
               coalesce((select amount from ledger_balances where account = %s), 0) as prepaid""",
        [PREPAID_NODE_HOURS.name],
    )
    blocks = bought(tx, row["blocks"])
    left = sum(block.paid - sum(each.cost for each in block.settled) for block in blocks)
    return Tie(what=PREPAID_NODE_HOURS.name, ours=left - row["used"], theirs=row["prepaid"])


@dataclass(frozen=True, kw_only=True)
class Charged(Tie):
    """An order's cash: in our ledger, and on the market's statement."""

    lines: int
    """Of the statement: the market rounds each to a cent."""

    @property
    def agrees(self) -> bool:
        return abs(self.off) <= max(self.lines, 1) * 5_000


def orders_on_statement(tx: Transaction, window: Window, *, read_until: datetime) -> list[Charged]:
    """Orders that filled in the window, and that the statement must have: it was read until then."""
    rows = tx.execute(
        """with filled as (
               select order_id from fills group by order_id
               having bool_or(filled_at >= %(start)s and filled_at < %(end)s) and max(filled_at) <= %(read)s),
           cash as (
               select p.order_id, sum(e.amount)::bigint as amount
               from posted_fills p join filled using (order_id)
               cross join lateral generate_series(0, p.postings - 1) k
               join ledger_transactions t on t.source = 'fill/' || p.order_id || '/' || p.position
                   || case when k > 0 then '/' || k else '' end
               join ledger_entries e on e.transaction_id = t.id and e.account = %(cash)s group by p.order_id)
           select o.id as what, coalesce(c.amount, 0) as ours, s.lines, s.cents * 10000 as theirs
           from filled f join orders o on o.id = f.order_id left join cash c on c.order_id = o.id
           cross join lateral (
               select coalesce(sum(amount_cents), 0)::bigint as cents, count(*) as lines from market_transactions
               where market_order_id = o.market_id) s order by o.id""",
        {"start": window.start, "end": window.end, "read": read_until, "cash": CASH_MARKET.name},
    )
    return [Charged(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class StatementRead:
    until: datetime | None
    """When it was last read to its end."""
    unread_fills: int
    """Fills of the window that came after it."""
    strange_lines: tuple[str, ...]
    """Lines of the window for orders that are none of ours."""


def statement_read(tx: Transaction, window: Window) -> StatementRead:
    # Fills of the last minutes before it was read may not have been on it yet.
    row = one(
        tx,
        """with read as (select max(at) - interval '5 minutes' as until from reconciliations)
           select until, (select count(*) from fills where filled_at >= %(start)s and filled_at < %(end)s
                   and (until is null or filled_at > until)) as unread_fills,
               array(select distinct t.market_order_id from market_transactions t
                   where t.at >= %(start)s and t.at < %(end)s and t.market_order_id is not null
                     and not exists (select from orders o where o.market_id = t.market_order_id)
                   order by 1) as strange_lines
           from read""",
        {"start": window.start, "end": window.end},
    )
    return StatementRead(**{**row, "strange_lines": tuple(row["strange_lines"])})


def _posted(tx: Transaction, hour: datetime, account: str) -> int:
    row = one(
        tx,
        """select coalesce(sum(e.amount), 0)::bigint as amount from costed_hours c
           cross join lateral generate_series(0, c.postings - 1) k
           join ledger_transactions t
               on t.source = 'cost/' || to_char(c.hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24') || '/' || k
           join ledger_entries e on e.transaction_id = t.id and e.account = %s where c.hour = %s""",
        [account, hour],
    )
    return int(row["amount"])
