"""The reconciliation, done: brings our books up to date, reads the market's, and says where the two differ.

What moves while it reads is no difference: where something is found, both sides are brought up to date and read again.
Only what stays is a finding. An answer that is missing or malformed raises: nothing is concluded from it.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.database import Transaction
from scalar.market import instances, machines, reconciliations, seats, statement, store
from scalar.market.answers import Balances, MarketOrder, Pool
from scalar.market.answers import Instance as MarketInstance
from scalar.market.boarding import board
from scalar.market.desk import Desk
from scalar.market.errors import MarketAnswerMalformed, MarketNotFound
from scalar.market.model import Instance, InstanceState, Order, Rectangle, Seat
from scalar.market.reconciling import (
    Charge,
    Charged,
    Finding,
    Manned,
    StrangeCharge,
    compare_capacity,
    compare_machines,
    compare_money,
    compare_nodes,
    compare_orders,
)
from scalar.market.trading import trade

_ROUNDS = 3
_LOOK_BACK = timedelta(days=2)
_CLOCKS_DIFFER_BY = timedelta(minutes=5)
_ASKED_LONG_AGO = timedelta(minutes=10)
_SILENT_FOR = timedelta(minutes=20)


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    at: datetime
    findings: list[Finding]
    figures: dict[str, Any]


def reconcile(desk: Desk) -> Reconciliation:
    """Compare and record. Raises: `MarketError`, and then nothing is recorded: the last verdict stands."""
    with desk.transact() as tx:
        compared_to = statement.last_cursor(tx)
    for _ in range(_ROUNDS):
        trade(desk)
        board(desk)
        findings, figures = _compare(desk, compared_to)
        if not findings:
            break
    now = desk.clock()
    with desk.transact() as tx:
        reconciliations.record(tx, findings, figures, now)
    return Reconciliation(at=now, findings=findings, figures=figures)


@dataclass(frozen=True, kw_only=True)
class _Theirs:
    orders: list[MarketOrder]
    pool: Pool
    machines: list[MarketInstance]
    balances: Balances


@dataclass(frozen=True, kw_only=True)
class _Ours:
    orders: list[Order]
    owned: list[Seat]
    live: list[Instance]
    empty: list[str]
    hopeless: list[str]
    manned: list[Manned]
    lines: list[Charge]
    strange: list[StrangeCharge]
    charged: dict[str, Charged]
    fees: dict[str, Any]
    skus: list[str]


def _compare(desk: Desk, compared_to: str | None) -> tuple[list[Finding], dict[str, Any]]:
    now = desk.clock()
    # Our clock and the market's differ: theirs begins a little before what must be in it.
    theirs = _read_theirs(desk, now - _LOOK_BACK - _CLOCKS_DIFFER_BY)
    with desk.transact() as tx:
        ours = _read_ours(tx, compared_to, now)
    _refuse_incomplete(desk, ours, theirs, now - _LOOK_BACK)
    live = {each.id: each.name for each in theirs.machines if not each.status.ended}
    findings = [
        *compare_orders(ours.orders, {o.id: o.status for o in theirs.orders}, since=now - _LOOK_BACK),
        *(
            finding
            for sku in sorted({*ours.skus, *theirs.pool.schedule_by_sku})
            for finding in compare_capacity(
                sku,
                [Rectangle(start=s.start, end=s.end, nodes=1) for s in ours.owned if s.sku == sku],
                theirs.pool.schedule_by_sku.get(sku, ()),
                since=now,
            )
        ),
        *compare_machines(ours.live, live, empty_seats=ours.empty, hopeless=ours.hopeless),
        *compare_nodes(ours.manned, silent_before=now - _SILENT_FOR),
        *compare_money(
            ours.lines,
            ours.orders,
            ours.charged,
            ours.fees,
            strange=ours.strange,
            balance_cents=theirs.balances.current_cents,
        ),
    ]
    return findings, _figures(ours, theirs, live, now)


def _read_theirs(desk: Desk, since: datetime) -> _Theirs:
    pool_id = desk.pool()
    read = _Theirs(
        orders=list(desk.market.orders(pool=pool_id, created_after=since)),
        pool=desk.market.pool(pool_id),
        machines=list(desk.market.instances(pool=pool_id)),
        balances=desk.market.balances(),
    )
    with desk.transact() as tx:
        after = statement.last_cursor(tx)
    lines = list(desk.market.transactions(after=after))
    with desk.transact() as tx:
        statement.keep(tx, lines, desk.clock())
    return read


def _refuse_incomplete(desk: Desk, ours: _Ours, theirs: _Theirs, since: datetime) -> None:
    """A list that lacks what the market has, when it is asked for by its id, is not to be believed in anything else."""
    orders = {order.market_id for order in ours.orders if order.sent_at is not None and order.sent_at > since}
    live = {each.market_id for each in ours.live}
    for missing, ask in (
        (orders - {order.id for order in theirs.orders}, desk.market.order),
        (live - {each.id for each in theirs.machines}, desk.market.instance),
    ):
        for market_id in sorted(each for each in missing if each is not None):
            with suppress(MarketNotFound):
                ask(market_id)
                raise MarketAnswerMalformed(f"a list of the market's lacks {market_id}, which it has")


def _read_ours(tx: Transaction, compared_to: str | None, now: datetime) -> _Ours:
    orders = store.orders_sent_since(tx, now - _LOOK_BACK - timedelta(hours=1))
    live = instances.live_instances(tx)
    begun = [seat for seat in seats.free_seats(tx, now) if seat.start <= now and seat.end - now >= SHORTEST_USEFUL]
    names = {(seat.block_id, seat.number): f"{seat.block_id}/{seat.number}" for seat in begun}
    hopeless = [name for key, name in names.items() if instances.failures_on(tx, *key) >= machines.TRIES_A_SEAT]
    long_asked = [
        f"of {each.id}"
        for each in live
        if each.state is InstanceState.WANTED and each.asked_at is not None and now - each.asked_at > _ASKED_LONG_AGO
    ]
    return _Ours(
        orders=orders,
        owned=seats.owned_seats(tx, now),
        live=live,
        empty=[*names.values(), *long_asked],
        hopeless=hopeless,
        manned=instances.manned(tx),
        lines=statement.lines_from(tx, compared_to),
        strange=statement.strange(tx),
        charged=statement.charged(tx, [order.market_id for order in orders if order.market_id]),
        fees=store.fees(tx),
        skus=sorted({block.sku for block in store.blocks(tx, ending_after=now)}),
    )


def _figures(ours: _Ours, theirs: _Theirs, live: dict[str, str], now: datetime) -> dict[str, Any]:
    return {
        "balance_dollars": theirs.balances.current_cents / 100,
        "available_dollars": theirs.balances.available_cents / 100,
        "orders_compared": len(ours.orders),
        "nodes_owned_now": sum(seat.start <= now < seat.end for seat in ours.owned),
        "machines_live": len(live),
        "machines_joined": sum(each.state is InstanceState.JOINED for each in ours.live),
        "statement_lines": len(ours.lines),
    }
