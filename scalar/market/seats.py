"""Seats in the database: who sits, who moves on, who makes room for a buyer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scalar.database import Transaction, one
from scalar.market import store
from scalar.market.model import Order, Rectangle, Seat, Side
from scalar.market.seating import Taken, less_promised, open_seats, remaining
from scalar.market.store import blocks


def free_seats(tx: Transaction, now: datetime) -> list[Seat]:
    """Of blocks that have not ended: what nobody sits on, nobody bought back, and no open sale counts on."""
    empty = open_seats(blocks(tx, ending_after=now), [*_sold(tx, now), *_sat_on(tx, now)])
    return less_promised(empty, _counted_on(tx))


def owned_seats(tx: Transaction, now: datetime) -> list[Seat]:
    """Of blocks that have not ended: what was not sold, whoever sits on it."""
    return open_seats(blocks(tx, ending_after=now), _sold(tx, now))


def sit(tx: Transaction, instance_id: str, seat: Seat) -> None:
    """This machine has the seat, and the time until its end."""
    tx.execute(
        "insert into seatings (instance_id, block_id, seat, during) values (%s, %s, %s, tstzrange(%s, %s))",
        [instance_id, seat.block_id, seat.number, seat.start, seat.end],
    )
    _lasts_until(tx, instance_id, seat.end)


def leave(tx: Transaction, instance_id: str, at: datetime) -> None:
    """The machine is off: what is left of its seats is free for another."""
    tx.execute("delete from seatings where instance_id = %s and lower(during) >= %s", [instance_id, at])
    tx.execute(
        """update seatings set during = tstzrange(lower(during), %(at)s)
           where instance_id = %(id)s and upper(during) > %(at)s""",
        {"id": instance_id, "at": at},
    )


def give_up(tx: Transaction, order: Order, fill: int, window: Rectangle, price: Any) -> None:
    """Nodes of ours are another's for this window: seats that nobody uses first, then those that were kept free.

    A machine that sits there has its time cut short; where one sits down or leaves within the window, it is looked
    anew for the seat that is missed least. Raises: `LookupError` where we never had so many.
    """
    for _ in range(window.nodes):
        moment = window.start
        while moment < window.end:
            piece = _least_missed(tx, order, moment, window.end)
            tx.execute(
                """insert into sales (block_id, seat, during, order_id, fill, price)
                   values (%s, %s, tstzrange(%s, %s), %s, %s, %s)""",
                [piece.seat.block_id, piece.seat.number, moment, piece.until, order.id, fill, price],
            )
            _cut_short(tx, piece, moment)
            moment = piece.until


def unsold(tx: Transaction, order: Order) -> list[Rectangle]:
    """What of a sale may yet fill."""
    return remaining(order.request.window, [part for fill in store.fills(tx, order.id) for part in fill.parts])


def seats_of(tx: Transaction, node_ids: Sequence[str]) -> dict[str, list[Seat]]:
    """The seats that the machines of these nodes have."""
    rows = tx.execute(
        """select i.node_id, i.sku, s.block_id, s.seat as number, lower(s.during) as start, upper(s.during) as "end"
           from seatings s join instances i on i.id = s.instance_id where i.node_id = any(%s) and i.state <> 'ended'""",
        [list(node_ids)],
    )
    found: dict[str, list[Seat]] = {node_id: [] for node_id in node_ids}
    for row in rows:
        found[row.pop("node_id")].append(Seat(**row))
    return found


def still_ours(tx: Transaction, node_id: str, now: datetime) -> bool:
    """Whether this node drains, and its machine has a seat for a while."""
    row = one(
        tx,
        """select exists (select from nodes n join instances i on i.node_id = n.id
           where n.id = %s and n.state = 'draining' and i.state = 'joined' and i.end_asked_at is null
             and i.until > %s) as it""",
        [node_id, now],
    )
    return bool(row["it"])


@dataclass(frozen=True, kw_only=True)
class _Sitting:
    """A machine on a seat. `missed`: how much it would hurt to lose it."""

    instance_id: str
    start: datetime
    end: datetime
    missed: int


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A seat from a moment on, as long as whoever sits there then does, or nobody."""

    seat: Seat
    until: datetime
    sitting: _Sitting | None

    @property
    def missed(self) -> int:
        return self.sitting.missed if self.sitting is not None else 0


