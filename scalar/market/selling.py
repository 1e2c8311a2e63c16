"""Which nodes a sale takes away: what stands empty first, then machines that do nothing; never one that works, nor what
somebody has reserved.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate

from scalar.capacity.holds import Outlook, Supply, holds
from scalar.capacity.reservations import outlook
from scalar.database import Lock, Transaction, lock
from scalar.errors import Conflict
from scalar.market import seats, store
from scalar.market.model import Order, OrderRequest, Rectangle, Seat, Side
from scalar.market.seating import less_promised, remaining


def set_aside(tx: Transaction, request: OrderRequest, now: datetime) -> list[str]:
    """The idle nodes that are to take no more work until this sale is decided.

    None where enough of what we own in that window has no machine on it. No pass gives any of them work meanwhile, no
    other sale counts on them, and no machine sits down on what stands empty: call it before anything that locks a row,
    and place the order in the same transaction. Raises: `Conflict`.
    """
    lock(tx, Lock.SCHEDULING_PASS)
    lock(tx, Lock.MARKET_ORDERS)
    lock(tx, Lock.MARKET_SEATS)
    window = request.window
    sales = [each for each in store.open_orders(tx) if _sells_of(each, request)]
    promised = sum(max((part.nodes for part in seats.unsold(tx, each)), default=0) for each in sales)
    owned = fewest_at_once(_of(seats.owned_seats(tx, window.start), request.sku), window) - promised
    if owned < window.nodes:
        unpromised = " and not for sale already" if promised else ""
        raise Conflict(f"{window.nodes} nodes of this kind: only {max(owned, 0)} are ours all that time{unpromised}.")
    empty = _of(seats.free_seats(tx, window.start), request.sku)
    kept_free = _enough(empty, seats.seats_of(tx, idle_nodes(tx, request.sku, window.start)), window)
    _refuse_promised(outlook(tx, now), request, kept_free)
    return kept_free


def as_sold(seen: Outlook, request: OrderRequest, kept_free: Sequence[str]) -> Outlook:
    """What there is once these nodes, and for the rest what stands empty, are another's in the window.

    A machine that is sold for a while is gone for good.
    """
    sold = [each for each in seen.supplies if each.node_id in kept_free]
    empty = [each for each in seen.supplies if each.node_id is None and each.sku == request.sku]
    others = [each for each in seen.supplies if each not in sold and each not in empty]
    cut = [replace(each, end=min(each.end, request.window.start)) for each in sold]
    return replace(
        seen, supplies=[each for each in (*others, *cut, *_left(empty, sold, request)) if each.start < each.end]
    )


def fewest_at_once(seats: Iterable[Seat], window: Rectangle) -> int:
    """How many of these seats there are at every moment of the window."""
    changes = Counter({window.start: 0})
    for each in seats:
        if each.start < window.end and window.start < each.end:
            changes[max(each.start, window.start)] += 1
            changes[each.end] -= 1
    moments = sorted(moment for moment in changes if moment < window.end)
    return min(accumulate(changes[moment] for moment in moments))


def idle_nodes(tx: Transaction, sku: str, start: datetime) -> list[str]:
    """Bought nodes that take work and have none, and are ours beyond `start`: those that last longest first."""
    rows = tx.execute(
        """select n.id from nodes n join instances i on i.node_id = n.id
           where i.sku = %(sku)s and i.state = 'joined' and i.end_asked_at is null and i.until > %(start)s
             and n.state = 'ready'
             and not exists (select from run_tasks t where t.node_id = n.id and t.state <> 'ended')
           order by i.until desc, n.id for update of n""",
        {"sku": sku, "start": start},
    )
    return [row["id"] for row in rows]


def _enough(empty: Sequence[Seat], idle: Mapping[str, Sequence[Seat]], window: Rectangle) -> list[str]:
    """The first of these nodes whose seats, with the empty ones, make up the window at every moment of it."""
    for count in range(len(idle) + 1):
        kept = list(idle)[:count]
        if fewest_at_once([*empty, *(seat for node_id in kept for seat in idle[node_id])], window) >= window.nodes:
            return kept
    lacking = window.nodes - fewest_at_once(empty, window)
    raise Conflict(
        f"{lacking} machine(s) of this kind would have to stop for it, and {len(idle)} are idle for as long as that."
        " Sell fewer nodes, or wait until their jobs have ended."
    )


def _refuse_promised(seen: Outlook, request: OrderRequest, kept_free: Sequence[str]) -> None:
    before, after = _lacking(seen), _lacking(as_sold(seen, request, kept_free))
    broken = {at: gpus for at, gpus in after.items() if gpus > before.get(at, 0)}
    if broken:
        (gpu_type, at, through), gpus = min(broken.items(), key=lambda each: each[0][1:])
        raise Conflict(
            f"{gpus} {gpu_type} GPU(s) of it are reserved from {at:%Y-%m-%d %H:%M} to {through:%Y-%m-%d %H:%M} UTC."
            " Sell fewer nodes, or other times, or release the reservation first."
        )


def _lacking(seen: Outlook) -> dict[tuple[str, datetime, datetime], int]:
    return {(each.gpu_type, each.at, each.through): -each.spare for each in holds(seen) if each.spare < 0}


def _left(empty: Sequence[Supply], sold: Sequence[Supply], request: OrderRequest) -> list[Supply]:
    """What nobody has sat down on, but for what the machines that are sold don't make up for."""
    machines = [Rectangle(start=each.start, end=each.end, nodes=1) for each in sold]
    wanted = [(request.sku, part) for part in remaining(request.window, machines)]
    seats = [
        Seat(block_id=str(number), number=number, sku=request.sku, start=each.start, end=each.end)
        for number, each in enumerate(empty)
    ]
    left = less_promised(seats, wanted)
    return [replace(empty[each.number], start=each.start, end=each.end) for each in left]


def _of(seats: Iterable[Seat], sku: str) -> list[Seat]:
    return [each for each in seats if each.sku == sku]


def _sells_of(order: Order, request: OrderRequest) -> bool:
    """An open sale of the same kind of machine at the same time."""
    other, window = order.request, request.window
    return (
        other.side is Side.SELL
        and other.sku == request.sku
        and other.window.start < window.end
        and window.start < other.window.end
    )
