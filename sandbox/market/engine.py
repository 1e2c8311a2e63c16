"""The matching engine: orders in, trades out.

It is pure and single-threaded: in memory, no clock (`now`, epoch seconds, never goes back from call to call), no
chance. A call that raises has changed nothing.

An order passes through `submit` once. It is checked (its sense, then its means: a buyer's cash for the whole order at
its limit, a seller's free node time), it walks the other side of the book (`matching`), it trades, and what is left of
it rests or is cancelled. From then on it is moved only by newcomers, by `cancel` and by `expire`.

What a standing order holds: a buy reserves its limit x the node-minutes it hasn't filled, a sell holds that node time
in its pool. Both are freed when the order ends, and bit by bit as it fills.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from sandbox.market import figures
from sandbox.market.accounts import Accounts
from sandbox.market.admission import check_means, check_sense, check_window
from sandbox.market.book import Book
from sandbox.market.changes import Changes
from sandbox.market.errors import InsufficientCapacity, InvalidOrder, NotCancellable, Unknown
from sandbox.market.holdings import free, hold, settle
from sandbox.market.matching import Match, Take, Taker, walk
from sandbox.market.orders import LiveOrder
from sandbox.market.pools import Pools
from sandbox.market.rules import DAY, MINUTE, Rules
from sandbox.market.schedules import Schedule
from sandbox.market.values import (
    Account,
    Depth,
    NewOrder,
    OpenWindow,
    Order,
    OrderStatus,
    Outcome,
    Pool,
    Preview,
    Quote,
    Side,
    Trade,
    Transaction,
    TransactionKind,
)


class Engine:
    """A market. With `remember_changes`, what the calls touch is gathered for `take_changes` (see `store`)."""

    def __init__(self, rules: Rules | None = None, *, remember_changes: bool = False) -> None:
        self.rules = rules or Rules()
        self.changes = Changes() if remember_changes else None
        self.accounts = Accounts(self.changes)
        self.pools = Pools(self.changes)
        self.books: dict[str, Book] = {}
        self.tracked: dict[str, LiveOrder] = {}  # every order that isn't trimmed, ended or not
        self.tape: list[Trade] = []
        self.fees = 0  # µ$ taken from resales, ever
        self.next_order_seq = 1
        self.next_trade_seq = 1
        self._deadlines: list[tuple[int, int, LiveOrder]] = []

    # Accounts and pools

    def open_account(self, account_id: str, *, cash: int = 0, originating: bool = False, now: int = 0) -> None:
        """`originating`: a provider, who gets node time by `grant`, pays no fee and cannot buy. Raises Taken."""
        if cash < 0:
            raise ValueError("an account opens with 0 or more")
        self.accounts.open(account_id, originating=originating)
        if cash:
            self.deposit(account_id, cash, now)

    def deposit(
        self, account_id: str, amount: int, now: int, *, kind: TransactionKind = TransactionKind.DEPOSIT
    ) -> None:
        """Credits `amount` µ$ from outside. Raises Unknown."""
        if amount <= 0:
            raise ValueError("a deposit is more than 0")
        self.accounts.move(account_id, amount, kind, now)

    def open_pool(self, pool_id: str, account_id: str) -> None:
        """Raises Unknown (account), Taken (pool)."""
        self.pools.open(pool_id, self.accounts[account_id].id)

    def grant(self, pool_id: str, sku: str, rectangle: Schedule) -> None:
        """Node time out of nothing, for a provider's pool. Any schedule will do. Raises Unknown, ValueError."""
        if not self.accounts[self.pools[pool_id].account_id].originating:
            raise ValueError(f"pool {pool_id} belongs to no provider")
        _check_minutes(rectangle.times)
        self.pools.add(pool_id, sku, rectangle)

    def transfer(self, from_pool: str, to_pool: str, sku: str, start: int, end: int, nodes: int) -> None:
        """Moves a rectangle of free node time. Raises InsufficientCapacity, Unknown, ValueError."""
        _check_minutes((start, end))
        if nodes < 1 or end <= start:
            raise ValueError("there is nothing to transfer")
        receiver = self.pools[to_pool]
        if not self.pools.has_free(from_pool, sku, start, end, nodes):
            raise InsufficientCapacity(f"pool {from_pool} doesn't have {nodes} free nodes all that time")
        delta = Schedule.rectangle(start, end, nodes)
        self.pools.take(from_pool, sku, delta)
        self.pools.add(receiver.id, sku, delta)

    # Orders

    def submit(self, new: NewOrder, now: int) -> Outcome:
        """Matches an order, and lets what is left rest if it may. Raises InvalidOrder, InsufficientBalance,
        InsufficientCapacity.

        Orders that have expired don't match; what they hold is freed by `expire`, so call that first (it is cheap).
        """
        if new.id in self.tracked:
            raise InvalidOrder(f"there is an order {new.id} already")
        check_sense(new, self.accounts, self.pools, self.rules, now)
        check_means(new, self.accounts, self.pools)
        order = self._admit(new, now)
        match = self._match(order, now)
        trades = tuple(self._trade(order, take, now) for take in match.takes)
        cancelled = self._give_way(order, match, now)
        if order.left:
            self._rest_or_end(order, now)
        return Outcome(order=order.snapshot(), trades=trades, cancelled=cancelled)

    def cancel(self, order_id: str, now: int) -> None:
        """Frees what the order holds; its fills stay. Raises NotCancellable, Unknown."""
        order = self._tracked(order_id)
        if not order.status.live:
            raise NotCancellable(f"order {order_id} is {order.status}")
        self._leave_book(order)
        free(order, self.accounts, self.pools)
        self._end(order, OrderStatus.CANCELLED, now)

    def expire(self, now: int) -> list[str]:
        """Cancels the standing orders whose time is over, and tells their ids.

        That is at an order's end; one without `allow_partial` is over when the minute of its start is.
        """
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now:
            order = heappop(self._deadlines)[2]
            if order.status.live:
                self.cancel(order.asked.id, now)
                expired.append(order.asked.id)
        return expired

    # What there is

    def order(self, order_id: str) -> Order:
        """Raises Unknown."""
        return self._tracked(order_id).snapshot()

    def orders(
        self, *, account_id: str | None = None, pool_id: str | None = None, live: bool | None = None
    ) -> Iterator[Order]:
        """Oldest first; `live` True or False: only those that rest, or only those that have ended."""
        for order in self.tracked.values():
            asked = order.asked
            if account_id not in {None, asked.account_id} or pool_id not in {None, asked.pool_id}:
                continue
            if live in {None, order.status.live}:
                yield order.snapshot()

    def account(self, account_id: str) -> Account:
        """Raises Unknown."""
        return self.accounts[account_id].snapshot()

    def transactions(self, account_id: str, *, after: int = 0) -> tuple[Transaction, ...]:
        """Oldest first, those with a seq beyond `after`. Raises Unknown."""
        rows = self.accounts[account_id].transactions
        return tuple(rows[bisect_left(rows, after + 1, key=lambda row: row.seq) :])

    def pool(self, pool_id: str) -> Pool:
        """Raises Unknown."""
        return self.pools[pool_id].snapshot()

    def trades(self, *, sku: str | None = None, since: int = 0) -> list[Trade]:
        """Oldest first, those made at `since` or later."""
        recent = self.tape[bisect_left(self.tape, since, key=lambda trade: trade.at) :]
        return [trade for trade in recent if sku in {None, trade.sku}]

    # What the public sees

    def depth(self, sku: str, start: int, end: int, n: int, now: int) -> Depth:
        """The `n` best price levels of each side for the window [start, end)."""
        return figures.depth(self._book(sku), sku, start, end, n, self.rules, now)

    def quote(self, skus: Iterable[str], start: int, end: int, now: int) -> Quote:
        """The best bid and ask of these SKUs for the window; of equals the lowest SKU."""
        return figures.quote({sku: self._book(sku) for sku in skus}, start, end, self.rules, now)

    def preview(
        self,
        side: Side,
        skus: Iterable[str],
        start: int,
        seconds: int,
        nodes: int,
        *,
        now: int,
        account_id: str | None = None,
    ) -> Preview | None:
        """The best price (lowest for a buyer) at which an order of all or nothing would fill now, on one of `skus`.

        With `account_id` that account's own orders are left out, as they would be. Raises InvalidOrder.
        """
        if nodes < 1:
            raise InvalidOrder("an order is for one node or more")
        check_window(start, start + seconds, self.rules, now)
        taker = Taker(
            side=side,
            want=Schedule.rectangle(start, start + seconds, nodes),
            limit=None,
            allow_partial=False,
            account_id=account_id,
        )
        return figures.preview({sku: self._book(sku) for sku in skus}, taker, self.rules, now)

    def purchasable(self, sku: str, now: int) -> Schedule:
        """All nodes offered for sale, at whatever price, from now on."""
        return figures.purchasable(self._book(sku), now)

    def windows(self, skus: Sequence[str], start: int, end: int, now: int) -> list[OpenWindow]:
        """The windows inside [start, end) that resting orders ask for, by (start, end, SKU)."""
        return figures.windows({sku: self._book(sku) for sku in skus}, start, end, now)

    # Keeping

    def trim(self, now: int) -> None:
        """Forgets what was over `history_days` ago (owned node time: `pool_history_days`), for years to be replayed.

        Once a day is often enough to stay quick.
        """
        horizon = now - self.rules.history_days * DAY
        dropped = [order.asked.id for order in self.tracked.values() if _over(order, horizon)]
        for order_id in dropped:
            del self.tracked[order_id]
        self.tape = self.tape[bisect_left(self.tape, horizon, key=lambda trade: trade.at) :]
        self.accounts.trim(horizon)
        self.pools.trim(now - self.rules.pool_history_days * DAY)
        self._deadlines = [entry for entry in self._deadlines if entry[2].status.live]
        heapify(self._deadlines)
        if self.changes is not None:
            self.changes.trimmed = horizon
            self.changes.dropped_orders.update(dropped)

    def take_changes(self) -> Changes:
        """What the calls since the last time have touched."""
        taken = self.changes
        if taken is None:
            raise ValueError("this engine was not made to remember changes")
        self.changes = self.accounts.changes = self.pools.changes = Changes()
        return taken

    def rest(self, order: LiveOrder) -> None:
        """Puts an order into the book (for `submit`, and for whoever loads a kept market)."""
        self._book(order.asked.sku).side(order.asked.side).add(order)
        heappush(self._deadlines, (order.deadline, order.seq, order))

    # A submission, step by step

    def _admit(self, new: NewOrder, now: int) -> LiveOrder:
        partial = self.rules.allow_partial_default if new.allow_partial is None else new.allow_partial
        whole = Schedule.rectangle(new.start, new.end, new.nodes)
        order = LiveOrder(asked=new, seq=self.next_order_seq, allow_partial=partial, created_at=now, left=whole)
        self.next_order_seq += 1
        self.tracked[new.id] = order
        hold(order, self.accounts, self.pools)
        return order

    def _match(self, order: LiveOrder, now: int) -> Match:
        asked = order.asked
        taker = Taker(
            side=asked.side,
            want=order.left,
            limit=asked.limit,
            allow_partial=order.allow_partial,
            account_id=asked.account_id,
        )
        return walk(self._book(asked.sku).against(asked.side), taker, self.rules, now)

    def _trade(self, newcomer: LiveOrder, take: Take, now: int) -> Trade:
        """Both orders hold what it takes, so it cannot fail."""
        resting, delta = take.order, take.delta
        buy, sell = (newcomer, resting) if newcomer.asked.side is Side.BUY else (resting, newcomer)
        price = self.rules.price(own=newcomer.asked.limit, resting=resting.asked.limit)
        node_minutes = delta.node_minutes
        value = price * node_minutes
        resells = not self.accounts.wallets[sell.asked.account_id].originating
        fee = self.rules.resale_fee(value=value, node_minutes=node_minutes) if resells else 0
        trade = Trade(
            seq=self.next_trade_seq,
            at=now,
            sku=newcomer.asked.sku,
            price=price,
            delta=delta,
            value=value,
            fee=fee,
            buy_order_id=buy.asked.id,
            sell_order_id=sell.asked.id,
            taker=newcomer.asked.side,
        )
        self.next_trade_seq += 1
        settle(trade, buy.asked, sell.asked, self.accounts, self.pools)
        self._print(trade)
        for order, left in ((newcomer, take.left), (resting, resting.left.minus(delta))):
            order.fill(trade, left)
            self._touch(order)
            if not left:
                free(order, self.accounts, self.pools)
        if not resting.left:
            self._leave_book(resting)
        return trade

    def _print(self, trade: Trade) -> None:
        self.fees += trade.fee
        self.tape.append(trade)
        if self.changes is not None:
            self.changes.trades.append(trade)

    def _give_way(self, order: LiveOrder, match: Match, now: int) -> tuple[str, ...]:
        """The account's own resting orders make room, unless the newcomer came to nothing anyway."""
        if self.rules.self_trade == "skip" or not (match.takes or order.asked.allow_standing):
            return ()
        for own in match.own:
            self.cancel(own.asked.id, now)
        return tuple(own.asked.id for own in match.own)

    def _rest_or_end(self, order: LiveOrder, now: int) -> None:
        if order.asked.allow_standing:
            self.rest(order)
            self._touch(order)
            return
        free(order, self.accounts, self.pools)
        filled = order.fills and self.rules.partial_ioc_end == "filled"
        self._end(order, OrderStatus.FILLED if filled else OrderStatus.CANCELLED, now)

    # Its end

    def _end(self, order: LiveOrder, status: OrderStatus, now: int) -> None:
        order.status = status
        if status is OrderStatus.FILLED:
            order.filled_at = now
        else:
            order.cancelled_at = now
        self._touch(order)

    def _leave_book(self, order: LiveOrder) -> None:
        self._book(order.asked.sku).side(order.asked.side).remove(order)

    def _book(self, sku: str) -> Book:
        if sku not in self.books:
            self.books[sku] = Book(by_size=self.rules.priority == "price_size_time")
        return self.books[sku]

    def _tracked(self, order_id: str) -> LiveOrder:
        if order_id not in self.tracked:
            raise Unknown(f"no order {order_id}")
        return self.tracked[order_id]

    def _touch(self, order: LiveOrder) -> None:
        if self.changes is not None:
            self.changes.orders.add(order.asked.id)


def _check_minutes(times: Iterable[int]) -> None:
    if any(time % MINUTE for time in times):
        raise ValueError("times are whole minutes")


def _over(order: LiveOrder, horizon: int) -> bool:
    """Ended before the horizon, and so did what it was about."""
    return order.ended_at is not None and max(order.ended_at, order.asked.end) < horizon
