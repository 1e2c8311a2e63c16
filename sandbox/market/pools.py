"""Node time: what each pool owns and has free, and the live sells that hold the rest.

A pool owns what is free plus what its live sells haven't sold yet. Only the free part is kept; so a sale out of a
standing order, the most frequent thing here, changes nothing but that order.
"""

from dataclasses import dataclass, field

from sandbox.market.changes import Changes
from sandbox.market.errors import Taken, Unknown
from sandbox.market.orders import LiveOrder
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import Pool


@dataclass(slots=True, kw_only=True)
class Inventory:
    id: str
    account_id: str
    free: dict[str, Schedule] = field(default_factory=dict)  # by SKU
    sells: dict[str, LiveOrder] = field(default_factory=dict)  # by id

    horizon: int = 0  # what was before it has been forgotten

    @property
    def offered(self) -> dict[str, Schedule]:
        total: dict[str, Schedule] = {}
        for sell in self.sells.values():
            if left := sell.left.clip(self.horizon):
                total[sell.asked.sku] = total.get(sell.asked.sku, EMPTY).plus(left)
        return total

    @property
    def owned(self) -> dict[str, Schedule]:
        offered = self.offered
        total = {sku: self.free.get(sku, EMPTY).plus(offered.get(sku, EMPTY)) for sku in {**self.free, **offered}}
        return {sku: schedule for sku, schedule in total.items() if schedule}

    def snapshot(self) -> Pool:
        return Pool(id=self.id, account_id=self.account_id, owned=self.owned, offered=self.offered)


class Pools:
    def __init__(self, changes: Changes | None = None) -> None:
        self.changes = changes
        self.inventories: dict[str, Inventory] = {}
        self.horizon = 0

    def open(self, id: str, account_id: str) -> None:
        if id in self.inventories:
            raise Taken(f"pool {id} is open already")
        self.inventories[id] = Inventory(id=id, account_id=account_id, horizon=self.horizon)
        if self.changes is not None:
            self.changes.pools.add(id)

    def __getitem__(self, id: str) -> Inventory:
        if id not in self.inventories:
            raise Unknown(f"no pool {id}")
        return self.inventories[id]

    def has_free(self, id: str, sku: str, start: int, end: int, nodes: int) -> bool:
        """Whether the pool owns this rectangle beyond what it has offered already."""
        return self[id].free.get(sku, EMPTY).lowest(start, end) >= nodes

    def add(self, id: str, sku: str, delta: Schedule) -> None:
        free = self[id].free
        free[sku] = free.get(sku, EMPTY).plus(delta.clip(self.horizon))
        self._touch(id, sku)

    def take(self, id: str, sku: str, delta: Schedule) -> None:
        """Raises ValueError where it isn't free."""
        free = self[id].free
        free[sku] = free.get(sku, EMPTY).minus(delta.clip(self.horizon))
        self._touch(id, sku)

    def hold(self, sell: LiveOrder) -> None:
        """What the order has left is free no more."""
        self.take(sell.asked.pool_id, sell.asked.sku, sell.left)
        self.inventories[sell.asked.pool_id].sells[sell.asked.id] = sell

    def let_go(self, sell: LiveOrder) -> None:
        """The order has ended: what it didn't sell is free again."""
        del self.inventories[sell.asked.pool_id].sells[sell.asked.id]
        if sell.left:
            self.add(sell.asked.pool_id, sell.asked.sku, sell.left)

    def trim(self, horizon: int) -> None:
        self.horizon = max(self.horizon, horizon)
        for pool in self.inventories.values():
            pool.horizon = self.horizon
            for sku, schedule in pool.free.items():
                pool.free[sku] = schedule.clip(self.horizon)
                self._touch(pool.id, sku)

    def _touch(self, id: str, sku: str) -> None:
        if self.changes is not None:
            self.changes.inventories.add((id, sku))
