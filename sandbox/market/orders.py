"""An order while the engine works on it: the one thing here that changes in place."""

from dataclasses import dataclass, field

from sandbox.market.rules import MINUTE
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import Fill, NewOrder, Order, OrderStatus, Side, Trade


@dataclass(slots=True, kw_only=True, eq=False)
class LiveOrder:
    asked: NewOrder
    seq: int
    allow_partial: bool
    created_at: int
    left: Schedule  # what is not filled
    status: OrderStatus = OrderStatus.STANDING
    fills: list[Fill] = field(default_factory=list)
    spent: int = 0
    fee: int = 0
    filled_at: int | None = None
    cancelled_at: int | None = None

    @property
    def whole(self) -> Schedule:
        return Schedule.rectangle(self.asked.start, self.asked.end, self.asked.nodes)

    @property
    def deadline(self) -> int:
        """The moment from which nothing of it can be filled any more.

        One that may be filled in part can still fill what is left of its window; any other is of use only until the
        minute of its start is over.
        """
        return self.asked.end if self.allow_partial else self.asked.start + MINUTE

    def window(self, now: int) -> tuple[int, int]:
        """The part of its window that isn't over, the current minute included."""
        return max(self.asked.start, now - now % MINUTE), self.asked.end

    def ahead(self, now: int) -> Schedule:
        """What can still be filled of it."""
        return self.left.clip(now - now % MINUTE) if now < self.deadline else EMPTY

    @property
    def reserve(self) -> int:
        """µ$ that what is left of it would cost at its limit."""
        return self.asked.limit * self.left.node_minutes

    @property
    def ended_at(self) -> int | None:
        return self.cancelled_at if self.filled_at is None else self.filled_at

    def fill(self, trade: Trade, left: Schedule) -> None:
        fee = trade.fee if self.asked.side is Side.SELL else 0
        self.fills.append(
            Fill(seq=trade.seq, at=trade.at, price=trade.price, delta=trade.delta, value=trade.value, fee=fee)
        )
        self.spent += trade.value
        self.fee += fee
        self.left = left
        self.status = OrderStatus.PARTIALLY_FILLED if left else OrderStatus.FILLED
        self.filled_at = None if left else trade.at

    def snapshot(self) -> Order:
        asked = self.asked
        return Order(
            id=asked.id,
            seq=self.seq,
            account_id=asked.account_id,
            pool_id=asked.pool_id,
            side=asked.side,
            sku=asked.sku,
            start=asked.start,
            end=asked.end,
            nodes=asked.nodes,
            limit=asked.limit,
            allow_standing=asked.allow_standing,
            allow_partial=self.allow_partial,
            status=self.status,
            fills=tuple(self.fills),
            filled=self.whole.minus(self.left),
            unfilled=self.left,
            spent=self.spent,
            fee=self.fee,
            created_at=self.created_at,
            filled_at=self.filled_at,
            cancelled_at=self.cancelled_at,
        )
