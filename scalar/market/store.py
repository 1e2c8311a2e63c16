"""SQL of orders, fills and blocks: one statement a function."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg.errors import CheckViolation
from psycopg.types.json import Jsonb

from scalar.database import Transaction, one
from scalar.errors import IllegalMove
from scalar.ids import new_id
from scalar.market.guards import Controls
from scalar.market.model import AT_MARKET, Block, Fill, Order, OrderRequest, OrderState, Rectangle, Side, Sku

SEND_LEASE = timedelta(seconds=120)
"""Longer than one attempt to send an order ever takes; who died while sending is taken over from after it."""

_HOURS_OF_HISTORY = 24

_ORDER = """id, side, sku, nodes, starts_at, ends_at, limit_price, allow_standing, allow_partial, purpose, plan_id,
    requested_by, created_at, intended_at, state, approved_by, sent_at, last_sent_at, send_leases, market_id,
    cancel_asked_at, filled_at, ended_at, amount, message"""


def insert_order(
    tx: Transaction,
    request: OrderRequest,
    *,
    state: OrderState,
    requested_by: str,
    plan_id: str | None,
    idempotency_key: str | None,
    message: str | None,
    now: datetime,
) -> Order | None:
    """None where this idempotency key has an order already."""
    row = tx.execute(
        f"""insert into orders (id, side, sku, nodes, starts_at, ends_at, limit_price, allow_standing, allow_partial,
                purpose, plan_id, requested_by, idempotency_key, created_at, intended_at, state, message)
            values (%(id)s, %(side)s, %(sku)s, %(nodes)s, %(starts_at)s, %(ends_at)s, %(limit_price)s,
                %(allow_standing)s, %(allow_partial)s, %(purpose)s, %(plan_id)s, %(requested_by)s,
                %(idempotency_key)s, %(now)s, case when %(state)s = 'intended' then %(now)s end, %(state)s, %(message)s)
            on conflict (idempotency_key) do nothing returning {_ORDER}""",
        {
            "id": new_id("order"),
            "side": request.side,
            "sku": request.sku,
            "nodes": request.window.nodes,
            "starts_at": request.window.start,
            "ends_at": request.window.end,
            "limit_price": request.limit_price,
            "allow_standing": request.allow_standing,
            "allow_partial": request.allow_partial,
            "purpose": request.purpose,
            "plan_id": plan_id,
            "requested_by": requested_by,
            "idempotency_key": idempotency_key,
            "now": now,
            "state": state,
            "message": message,
        },
    ).fetchone()
    return _order(row) if row else None


def order(tx: Transaction, order_id: str, *, for_update: bool = False) -> Order | None:
    lock = "for update" if for_update else ""
    row = tx.execute(f"select {_ORDER} from orders where id = %s {lock}", [order_id]).fetchone()
    return _order(row) if row else None


def order_of_key(tx: Transaction, idempotency_key: str) -> Order:
    return _order(one(tx, f"select {_ORDER} from orders where idempotency_key = %s", [idempotency_key]))


@dataclass(frozen=True, kw_only=True)
class OrderFilter:
    """Which orders a list shows: newest first, from the one after `before` on."""

    states: Collection[OrderState] = ()
    side: Side | None = None
    before: str | None = None
    limit: int = 50


def orders(tx: Transaction, which: OrderFilter) -> list[Order]:
    rows = tx.execute(
        f"""select {_ORDER} from orders
            where (%(states)s::text[] is null or state = any(%(states)s)) and side = coalesce(%(side)s, side)
              and (%(before)s::text is null or (created_at, id) < (
                  select created_at, id from orders where id = %(before)s))
            order by created_at desc, id desc limit %(limit)s""",
        {
            "states": [state.value for state in which.states] or None,
            "side": which.side,
            "before": which.before,
            "limit": which.limit,
        },
    )
    return [_order(row) for row in rows]


def orders_at_market(tx: Transaction) -> list[Order]:
    """What may still change there, oldest first."""
    states = [state.value for state in AT_MARKET]
    rows = tx.execute(f"select {_ORDER} from orders where state = any(%s) order by created_at, id", [states])
    return [_order(row) for row in rows]


def orders_sent_since(tx: Transaction, since: datetime) -> list[Order]:
    """Those that the market has or had, and that are open or were sent after then."""
    rows = tx.execute(
        f"""select {_ORDER} from orders where market_id is not null and (sent_at > %s or ended_at is null)
            order by created_at, id""",
        [since],
    )
    return [_order(row) for row in rows]


def open_orders(tx: Transaction) -> list[Order]:
    rows = tx.execute(f"select {_ORDER} from orders where ended_at is null order by created_at, id")
    return [_order(row) for row in rows]


def known_market_ids(tx: Transaction, market_ids: Collection[str]) -> set[str]:
    rows = tx.execute("select market_id from orders where market_id = any(%s)", [list(market_ids)])
    return {row["market_id"] for row in rows}


def let_out(tx: Transaction, order_id: str, *, approved_by: str, start: datetime, now: datetime) -> None:
    """A proposal becomes an intent, from this moment on. Raises: `IllegalMove`."""
    move_order(tx, order_id, OrderState.INTENDED, now, approved_by=approved_by)
    tx.execute("update orders set intended_at = %s, starts_at = %s where id = %s", [now, start, order_id])


def lease_unsent(tx: Transaction, now: datetime, *, besides: Collection[str] = ()) -> Order | None:
    """An order to look after, leased to the caller: sales first, then what was tried least, then by age."""
    row = tx.execute(
        f"""update orders set send_leased_until = %(until)s, send_leases = send_leases + 1
            where id = (select id from orders where state = 'intended' and id <> all(%(besides)s)
                and (send_leased_until is null or send_leased_until <= %(now)s)
                order by side = 'buy', send_leases, created_at, id limit 1 for update skip locked)
            returning {_ORDER}""",
        {"now": now, "until": now + SEND_LEASE, "besides": list(besides)},
    ).fetchone()
    return _order(row) if row else None


def sending(tx: Transaction, order_id: str, now: datetime) -> None:
    """From here on it may have been sent; the lease begins anew."""
    tx.execute(
        """update orders set sent_at = coalesce(sent_at, %(now)s), last_sent_at = %(now)s, send_leased_until = %(until)s
           where id = %(id)s""",
        {"now": now, "until": now + SEND_LEASE, "id": order_id},
    )


def release_send(tx: Transaction, order: Order, message: str) -> None:
    """The next tick may try again: as far as this lease goes."""
    tx.execute(
        """update orders set send_leased_until = null, message = %s
           where id = %s and send_leases = %s and state = 'intended'""",
        [message, order.id, order.send_leases],
    )


def unsend(tx: Transaction, order: Order, message: str) -> None:
    """It is known not to have been sent: it waits, or grows too old."""
    tx.execute(
        """update orders set send_leased_until = null, sent_at = null, last_sent_at = null, message = %s
           where id = %s and send_leases = %s and state = 'intended'""",
        [message, order.id, order.send_leases],
    )


def perhaps_sent(tx: Transaction) -> list[Order]:
    """Intents that may be at the market already."""
    rows = tx.execute(
        f"select {_ORDER} from orders where state = 'intended' and sent_at is not null order by created_at, id"
    )
    return [_order(row) for row in rows]


def note_fee(tx: Transaction, order_id: str, *, flat: Decimal, bps: int) -> None:
    """What the market takes of a sale: dollars per node-hour, and hundredths of a percent of what it brings."""
    tx.execute("update orders set fee_flat = %s, fee_bps = %s where id = %s", [flat, bps, order_id])


def fees(tx: Transaction) -> dict[str, Decimal]:
    """Dollars that sales cost, by order, to the millionth."""
    rows = tx.execute(
        """select o.id, round(o.amount * o.fee_bps / 10000 + o.fee_flat * (
               select coalesce(sum(s.minutes), 0) / 60 from (
                   select extract(epoch from upper(during) - lower(during)) / 60 as minutes from sales
                   where order_id = o.id) s), 6) as fee
           from orders o where o.side = 'sell' and o.amount > 0 and o.fee_bps is not null"""
    )
    return {row["id"]: row["fee"] for row in rows}


def stale_intents(tx: Transaction, *, intended_before: datetime, proposed_before: datetime) -> list[Order]:
    """Intents and proposals of before then that surely were never sent."""
    rows = tx.execute(
        f"""select {_ORDER} from orders where sent_at is null and ((state = 'intended' and intended_at < %s)
                or (state = 'proposed' and created_at < %s))
            order by created_at, id for update""",
        [intended_before, proposed_before],
    )
    return [_order(row) for row in rows]


def move_order(
    tx: Transaction,
    order_id: str,
    state: OrderState,
    now: datetime,
    *,
    market_id: str | None = None,
    message: str | None = None,
    approved_by: str | None = None,
) -> None:
    """Raises: `IllegalMove`."""
    try:
        tx.execute(
            """update orders set state = %(state)s, market_id = coalesce(%(market_id)s, market_id),
                   message = coalesce(%(message)s, message), approved_by = coalesce(%(approved_by)s, approved_by),
                   ended_at = case when %(ended)s then %(now)s end, send_leased_until = null,
                   filled_at = case when %(state)s = 'filled' then %(now)s else filled_at end
               where id = %(id)s""",
            {
                "id": order_id,
                "state": state,
                "market_id": market_id,
                "message": message,
                "approved_by": approved_by,
                "ended": state.ended,
                "now": now,
            },
        )
    except CheckViolation as error:
        if error.diag.constraint_name == "orders_legal_move":
            raise IllegalMove(f"{order_id} can't become {state} any more.") from error
        raise


def ask_cancel(tx: Transaction, order_id: str, now: datetime) -> None:
    tx.execute("update orders set cancel_asked_at = coalesce(cancel_asked_at, %s) where id = %s", [now, order_id])


def keep_free(tx: Transaction, order_id: str, node_ids: Sequence[str]) -> None:
    tx.execute("update orders set drained = %s where id = %s", [list(node_ids), order_id])


def kept_free(tx: Transaction, order_id: str) -> list[str]:
    """Nodes that take no work on account of a sale."""
    return list(one(tx, "select drained from orders where id = %s", [order_id])["drained"])


def fills(tx: Transaction, order_id: str) -> list[Fill]:
    query = "select contract, filled_at, price, parts from fills where order_id = %s order by position"
    return [
        Fill(**{**row, "parts": tuple(_rectangle(part) for part in row["parts"])})
        for row in tx.execute(query, [order_id])
    ]


def insert_fill(tx: Transaction, order_id: str, position: int, fill: Fill) -> None:
    parts = [[part.start.isoformat(), part.end.isoformat(), part.nodes] for part in fill.parts]
    tx.execute(
        """insert into fills (order_id, position, contract, filled_at, price, parts, amount)
           values (%s, %s, %s, %s, %s, %s, %s)""",
        [order_id, position, fill.contract, fill.filled_at, fill.price, Jsonb(parts), fill.amount],
    )


def add_amount(tx: Transaction, order_id: str, amount: Decimal) -> None:
    tx.execute("update orders set amount = amount + %s where id = %s", [amount, order_id])


def insert_block(
    tx: Transaction, order_id: str, fill: int, part: int, sku: str, window: Rectangle, price: Decimal
) -> str:
    block_id = new_id("block")
    tx.execute(
        """insert into blocks (id, order_id, fill, part, sku, nodes, starts_at, ends_at, price)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [block_id, order_id, fill, part, sku, window.nodes, window.start, window.end, price],
    )
    return block_id


