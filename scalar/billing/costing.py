"""Costs, kept in the books: each function is one deed, inside the caller's transaction.

    a block is bought     prepaid_node_hours ─► cash:market
    an hour is over       supplier_cost ─► prepaid_node_hours: what its node-seconds cost
    nodes are sold back   cash:market ─► resale, market_fees ─► cash:market, supplier_cost ─► prepaid_node_hours: what
                          of the block's price went with them
    money comes there     cash:market ─► owners

An hour or a fill that turns out otherwise than it was posted is posted again with the difference only.
"""

from dataclasses import replace
from datetime import UTC, datetime

from scalar.billing import cost_store as store
from scalar.billing import fill_store
from scalar.billing.costs import Costs, costs_in
from scalar.billing.fill_store import FillFact, PostedFill
from scalar.billing.ledger import (
    CASH_MARKET,
    MARKET_FEES,
    OWNERS,
    PREPAID_NODE_HOURS,
    RESALE,
    SUPPLIER_COST,
    Entry,
    Posting,
    move,
    netted,
)
from scalar.billing.ledger_store import closed_periods, post
from scalar.billing.money import MICROS_A_CENT
from scalar.database import Transaction
from scalar.errors import Conflict
from scalar.market.model import Side
from scalar.metering.model import HOUR, Window


def cost_hour(tx: Transaction, hour: datetime, now: datetime) -> Costs:
    """Cost an hour, or cost it again. Raises: `Conflict` where it isn't over."""
    window = Window.hour(hour)
    hour = window.start
    if window.end > now:
        raise Conflict(f"{hour:%Y-%m-%d %H:%M} UTC is an hour that is not over.")
    posted = store.open_hour(tx, hour)
    costs = costs_in(store.blocks_in(tx, window), store.uses_in(tx, window), window)
    difference = costs.total - posted.amount
    if difference:
        post(
            tx,
            Posting(
                source=f"cost/{hour:%Y-%m-%dT%H}/{posted.postings}",
                kind="cost",
                at=_open(tx, hour, now),
                entries=move(difference, debit=SUPPLIER_COST, credit=PREPAID_NODE_HOURS),
            ),
        )
    postings = posted.postings + (difference != 0)
    store.replace_hour(tx, hour, costs, replace(posted, amount=costs.total, postings=postings), now)
    return costs


def cost_until_now(tx: Transaction, hour: datetime, now: datetime) -> Costs:
    """An hour that runs, as far as it has come, or one that isn't costed yet: nothing is written."""
    window = Window(start=hour, end=min(hour + HOUR, now))
    return costs_in(store.blocks_in(tx, window), store.uses_in(tx, window), window)


def post_market(tx: Transaction, now: datetime) -> int:
    """What was bought, sold and paid in at the market and is not in the ledger yet; how many fills there were."""
    fill_store.lock_fills(tx)
    fresh = fill_store.fills(tx, unposted=True)
    for fill in fresh:
        _post_fill(tx, fill, now)
        _reopen(tx, fill)
    blocks = {block_id for fill in fresh if fill.side is Side.SELL for block_id in fill.block_ids}
    for fill in fill_store.fills(tx, of_blocks=blocks):
        # A sale that is told of late comes before others of the same block: what went with those changes.
        _post_fill(tx, fill, now)
    for deposit in fill_store.unposted_deposits(tx):
        post(
            tx,
            Posting(
                source=f"statement/{deposit.cursor}",
                kind="market_deposit",
                at=_open(tx, deposit.at, now),
                entries=move(deposit.cents * MICROS_A_CENT, debit=CASH_MARKET, credit=OWNERS),
                description=deposit.kind,
            ),
        )
    return len(fresh)


def _post_fill(tx: Transaction, fill: FillFact, now: datetime) -> None:
    before = fill_store.posted_fill(tx, fill.order_id, fill.position)
    after = PostedFill(amount=fill.amount, fee=fill.fee, cost_of_sold=_cost_of_sold(tx, fill), postings=before.postings)
    if after == before and before.postings:
        return
    again = f"/{before.postings}" if before.postings else ""
    post(
        tx,
        Posting(
            source=f"fill/{fill.order_id}/{fill.position}{again}",
            kind="fill",
            at=_open(tx, fill.at, now),
            entries=_entries(fill.side, before, after),
        ),
    )
    fill_store.keep_posted(tx, fill.order_id, fill.position, replace(after, postings=before.postings + 1), now)


def _entries(side: Side, before: PostedFill, after: PostedFill) -> tuple[Entry, ...]:
    """What brings the ledger from one to the other."""
    amount = after.amount - before.amount
    if side is Side.BUY:
        return move(amount, debit=PREPAID_NODE_HOURS, credit=CASH_MARKET)
    return netted(
        [
            *move(amount, debit=CASH_MARKET, credit=RESALE),
            *move(after.fee - before.fee, debit=MARKET_FEES, credit=CASH_MARKET),
            *move(after.cost_of_sold - before.cost_of_sold, debit=SUPPLIER_COST, credit=PREPAID_NODE_HOURS),
        ]
    )


def _cost_of_sold(tx: Transaction, fill: FillFact) -> int:
    if fill.side is Side.BUY:
        return 0
    return sum(
        settled.cost
        for block in store.bought(tx, fill.block_ids)
        for settled in block.settled
        if (settled.sale.order_id, settled.sale.fill) == (fill.order_id, fill.position)
    )


def _reopen(tx: Transaction, fill: FillFact) -> None:
    """Hours that were costed before this was known."""
    for block in store.bought(tx, fill.block_ids):
        own = [
            each.since(block.window.start)
            for each in block.sales
            if (each.order_id, each.fill) == (fill.order_id, fill.position)
        ]
        store.mark_stale(
            tx, Window(start=min([*own, block.window.end]) if own else block.window.start, end=block.window.end)
        )


def _open(tx: Transaction, at: datetime, now: datetime) -> datetime:
    """When it happened; or now, where the books of then are closed."""
    return now if at.astimezone(UTC).date().replace(day=1) in closed_periods(tx) else at
