"""Do our books and the market's agree? Pure: what each side says goes in, findings with what to do about them come out.

orders     every order at the market in our pool is ours, and as far as it says
capacity   our blocks less what was sold, and the pool's allocation, are the same step function
machines   every live machine in the pool is one that we know; every machine that we know is there, and on a seat
nodes      every machine that has become a node is heard from
money      the market's statement adds up by itself, has for each order what we think that it cost or brought, and
           nothing that is of no order of ours
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import pairwise

from scalar.market.model import Instance, InstanceState, Order, Rectangle, Side, usd


class Kind(StrEnum):
    UNKNOWN_ORDER = "unknown_order"
    MISSING_ORDER = "missing_order"
    CAPACITY_DIFFERS = "capacity_differs"
    UNKNOWN_MACHINE = "unknown_machine"
    MISSING_MACHINE = "missing_machine"
    EMPTY_SEAT = "empty_seat"
    SILENT_NODE = "silent_node"
    MONEY_DIFFERS = "money_differs"
    UNKNOWN_CHARGE = "unknown_charge"
    STATEMENT_BROKEN = "statement_broken"


@dataclass(frozen=True, kw_only=True)
class Finding:
    kind: Kind
    what: str
    """What doesn't agree, with the ids."""
    do: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A line of the market's statement: cents, positive in, negative out; the balance after it."""

    at: datetime
    kind: str
    cents: int
    balance_cents: int
    market_order_id: str | None


@dataclass(frozen=True, kw_only=True)
class StrangeCharge:
    """A line of the statement that is of no order of ours. `number`: by which it is accepted."""

    number: int
    at: datetime
    kind: str
    cents: int
    market_order_id: str | None


@dataclass(frozen=True, kw_only=True)
class Manned:
    """A machine that has become a node."""

    instance_id: str
    node_id: str
    node_name: str
    heard_at: datetime


@dataclass(frozen=True, kw_only=True)
class Charged:
    """All of the statement's lines of one order."""

    cents: int
    lines: int


def compare_orders(ours: Iterable[Order], theirs: Mapping[str, str], *, since: datetime) -> list[Finding]:
    """`ours`: those with a market id. `theirs`: id to status, of all orders since then."""
    known = {order.market_id: order for order in ours}
    return [
        Finding(
            kind=Kind.UNKNOWN_ORDER,
            what=f"The market has an order {market_id} ({theirs[market_id]}) in our pool that we did not send.",
            do="Somebody ordered by hand, or another platform uses the pool: cancel it, or give each its own pool.",
        )
        for market_id in sorted(theirs.keys() - known.keys())
    ] + [
        Finding(
            kind=Kind.MISSING_ORDER,
            what=f"The market does not know {order.id} ({market_id}), which it had accepted.",
            do="Ask the market's support with both ids; what it filled counts as ours until they answer.",
        )
        for market_id, order in sorted(known.items(), key=lambda each: each[1].id)
        if market_id not in theirs and order.sent_at is not None and order.sent_at > since
    ]


def compare_capacity(
    sku: str, ours: Iterable[Rectangle], theirs: Iterable[Rectangle], *, since: datetime
) -> list[Finding]:
    """From `since` on. `ours`: blocks less sales. `theirs`: the pool's allocation."""
    mine, market = list(ours), list(theirs)
    moments = sorted({since, *(moment for part in (*mine, *market) for moment in (part.start, part.end))})
    for moment in moments:
        if moment >= since and (owned := _at(mine, moment)) != (allocated := _at(market, moment)):
            more = "more" if allocated > owned else "fewer"
            return [
                Finding(
                    kind=Kind.CAPACITY_DIFFERS,
                    what=f"From {moment:%Y-%m-%d %H:%M} UTC on, the market has {allocated} nodes of {sku} for us,"
                    f" {more} than the {owned} of our books.",
                    do="Look for a fill that one side has and the other has not: `scalar market orders`.",
                )
            ]
    return []


def compare_machines(
    ours: Iterable[Instance], live: Mapping[str, str], *, empty_seats: Collection[str], hopeless: Collection[str]
) -> list[Finding]:
    """`ours`: live ones that the market has. `live`: its live machines in our pool, id to name. Seats: block/number."""
    known = {each.market_id: each for each in ours if each.state is not InstanceState.WANTED}
    return (
        [
            Finding(
                kind=Kind.UNKNOWN_MACHINE,
                what=f"A machine {market_id} ({live[market_id]}) runs in our pool that we do not know.",
                do="It takes a node that we paid for. If nobody of yours started it, terminate it at the market.",
            )
            for market_id in sorted(live.keys() - known.keys())
        ]
        + [
            Finding(
                kind=Kind.MISSING_MACHINE,
                what=f"{each.id} ({market_id}) is a machine of ours that the market does not have any more.",
                do="Its seat gets another machine at the next look; if this stays, ask the market's support.",
            )
            for market_id, each in sorted(known.items(), key=lambda each: each[1].id)
            if market_id not in live
        ]
        + [
            Finding(
                kind=Kind.EMPTY_SEAT,
                what=f"Seat {seat} is paid for, and no machine comes up on it.",
                do="Three machines in a row never joined: look at their logs at the market and at the image.",
            )
            for seat in sorted(hopeless)
        ]
        + [
            Finding(
                kind=Kind.EMPTY_SEAT,
                what=f"Seat {seat} is paid for, and no machine was asked for.",
                do="The market_instances sensor does this: see that it runs.",
            )
            for seat in sorted(set(empty_seats) - set(hopeless))
        ]
    )


