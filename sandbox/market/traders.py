"""The other side of every customer's trade: providers that offer, and other buyers that bid and take.

Once an hour each SKU's book is quoted anew round a fair price (`prices`): providers rest divisible asks above it,
other buyers divisible bids below it, each at a few levels: over the next four weeks, and, a little away from those, for
exactly the hour, the day and the week that begin with the next hour. In between now and then a buyer takes a small
block from the asks or a provider sells one to the bids, so that there are public fills, and what a customer rests at a
better price gets its turn. Providers get new node time whenever they quote: supply is scarce within an hour, never for
good. Chance is drawn from the seed and the moment alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from random import Random

from sandbox.market.engine import Engine
from sandbox.market.errors import MarketError
from sandbox.market.prices import HOUR, PriceSource
from sandbox.market.records import Shelf
from sandbox.market.resources import Quoting
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.skus import Sku
from sandbox.market.values import NewOrder, Side

Levels = tuple[tuple[float, int], ...]
"""Of the fair price, and how many nodes."""
LEVELS: dict[Side, Levels] = {
    Side.SELL: ((1.0, 4), (1.02, 4), (1.05, 8), (1.1, 16), (1.25, 32), (1.6, 64)),
    Side.BUY: ((0.97, 4), (0.94, 8), (0.9, 8), (0.8, 16)),
}
WINDOW_SECONDS = 28 * 24 * HOUR
STANDARD_LEVELS: dict[Side, Levels] = {Side.SELL: ((1.01, 2), (1.04, 4)), Side.BUY: ((0.96, 2), (0.93, 4))}
STANDARD_SECONDS = (HOUR, 24 * HOUR, 7 * 24 * HOUR)
"""From the next hour on: what the public depth of just that window shows."""
_MINUTE = 60
_WEALTH = 10**15
_TAKES_PER_HOUR = 1.2
_HOURS = (1, 1, 2, 4, 8, 24, 72)


class Traders:
    def __init__(
        self,
        *,
        engine: Engine,
        skus: Mapping[str, Sku],
        prices: Mapping[str, PriceSource],
        state: Shelf[Quoting],
        seed: str,
        tick: int,
        enabled: bool,
    ) -> None:
        self._engine = engine
        self._skus = skus
        self._prices = prices
        self._state = state
        self._seed = seed
        self._chance_per_tick = min(1.0, _TAKES_PER_HOUR * tick / HOUR)
        for sku in skus.values():
            if state.get(sku.id) is None:
                self._open(sku, enabled=enabled)

    def fair_price(self, sku: str, now: float) -> float:
        """Dollars per GPU-hour."""
        return self._prices[sku].at(now) * self._state[sku].price_factor

    def open_books(self, now: float) -> None:
        """Where this hour's quotes are not given yet, give them."""
        for state in self._state:
            if state.enabled and state.quoted_hour != int(now // HOUR):
                self.quote(state.id, now)

    def tick(self, now: float) -> None:
        self.open_books(now)
        for state in self._state:
            if not state.enabled:
                continue
            chance = Random(f"{self._seed}:{state.id}:{int(now)}")  # noqa: S311 - a made-up market
            if chance.random() < self._chance_per_tick:
                self._take(state.id, now, chance)

    def change(self, state: Quoting, now: float) -> Quoting:
        """Their settings; they quote again at once, or leave the book."""
        self._state.put(state)
        self.quote(state.id, now)
        return self._state[state.id]

    def quote(self, sku: str, now: float) -> None:
        """Take all quotes back, and give new ones."""
        for order_id in self._state[sku].standing:
            self._withdraw(order_id, int(now))
        self._state.put(replace(self._state[sku], standing=(), quoted_hour=int(now // HOUR)))
        if self._state[sku].enabled:
            self._rest(Side.SELL, sku, self._state[sku].supply, int(now))
            self._rest(Side.BUY, sku, self._state[sku].demand, int(now))

    def _rest(self, side: Side, sku: str, size: float, now: int) -> None:
        offers = list(_offers(side, size, now))
        if side is Side.SELL:
            self._restock(sku, Schedule.of((start, end, nodes) for start, end, _, nodes in offers))
        for start, end, factor, nodes in offers:
            limit = self._limit(sku, factor, now)
            order_id = self._submit(side, sku, start, end, nodes, limit, now, standing=True)
            state = self._state[sku]
            self._state.put(replace(state, standing=(*state.standing, order_id)))

    def _restock(self, sku: str, wanted: Schedule) -> None:
        pool = self._engine.pool(_pool(Side.SELL, sku))
        owned, offered = pool.owned.get(sku, EMPTY), pool.offered.get(sku, EMPTY)
        free = owned.minus(owned.meet(offered))
        lacking = wanted.minus(wanted.meet(free))
        if lacking:
            self._engine.grant(pool.id, sku, lacking)

    def _take(self, sku: str, now: float, chance: Random) -> None:
        """A block that somebody wants at once: usually soon, short and small."""
        side = Side.BUY if chance.random() < 0.6 else Side.SELL
        start = _this_minute(now) + HOUR * chance.choice((0, 0, 0, 1, 6, 24, 48))
        end = start + HOUR * chance.choice(_HOURS)
        nodes = chance.choice((1, 1, 2, 4))
        if side is Side.SELL:
            self._restock(sku, Schedule.rectangle(start, end, nodes))
        limit = self._limit(sku, 1.06 if side is Side.BUY else 0.93, now)
        self._submit(side, sku, start, end, nodes, limit, int(now), standing=False)

    def _submit(
        self, side: Side, sku: str, start: int, end: int, nodes: int, limit: int, now: int, *, standing: bool
    ) -> str:
        state = self._state.put(replace(self._state[sku], made=self._state[sku].made + 1))
        new = NewOrder(
            id=f"ordr_{sku.removeprefix('isku_')[:10]}{state.made}",
            account_id=_account(side, sku),
            pool_id=_pool(side, sku),
            side=side,
            sku=sku,
            start=start,
            end=end,
            nodes=nodes,
            limit=limit,
            allow_standing=standing,
            allow_partial=True,
        )
        self._engine.submit(new, now)
        return new.id

    def _withdraw(self, id: str, now: int) -> None:
        # It may be filled, or over.
        with suppress(MarketError):
            self._engine.cancel(id, now)

    def _limit(self, sku: str, factor: float, now: float) -> int:
        """µ$ per node-minute."""
        per_node_hour = self.fair_price(sku, now) * factor * self._skus[sku].num_accelerators
        return max(1, round(per_node_hour * 1_000_000 / _MINUTE))

    def _open(self, sku: Sku, *, enabled: bool) -> None:
        for side in Side:
            self._engine.open_account(_account(side, sku.id), originating=side is Side.SELL)
            self._engine.open_pool(_pool(side, sku.id), _account(side, sku.id))
        self._engine.deposit(_account(Side.BUY, sku.id), _WEALTH, 0)
        self._state.put(Quoting(id=sku.id, enabled=enabled))


def _offers(side: Side, size: float, now: int) -> Iterator[tuple[int, int, float, int]]:
    """(start, end, of the fair price, nodes)"""
    start, next_hour = _this_minute(now), (now // HOUR + 1) * HOUR
    windows = [(start, start + WINDOW_SECONDS, LEVELS[side])]
    windows += [(next_hour, next_hour + seconds, STANDARD_LEVELS[side]) for seconds in STANDARD_SECONDS]
    for first, last, levels in windows:
        for factor, nodes in levels:
            if count := max(0, round(nodes * size)):
                yield first, last, factor, count


def _account(side: Side, sku: str) -> str:
    return f"acct_{'buyers' if side is Side.BUY else 'providers'}_{sku.removeprefix('isku_')}"


def _pool(side: Side, sku: str) -> str:
    return f"pool_{'buyers' if side is Side.BUY else 'providers'}_{sku.removeprefix('isku_')}"


def _this_minute(now: float) -> int:
    """The minute that runs, for whoever wants a node at once."""
    return int(now) - int(now) % _MINUTE
