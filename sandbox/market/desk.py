"""Where customers' orders come in: pending for a while, then the engine's; cancelled on request, after a while.

pending ─► (the engine's) standing, partially_filled, filled, cancelled
   ├─────► rejected     the engine wouldn't have it when its time came
   └─────► cancelled    asked before its time came
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sandbox.market.engine import Engine
from sandbox.market.errors import (
    InsufficientBalance,
    InsufficientCapacity,
    InvalidOrder,
    MarketError,
    NotCancellable,
    Unknown,
)
from sandbox.market.faults import Fault, Faults
from sandbox.market.records import Shelf
from sandbox.market.refusals import Detail, Refusal, invalid
from sandbox.market.resources import OrderRecord
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.settings import ServerRules
from sandbox.market.values import Fill, NewOrder, Order, OrderStatus, Side

_NEVER = float("inf")
_MINUTE = 60


@dataclass(frozen=True, kw_only=True)
class OrderView:
    """An order as a customer may see it now."""

    record: OrderRecord
    status: OrderStatus
    fills: tuple[Fill, ...] = ()
    filled: Schedule = EMPTY
    spent: int = 0
    filled_at: int | None = None
    cancelled_at: int | None = None


class Desk:
    def __init__(
        self, *, engine: Engine, orders: Shelf[OrderRecord], faults: Faults, rules: Callable[[], ServerRules]
    ) -> None:
        self._engine = engine
        self._orders = orders
        self._faults = faults
        self._rules = rules
        self._waiting = {order.id for order in orders if order.state == "pending" or order.cancel_due is not None}
        self._next = max((order.seq for order in orders), default=0) + 1

    def place(self, order: OrderRecord, now: float) -> OrderRecord:
        """Raises: `Refusal` 402 or 422 for what the engine would not have now."""
        latency = self._rules().fill_latency
        latency += sum(fault.seconds for fault in self._hitting("slow_fills", now))
        placed = replace(self._cut(order, now), seq=self._next, due=now + latency)
        self._next += 1
        if latency:
            self._check(placed, now)
            self._waiting.add(placed.id)
            return self._orders.put(placed)
        try:
            return self._submit(placed, now)
        except MarketError as error:
            raise as_refusal(error) from error

    def cancel(self, order: OrderRecord, now: float) -> None:
        """Raises: `Refusal` 422 for an order that has ended."""
        view = self.view(order)
        if not (view.status.live or view.status is OrderStatus.PENDING):
            raise Refusal(
                422,
                f"order {order.id} is {view.status}",
                Detail(field="id", code="not_cancellable", message=view.status),
            )
        if order.cancel_due is None:
            self._orders.put(replace(order, cancel_due=now + self._rules().cancel_latency))
            self._waiting.add(order.id)
        self.run_due(now)

    def view(self, order: OrderRecord) -> OrderView:
        if order.state != "submitted":
            return OrderView(record=order, status=OrderStatus(order.state), cancelled_at=order.cancelled_at)
        known = order.final or self._engine.order(order.id)
        status, cancelled_at = known.status, known.cancelled_at
        if order.cut and status is OrderStatus.FILLED:
            status, cancelled_at = self._partly(order, known)
        return OrderView(
            record=order,
            status=status,
            fills=known.fills,
            filled=known.filled,
            spent=known.spent,
            filled_at=known.filled_at if status is OrderStatus.FILLED else None,
            cancelled_at=cancelled_at,
        )

    def next_due(self) -> float:
        return min((_due(self._orders[order_id]) for order_id in self._waiting), default=_NEVER)

    def run_due(self, now: float) -> None:
        """What is due, oldest due first: an order that was cancelled in time is never matched."""
        due = [order for order in map(self._orders.__getitem__, self._waiting) if _due(order) <= now]
        for order in sorted(due, key=lambda order: (_due(order), order.seq)):
            if order.cancel_due is not None and order.cancel_due <= now:
                self._cancel_now(order, now)
            else:
                self._submit_late(order, now)

    def keep(self, before_trim: dict[str, Order]) -> None:
        """Remember what the engine has just forgotten of customers' orders."""
        for order_id, known in before_trim.items():
            order = self._orders.get(order_id)
            if order is not None:
                self._orders.put(replace(order, final=known))

    def _submit_late(self, order: OrderRecord, now: float) -> None:
        try:
            self._submit(order, now)
        except MarketError:
            self._orders.put(replace(order, state="rejected", cancel_due=None))
            self._waiting.discard(order.id)

    def _submit(self, order: OrderRecord, now: float) -> OrderRecord:
        self._engine.expire(int(now))
        new = NewOrder(
            id=order.id,
            account_id=order.customer,
            pool_id=order.pool,
            side=Side(order.side),
            sku=order.sku,
            start=order.start,
            end=order.end,
            nodes=order.nodes,
            limit=order.limit,
            allow_standing=order.allow_standing,
            allow_partial=order.allow_partial,
        )
        self._engine.submit(new, int(now))
        if order.cancel_due is None:
            self._waiting.discard(order.id)
        return self._orders.put(replace(order, state="submitted"))

    def _cancel_now(self, order: OrderRecord, now: float) -> None:
        self._waiting.discard(order.id)
        if order.state == "pending":
            self._orders.put(replace(order, state="cancelled", cancel_due=None, cancelled_at=int(now)))
            return
        try:
            self._engine.cancel(order.id, int(now))
        except (NotCancellable, Unknown):
            # It filled, or ended, before the cancellation came through. That of a cut order is told by `_partly`.
            if order.cut:
                self._orders.put(replace(order, cancelled_at=int(now), cancel_due=None))
                return
        self._orders.put(replace(order, cancel_due=None))

    def _partly(self, order: OrderRecord, known: Order) -> tuple[OrderStatus, int | None]:
        """A fault has kept a part of the order from the engine, which has filled the rest."""
        if order.cancelled_at is not None:
            return OrderStatus.CANCELLED, order.cancelled_at
        if order.allow_standing:
            return OrderStatus.PARTIALLY_FILLED, None
        if self._engine.rules.partial_ioc_end == "filled":
            return OrderStatus.FILLED, None
        return OrderStatus.CANCELLED, known.filled_at

    def _cut(self, order: OrderRecord, now: float) -> OrderRecord:
        if not order.allow_partial:
            return order
        for fault in self._hitting("partial_fills", now):
            if order.nodes > 1:
                return replace(order, nodes=max(1, int(order.nodes * fault.fraction)))
            minutes = (order.end - order.start) // _MINUTE
            return replace(order, end=order.start + max(1, int(minutes * fault.fraction)) * _MINUTE)
        return order

    def _hitting(self, kind: str, now: float) -> list[Fault]:
        return self._faults.hitting((kind,), now, method="POST", path="/preview/v2/orders")

    def _check(self, order: OrderRecord, now: float) -> None:
        """What the engine will ask for, less what pending orders will have taken by then."""
        pending = [self._orders[order_id] for order_id in self._waiting if self._orders[order_id].state == "pending"]
        if order.start < now - now % _MINUTE:
            raise invalid("allocation_schedule_delta", "the start has passed")
        if order.side == "buy":
            taken = sum(_cost(other) for other in pending if (other.customer, other.side) == (order.customer, "buy"))
            if _cost(order) > self._engine.account(order.customer).available - taken:
                raise Refusal(402, "the balance is too low for this order")
            return
        pool = self._engine.pool(order.pool)
        free = pool.owned.get(order.sku, EMPTY)
        offers = [_whole(o) for o in pending if (o.pool, o.sku, o.side) == (order.pool, order.sku, "sell")]
        for held in (pool.offered.get(order.sku, EMPTY), *offers):
            free = free.minus(free.meet(held))
        if not free.covers(_whole(order)):
            raise invalid("allocation_schedule_delta", "the pool doesn't have that much free node time")


def as_refusal(error: MarketError) -> Refusal:
    if isinstance(error, InsufficientBalance):
        return Refusal(402, str(error))
    if isinstance(error, InvalidOrder | InsufficientCapacity):
        return invalid("allocation_schedule_delta", str(error))
    if isinstance(error, Unknown):
        return Refusal(404, str(error))
    return Refusal(409, str(error))


def _due(order: OrderRecord) -> float:
    due = order.due if order.state == "pending" else _NEVER
    return min(due, order.cancel_due if order.cancel_due is not None else _NEVER)


def _whole(order: OrderRecord) -> Schedule:
    return Schedule.rectangle(order.start, order.end, order.nodes)


def _cost(order: OrderRecord) -> int:
    return order.limit * _whole(order).node_minutes
