"""The rules of the market once more, told minute by minute and without a thought for speed.

Nothing is kept that can be counted anew: what is reserved or offered is the sum over the live orders, each time. The
engine must come to the same state after the same calls.
"""

from collections import Counter
from dataclasses import dataclass, field

from sandbox.market.rules import MINUTE, Rules
from sandbox.market.values import NewOrder, Side


@dataclass(kw_only=True)
class NaiveOrder:
    asked: NewOrder
    seq: int
    left: Counter[int]
    live: bool = True
    spent: int = 0
    fee: int = 0

    @property
    def minutes(self) -> range:
        return range(self.asked.start // MINUTE, self.asked.end // MINUTE)

    def over(self, minute: int) -> bool:
        return minute >= (self.minutes.stop if self.asked.allow_partial else self.minutes.start + 1)

    def window(self, minute: int) -> tuple[int, int]:
        return max(self.minutes.start, minute), self.minutes.stop


@dataclass(kw_only=True)
class NaiveMarket:
    rules: Rules
    cash: Counter[str]
    owned: dict[str, Counter[int]]
    fees: int = 0
    orders: dict[str, NaiveOrder] = field(default_factory=dict)

    def live(self, side: Side, account: str | None = None) -> list[NaiveOrder]:
        orders = [o for o in self.orders.values() if o.live and o.asked.side is side]
        return [o for o in orders if account in {None, o.asked.account_id}]

    def reserved(self, account: str) -> int:
        return sum(o.asked.limit * o.left.total() for o in self.live(Side.BUY, account))

    def offered(self, account: str) -> Counter[int]:
        return sum((o.left for o in self.live(Side.SELL, account)), Counter())

    def can_afford(self, new: NewOrder) -> bool:
        minutes = range(new.start // MINUTE, new.end // MINUTE)
        if new.side is Side.BUY:
            needed = new.limit * new.nodes * len(minutes)
            return needed <= self.cash[new.account_id] - self.reserved(new.account_id)
        free = self.owned[new.account_id] - self.offered(new.account_id)
        return all(free[minute] >= new.nodes for minute in minutes)

    def submit(self, new: NewOrder, now: int) -> bool:
        """Whether it was taken."""
        if not self.can_afford(new):
            return False
        order = NaiveOrder(asked=new, seq=len(self.orders), left=Counter())
        order.left = Counter(dict.fromkeys(order.minutes, new.nodes))
        takes, own = self.walk(order, now // MINUTE)
        self.orders[new.id] = order
        for other, take in takes:
            self.trade(order, other, take)
        if self.rules.self_trade == "cancel_resting" and (takes or new.allow_standing):
            for other in own:
                other.live = False
        order.live = order.left.total() > 0 and new.allow_standing
        return True

    def walk(self, order: NaiveOrder, minute: int):
        left, takes, own = order.left.copy(), [], []
        for other in sorted(self.live(order.asked.side.other), key=self.rank):
            take = self.take(other, order, left, minute)
            if not take.total() or not left.total():
                continue
            if other.asked.account_id == order.asked.account_id:
                own.append(other)
                continue
            takes.append((other, take))
            left -= take
        return (takes if order.asked.allow_partial or not left.total() else []), own

    def rank(self, order: NaiveOrder) -> tuple[int, int, int]:
        price = order.asked.limit if order.asked.side is Side.SELL else -order.asked.limit
        size = order.asked.nodes * len(order.minutes) if self.rules.priority == "price_size_time" else 0
        return price, -size, order.seq

    def take(self, other: NaiveOrder, order: NaiveOrder, left: Counter[int], minute: int) -> Counter[int]:
        bid, ask = (order, other) if order.asked.side is Side.BUY else (other, order)
        if ask.asked.limit > bid.asked.limit or other.over(minute):
            return Counter()
        if self.rules.windows == "exact" and other.window(minute) != order.window(minute):
            return Counter()
        if other.asked.allow_partial:
            return left & other.left
        return other.left.copy() if left >= other.left else Counter()

    def trade(self, order: NaiveOrder, other: NaiveOrder, take: Counter[int]) -> None:
        buy, sell = (order, other) if order.asked.side is Side.BUY else (other, order)
        prices = {
            "resting": other.asked.limit,
            "own": order.asked.limit,
            "midpoint": (order.asked.limit + other.asked.limit) // 2,
        }
        value = prices[self.rules.execution] * take.total()
        fee = 0
        if sell.asked.account_id != "provider":
            fee = min(value, self.rules.fee_flat * take.total() + value * self.rules.fee_bps // 10_000)
        self.cash[buy.asked.account_id] -= value
        self.cash[sell.asked.account_id] += value - fee
        self.fees += fee
        self.owned[sell.asked.account_id] -= take
        self.owned[buy.asked.account_id] += take
        for each in (buy, sell):
            each.left -= take
            each.spent += value
            each.live = each.left.total() > 0
        sell.fee += fee

    def cancel(self, order_id: str) -> bool:
        was, self.orders[order_id].live = self.orders[order_id].live, False
        return was

    def expire(self, now: int) -> set[str]:
        over = {order.asked.id for order in self.orders.values() if order.live and order.over(now // MINUTE)}
        for order_id in over:
            self.cancel(order_id)
        return over