def _counted_on(tx: Transaction) -> list[tuple[str, Rectangle]]:
    """What open sales need of seats that stand empty: whatever the machines that are kept free for them don't cover."""
    found = []
    for order in store.open_orders(tx):
        if order.request.side is Side.SELL:
            kept = [
                Rectangle(start=each.start, end=each.end, nodes=1)
                for seats in seats_of(tx, store.kept_free(tx, order.id)).values()
                for each in seats
            ]
            found += [(order.request.sku, left) for part in unsold(tx, order) for left in remaining(part, kept)]
    return found


def _least_missed(tx: Transaction, order: Order, moment: datetime, end: datetime) -> _Piece:
    sittings = _sittings(tx, moment, end, store.kept_free(tx, order.id))
    pieces = [
        _piece(seat, sittings.get((seat.block_id, seat.number), []), moment, end)
        for seat in owned_seats(tx, moment)
        if seat.sku == order.request.sku and seat.start <= moment < seat.end
    ]
    if not pieces:
        raise LookupError(f"{order.id} sold a node at {moment} that is none of ours")
    return min(pieces, key=lambda each: (each.missed, -each.until.timestamp(), each.seat.block_id, each.seat.number))


def _piece(seat: Seat, sittings: list[_Sitting], moment: datetime, end: datetime) -> _Piece:
    here = next((each for each in sittings if each.start <= moment), None)
    change = here.end if here is not None else min((each.start for each in sittings), default=end)
    return _Piece(seat=seat, until=min(seat.end, end, change), sitting=here)


def _sittings(
    tx: Transaction, start: datetime, end: datetime, kept_free: list[str]
) -> dict[tuple[str, int], list[_Sitting]]:
    """By seat, who sits there within this time."""
    rows = tx.execute(
        """select s.block_id, s.seat, s.instance_id, lower(s.during) as start, upper(s.during) as "end", case
               when exists (select from run_tasks t where t.node_id = i.node_id and t.state <> 'ended') then 3
               when i.node_id = any(%(kept)s) then 1
               else 2 end as missed
           from seatings s join instances i on i.id = s.instance_id
           where s.during && tstzrange(%(start)s, %(end)s)""",
        {"start": start, "end": end, "kept": kept_free},
    )
    found: dict[tuple[str, int], list[_Sitting]] = {}
    for row in rows:
        found.setdefault((row.pop("block_id"), row.pop("seat")), []).append(_Sitting(**row))
    return found


def _cut_short(tx: Transaction, piece: _Piece, start: datetime) -> None:
    if piece.sitting is not None:
        leave(tx, piece.sitting.instance_id, start)
        _lasts_until(tx, piece.sitting.instance_id, start)


def _lasts_until(tx: Transaction, instance_id: str, until: datetime) -> None:
    tx.execute("update instances set until = %s where id = %s", [until, instance_id])
    tx.execute(
        "update nodes set available_until = %s where id = (select node_id from instances where id = %s)",
        [until, instance_id],
    )


def _sold(tx: Transaction, now: datetime) -> list[Taken]:
    query = "select block_id, seat, lower(during) as start, upper(during) as end from sales where upper(during) > %s"
    return [_taken(row) for row in tx.execute(query, [now])]


def _sat_on(tx: Transaction, now: datetime) -> list[Taken]:
    query = "select block_id, seat, lower(during) as start, upper(during) as end from seatings where upper(during) > %s"
    return [_taken(row) for row in tx.execute(query, [now])]


def _taken(row: dict[str, Any]) -> Taken:
    return Taken(block_id=row["block_id"], number=row["seat"], start=row["start"], end=row["end"])
