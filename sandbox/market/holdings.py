"""What an order holds while it may still trade, and what changes hands when it does.

A buy holds cash: its limit x the node-minutes it hasn't filled. A sell holds that node time in its pool. So whatever a
trade takes is there, and settling one cannot fail.
"""

from sandbox.market.accounts import Accounts
from sandbox.market.orders import LiveOrder
from sandbox.market.pools import Pools
from sandbox.market.values import NewOrder, Side, Trade, TransactionKind


def hold(order: LiveOrder, accounts: Accounts, pools: Pools) -> None:
    asked = order.asked
    if asked.side is Side.BUY:
        accounts.reserve(asked.account_id, order.reserve)
    else:
        pools.hold(order)


def free(order: LiveOrder, accounts: Accounts, pools: Pools) -> None:
    """Gives back what is still held, if anything; the order has ended."""
    asked = order.asked
    if asked.side is Side.BUY:
        accounts.reserve(asked.account_id, -order.reserve)
    else:
        pools.let_go(order)


def settle(trade: Trade, buy: NewOrder, sell: NewOrder, accounts: Accounts, pools: Pools) -> None:
    """Cash goes one way and node time the other; what the buyer held beyond the price is free again.

    The node time comes out of the sell order itself, which held it.
    """
    accounts.reserve(buy.account_id, -buy.limit * trade.delta.node_minutes)
    accounts.move(buy.account_id, -trade.value, TransactionKind.BUY_ORDER, trade.at, buy.id)
    accounts.move(sell.account_id, trade.value, TransactionKind.SELL_ORDER, trade.at, sell.id)
    if trade.fee:
        accounts.move(sell.account_id, -trade.fee, TransactionKind.FEE, trade.at, sell.id)
    pools.add(buy.pool_id, trade.sku, trade.delta)
