"""What an order must have before it meets the book: sense, and the means to keep its word."""

from sandbox.market.accounts import Accounts
from sandbox.market.errors import InsufficientBalance, InsufficientCapacity, InvalidOrder
from sandbox.market.pools import Pools
from sandbox.market.rules import DAY, MINUTE, Rules
from sandbox.market.values import NewOrder, Side


def check_sense(new: NewOrder, accounts: Accounts, pools: Pools, rules: Rules, now: int) -> None:
    """Raises InvalidOrder."""
    if new.account_id not in accounts.wallets:
        raise InvalidOrder(f"no account {new.account_id}")
    pool = pools.inventories.get(new.pool_id)
    if pool is None or pool.account_id != new.account_id:
        raise InvalidOrder(f"account {new.account_id} has no pool {new.pool_id}")
    if new.nodes < 1:
        raise InvalidOrder("an order is for one node or more")
    if new.limit < 0:
        raise InvalidOrder("a limit price is not negative")
    if new.side is Side.BUY and accounts.wallets[new.account_id].originating:
        raise InvalidOrder("a provider cannot buy")
    check_window(new.start, new.end, rules, now)


def check_window(start: int, end: int, rules: Rules, now: int) -> None:
    """Raises InvalidOrder. The current minute may still be traded."""
    if start % MINUTE or end % MINUTE:
        raise InvalidOrder("times are whole minutes")
    if end <= start or end - start < rules.min_seconds:
        raise InvalidOrder(f"the end is less than {rules.min_seconds} seconds after the start")
    if end - start > rules.max_range_days * DAY:
        raise InvalidOrder(f"the range is longer than {rules.max_range_days} days")
    if start < now - now % MINUTE:
        raise InvalidOrder("the start has passed")


def check_means(new: NewOrder, accounts: Accounts, pools: Pools) -> None:
    """A buyer needs cash for the whole order at its limit, a seller the node time, neither held by another order.

    Raises InsufficientBalance, InsufficientCapacity.
    """
    if new.side is Side.SELL:
        if not pools.has_free(new.pool_id, new.sku, new.start, new.end, new.nodes):
            raise InsufficientCapacity(f"pool {new.pool_id} doesn't have {new.nodes} free nodes all that time")
        return
    needed = new.limit * new.nodes * (new.end - new.start) // MINUTE
    available = accounts.wallets[new.account_id].available
    if needed > available:
        raise InsufficientBalance(f"the order may cost {needed} µ$, and {available} µ$ are free")