def compare_nodes(manned: Iterable[Manned], *, silent_before: datetime) -> list[Finding]:
    """Machines that are paid for, run at the market, and whose agent has not been heard since."""
    return [
        Finding(
            kind=Kind.SILENT_NODE,
            what=f"{each.node_name} ({each.node_id}, {each.instance_id}) is paid for and runs at the market;"
            f" its agent was last heard at {each.heard_at:%Y-%m-%d %H:%M} UTC.",
            do=f"See why. If it is lost, `scalar gone {each.node_id}` ends its machine, and its seat gets another.",
        )
        for each in sorted(manned, key=lambda each: each.instance_id)
        if each.heard_at < silent_before
    ]


def compare_money(
    statement: list[Charge],
    orders: Iterable[Order],
    charged: Mapping[str, Charged],
    fees: Mapping[str, Decimal],
    *,
    strange: Iterable[StrangeCharge] = (),
    balance_cents: int,
) -> list[Finding]:
    """`statement`: its newest lines, oldest first, with the last of those that were compared before. `charged`: by the
    market's order id. `fees`: of sales, dollars by our order id. The market rounds each line to a cent.
    """
    return [*_statement(statement, balance_cents), *(_strange(each) for each in strange)] + [
        finding
        for order in orders
        if (
            finding := _charged(
                order, charged.get(order.market_id or "", Charged(cents=0, lines=0)), fees.get(order.id)
            )
        )
    ]


def _statement(statement: list[Charge], balance_cents: int) -> list[Finding]:
    for before, after in pairwise(statement):
        # A market that keeps fractions of a cent shows each figure rounded by itself.
        if abs(before.balance_cents + after.cents - after.balance_cents) > 1:
            return [
                Finding(
                    kind=Kind.STATEMENT_BROKEN,
                    what=f"The market's statement does not add up at {after.at:%Y-%m-%d %H:%M:%S} UTC:"
                    f" {_cents(before.balance_cents)} and {_cents(after.cents)} are not {_cents(after.balance_cents)}.",
                    do="Read the statement again; if it stays so, ask the market's support.",
                )
            ]
    last = statement[-1].balance_cents if statement else 0
    if last != balance_cents:
        return [
            Finding(
                kind=Kind.STATEMENT_BROKEN,
                what=f"The market's balance is {_cents(balance_cents)}, its statement ends with {_cents(last)}.",
                do="Read both again; if it stays so, ask the market's support.",
            )
        ]
    return []


def _strange(line: StrangeCharge) -> Finding:
    of = f"order {line.market_order_id}, which is none of ours" if line.market_order_id else "no order"
    return Finding(
        kind=Kind.UNKNOWN_CHARGE,
        what=f"The market's statement has {_cents(line.cents)} ({line.kind}) of {of}, at {line.at:%Y-%m-%d %H:%M} UTC.",
        do=f"Find out whose it is. If it is right: `scalar market accept {line.number} WHY`.",
    )


def _charged(order: Order, charged: Charged, fee: Decimal | None) -> Finding | None:
    """`fee`: of a sale; None where the market named none, and then it may have kept any part of it."""
    sale = order.request.side is Side.SELL
    exact = (order.amount - (fee or Decimal(0)) if sale else -order.amount) * 100
    if sale and fee is None and 0 <= charged.cents <= exact:
        return None
    if abs(charged.cents - exact) <= max(charged.lines, 1) * Decimal("0.5"):
        return None
    verb = "credited" if order.request.side is Side.SELL else "charged"
    return Finding(
        kind=Kind.MONEY_DIFFERS,
        what=f"For {order.id} ({order.market_id}) the market {verb} {_cents(abs(charged.cents))}; by its fills it is"
        f" {_cents(int(abs(exact).quantize(Decimal(1), ROUND_HALF_UP)))}.",
        do="Compare the order's fills with the statement: `scalar market orders " + order.id + "`.",
    )


def _at(parts: Iterable[Rectangle], moment: datetime) -> int:
    return sum(part.nodes for part in parts if part.start <= moment < part.end)


def _cents(cents: int) -> str:
    return usd(Decimal(cents) / 100)
