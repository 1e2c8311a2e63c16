"""Procurements: a customer's own market maker, which keeps a pool at its target.

At each tick it looks at the whole minutes of its window, beginning with the next. Where the pool owns less than the
target, and no order of its own is out for it, it buys up to its highest price; where it owns more, it sells down to
its lowest. Its orders stand, and may be filled in part.
"""

from collections.abc import Callable
from dataclasses import replace

from sandbox.market.desk import Desk
from sandbox.market.engine import Engine
from sandbox.market.records import Shelf
from sandbox.market.refusals import Refusal
from sandbox.market.resources import OrderRecord, Procurement, new_id
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import OrderStatus

_MINUTE = 60


class Automation:
    def __init__(
        self,
        *,
        engine: Engine,
        desk: Desk,
        orders: Shelf[OrderRecord],
        procurements: Shelf[Procurement],
        node_count: Callable[[str], int],
    ) -> None:
        self._engine = engine
        self._desk = desk
        self._orders = orders
        self._procurements = procurements
        self._node_count = node_count
        self._placed: dict[str, set[str]] = {}
        for order in orders:
            if order.procurement is not None and order.state in {"pending", "submitted"}:
                self._placed.setdefault(order.procurement, set()).add(order.id)

    def tick(self, now: float) -> None:
        for procurement in self._procurements:
            if procurement.enabled:
                self._reconcile(procurement, now)

    def stop(self, procurement: Procurement, now: float) -> None:
        """Cancel what it has standing."""
        for order in self._standing(procurement):
            self._desk.cancel(order, now)

    def _reconcile(self, procurement: Procurement, now: float) -> None:
        start = int(now) - int(now) % _MINUTE + _MINUTE
        end = start + procurement.window_minutes * _MINUTE
        target = self._node_count(procurement.pool) if procurement.target is None else procurement.target
        wanted = Schedule.rectangle(start, end, target)
        owned = self._owned(procurement, start, end)
        lacking, over = wanted.minus(wanted.meet(owned)), owned.minus(owned.meet(wanted))
        refusals = [
            *self._trade(procurement, "buy", lacking, procurement.max_buy, now),
            *self._trade(procurement, "sell", over, procurement.min_sell, now),
        ]
        still_lacking = bool(wanted.minus(wanted.meet(self._owned(procurement, start, end))))
        self._say(procurement, refusals, now, lacking=still_lacking)

    def _owned(self, procurement: Procurement, start: int, end: int) -> Schedule:
        return self._engine.pool(procurement.pool).owned.get(procurement.sku, EMPTY).clip(start, end)

    def _trade(self, procurement: Procurement, side: str, delta: Schedule, limit: int, now: float) -> list[str]:
        """Orders for what none is out for yet; those for what is wanted no more are cancelled. What was refused."""
        out = EMPTY
        for order in self._standing(procurement):
            if order.side != side:
                continue
            left = self._left(order, now)
            if not delta.covers(left):
                self._desk.cancel(order, now)
            else:
                out = out.plus(left)
        missing = delta.minus(delta.meet(out))
        return [refusal for step in missing.steps() if (refusal := self._place(procurement, side, step, limit, now))]

    def _place(
        self, procurement: Procurement, side: str, step: tuple[int, int, int], limit: int, now: float
    ) -> str | None:
        start, end, nodes = step
        order = OrderRecord(
            id=new_id("ordr"),
            seq=0,
            customer=procurement.customer,
            pool=procurement.pool,
            side="buy" if side == "buy" else "sell",
            sku=procurement.sku,
            start=start,
            end=end,
            nodes=nodes,
            asked_end=end,
            asked_nodes=nodes,
            limit=limit,
            allow_standing=True,
            allow_partial=True,
            created_at=int(now),
            procurement=procurement.id,
        )
        try:
            self._desk.place(order, now)
        except Refusal as refusal:
            return refusal.message
        self._placed.setdefault(procurement.id, set()).add(order.id)
        return None

    def _standing(self, procurement: Procurement) -> list[OrderRecord]:
        placed = self._placed.get(procurement.id, set())
        for order_id in list(placed):
            status = self._desk.view(self._orders[order_id]).status
            if not (status.live or status is OrderStatus.PENDING):
                placed.discard(order_id)
        return sorted((self._orders[order_id] for order_id in placed), key=lambda order: order.seq)

    def _left(self, order: OrderRecord, now: float) -> Schedule:
        whole = Schedule.rectangle(order.start, order.end, order.nodes)
        # The minute that runs is no longer in the window.
        return whole.minus(self._desk.view(order).filled).clip(int(now) - int(now) % _MINUTE + _MINUTE)

    def _say(self, procurement: Procurement, refusals: list[str], now: float, *, lacking: bool) -> None:
        if refusals:
            state, message = "error", refusals[0]
        elif lacking:
            state, message = "warning", "below target: waiting for offers within the price bounds"
        else:
            state, message = "info", "at target"
        if (state, message) != (procurement.state, procurement.message):
            changed = replace(procurement, state=state, message=message, updated_at=int(now))  # type: ignore[arg-type]
            self._procurements.put(changed)
