"""Seats in the database: who sits, who moves on, who makes room for a buyer."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from scalar.database import Transaction, one
from scalar.market import store
from scalar.market.model import Order, Rectangle, Seat
from scalar.market.seating import Taken, open_seats
from scalar.market.store import blocks


def free_seats(tx: Transaction, now: datetime) -> list[Seat]:
    """Of blocks that have not ended: what nobody sits on and nobody bought back."""
    return open_seats(blocks(tx, ending_after=now), [*_sold(tx, now), *_sat_on(tx, now)])


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

    A machine that sat there has its time cut short. Raises: `LookupError` where we never had so many.
    """
    for _ in range(window.nodes):
        moment = window.start
        while moment < window.end:
            seat = _least_missed(tx, order, moment)
            until = min(seat.end, window.end)
            tx.execute(
                """insert into sales (block_id, seat, during, order_id, fill, price)
                   values (%s, %s, tstzrange(%s, %s), %s, %s, %s)""",
                [seat.block_id, seat.number, moment, until, order.id, fill, price],
            )
            _cut_short(tx, seat, moment, until)
            moment = until


def still_ours(tx: Transaction, node_id: str, now: datetime) -> bool:
    """Whether this node drains, and its machine has a seat for a while."""
    row = one(
        tx,
        """select exists (select from nodes n join instances i on i.node_id = n.id
           where n.id = %s and n.state = 'draining' and i.state = 'joined' and i.until > %s) as it""",
        [node_id, now],
    )
    return bool(row["it"])


def _least_missed(tx: Transaction, order: Order, moment: datetime) -> Seat:
    candidates = [
        seat for seat in owned_seats(tx, moment) if seat.sku == order.request.sku and seat.start <= moment < seat.end
    ]
    if not candidates:
        raise LookupError(f"{order.id} sold a node at {moment} that is none of ours")
    missed = {
        (row["block_id"], row["seat"]): row["missed"] for row in _missed(tx, moment, store.kept_free(tx, order.id))
    }
    return min(
        candidates,
        key=lambda seat: (
            missed.get((seat.block_id, seat.number), 0),
            -seat.end.timestamp(),
            seat.block_id,
            seat.number,
        ),
    )


def _missed(tx: Transaction, moment: datetime, kept_free: list[str]) -> Iterable[dict[str, Any]]:
    """Of the seats that somebody sits on: how much it would hurt to lose them."""
    return tx.execute(
        """select s.block_id, s.seat, case
               when i.node_id = any(%(kept)s) then 1
               when exists (select from run_tasks t where t.node_id = i.node_id and t.state <> 'ended') then 3
               else 2 end as missed
           from seatings s join instances i on i.id = s.instance_id where s.during @> %(moment)s""",
        {"moment": moment, "kept": kept_free},
    )


def _cut_short(tx: Transaction, seat: Seat, start: datetime, end: datetime) -> None:
    rows = tx.execute(
        """select distinct instance_id from seatings where block_id = %s and seat = %s
           and during && tstzrange(%s, %s)""",
        [seat.block_id, seat.number, start, end],
    ).fetchall()
    for row in rows:
        leave(tx, row["instance_id"], start)
        _lasts_until(tx, row["instance_id"], start)


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