def blocks(tx: Transaction, *, ending_after: datetime | None = None) -> list[Block]:
    """By start; those that have not ended by then."""
    rows = tx.execute(
        """select id, order_id, sku, nodes, starts_at, ends_at, price from blocks
           where %(after)s::timestamptz is null or ends_at > %(after)s order by starts_at, id""",
        {"after": ending_after},
    )
    return [
        Block(
            id=row["id"],
            order_id=row["order_id"],
            sku=row["sku"],
            window=Rectangle(start=row["starts_at"], end=row["ends_at"], nodes=row["nodes"]),
            price=row["price"],
        )
        for row in rows
    ]


def spent_since(tx: Transaction, since: datetime | None) -> Decimal:
    """Dollars paid for purchases let out since then, and what the open ones of them may yet cost at their limits."""
    row = one(
        tx,
        """select coalesce(sum(case when ended_at is not null then amount else greatest(amount,
               limit_price * nodes * extract(epoch from ends_at - starts_at) / 3600) end), 0) as dollars
           from orders where side = 'buy'
             and (%(since)s::timestamptz is null or coalesce(intended_at, created_at) > %(since)s)""",
        {"since": since},
    )
    return Decimal(row["dollars"])


def upsert_skus(tx: Transaction, skus: Sequence[Sku], now: datetime) -> None:
    for sku in skus:
        tx.execute(
            """insert into skus (id, alias, gpu_type, gpus_per_node, seen_at) values (%s, %s, %s, %s, %s)
               on conflict (id) do update set alias = excluded.alias, gpu_type = excluded.gpu_type,
                   gpus_per_node = excluded.gpus_per_node, seen_at = excluded.seen_at""",
            [sku.id, sku.alias, sku.gpu_type, sku.gpus_per_node, now],
        )


