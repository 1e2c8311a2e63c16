"""Which nodes a sale takes away: what stands empty first, then machines that do nothing, and never one that works."""

from collections.abc import Iterable
from datetime import datetime

from scalar.database import Lock, Transaction, lock
from scalar.errors import Conflict
from scalar.market import seats, store
from scalar.market.model import Order, OrderRequest, Rectangle, Seat, Side


def set_aside(tx: Transaction, request: OrderRequest) -> list[str]:
    """The idle nodes that are to take no more work until this sale is decided.

    None where enough of what we own in that window has no machine on it. Takes the lock of the scheduling pass, so that
    none of them gets work meanwhile: ask for it before any other. Raises: `Conflict`.
    """
    lock(tx, Lock.SCHEDULING_PASS)
    window = request.window
    sales = [each for each in store.open_orders(tx) if _sells_of(each, request)]
    promised = sum(each.request.window.nodes for each in sales)
    owned = fewest_at_once(_of(seats.owned_seats(tx, window.start), request.sku), window) - promised
    if owned < window.nodes:
        unpromised = " and not for sale already" if promised else ""
        raise Conflict(f"{window.nodes} nodes of this kind: only {max(owned, 0)} are ours all that time{unpromised}.")
    drained = sum(len(store.kept_free(tx, each.id)) for each in sales)
    empty = fewest_at_once(_of(seats.free_seats(tx, window.start), request.sku), window) - (promised - drained)
    needed = max(0, window.nodes - max(0, empty))
    idle = idle_nodes(tx, request.sku, window.start)
    if len(idle) < needed:
        raise Conflict(
            f"{needed} machine(s) of this kind would have to stop for it, and {len(idle)} are idle."
            " Sell fewer nodes, or wait until their jobs have ended."
        )
    return idle[:needed]


def fewest_at_once(seats: Iterable[Seat], window: Rectangle) -> int:
    """How many of these seats there are at every moment of the window."""
    there = list(seats)
    moments = {window.start, *(moment for each in there for moment in (each.start, each.end))}
    return min(
        sum(each.start <= moment < each.end for each in there)
        for moment in moments
        if window.start <= moment < window.end
    )


def idle_nodes(tx: Transaction, sku: str, start: datetime) -> list[str]:
    """Bought nodes that take work and have none, and are ours beyond `start`: those that last longest first."""
    rows = tx.execute(
        """select n.id from nodes n join instances i on i.node_id = n.id
           where i.sku = %(sku)s and i.state = 'joined' and i.until > %(start)s and n.state = 'ready'
             and not exists (select from run_tasks t where t.node_id = n.id and t.state <> 'ended')
           order by i.until desc, n.id for update of n""",
        {"sku": sku, "start": start},
    )
    return [row["id"] for row in rows]


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