def skus(tx: Transaction) -> list[Sku]:
    rows = tx.execute("select id, alias, gpu_type, gpus_per_node from skus order by alias, id")
    return [Sku(**row) for row in rows]


def controls(tx: Transaction) -> Controls:
    row = one(tx, "select buying_stopped_at, stopped_by, stop_reason, pool_id from market_controls")
    return Controls(**row)


def stop_buying(tx: Transaction, by: str, reason: str, now: datetime) -> None:
    """The first stop stays, with its reason, until somebody resumes."""
    tx.execute(
        """update market_controls set buying_stopped_at = %s, stopped_by = %s, stop_reason = %s
           where buying_stopped_at is null""",
        [now, by, reason],
    )


def resume_buying(tx: Transaction) -> None:
    tx.execute("update market_controls set buying_stopped_at = null, stopped_by = null, stop_reason = null")


def keep_pool(tx: Transaction, pool_id: str, now: datetime) -> None:
    tx.execute("update market_controls set pool_id = %s, pool_since = %s where pool_id is null", [pool_id, now])


def usual_price(tx: Transaction, sku: str, since: datetime) -> Decimal | None:
    """Dollars per node-hour: the median of the hourly averages since then; None with fewer than a day of them."""
    row = one(
        tx,
        """select count(average) as hours, percentile_cont(0.5) within group (order by average) as median
           from market_prices where sku = %s and hour >= %s""",
        [sku, since],
    )
    return Decimal(str(row["median"])) if row["hours"] >= _HOURS_OF_HISTORY else None


def _rectangle(part: Sequence[Any]) -> Rectangle:
    return Rectangle(start=datetime.fromisoformat(part[0]), end=datetime.fromisoformat(part[1]), nodes=part[2])


def _order(row: dict[str, Any]) -> Order:
    request = OrderRequest(
        side=Side(row["side"]),
        sku=row["sku"],
        window=Rectangle(start=row["starts_at"], end=row["ends_at"], nodes=row["nodes"]),
        limit_price=row["limit_price"],
        allow_standing=row["allow_standing"],
        allow_partial=row["allow_partial"],
        purpose=row["purpose"],
    )
    own = {field: row[field] for field in Order.__dataclass_fields__ if field not in ("request", "state")}
    return Order(request=request, state=OrderState(row["state"]), **own)
