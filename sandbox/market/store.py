"""The engine in a SQLite file, so that a market that is killed comes back as it was.

After each call of the engine `save` writes what that call touched, in one transaction. Whoever answers only after
that has answered nothing that could be lost: a killed process leaves a file with whole calls in it (the write-ahead log
survives the process, though not always the machine).

Schedules are kept as JSON: [their times, their counts].
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

from sandbox.market.accounts import Wallet
from sandbox.market.changes import Changes
from sandbox.market.engine import Engine
from sandbox.market.orders import LiveOrder
from sandbox.market.pools import Inventory
from sandbox.market.rules import Rules
from sandbox.market.schedules import Schedule
from sandbox.market.values import Fill, NewOrder, OrderStatus, Side, Trade, Transaction, TransactionKind

TABLES = """
create table if not exists market_counters (name text primary key, value integer not null) strict, without rowid;
create table if not exists market_accounts (
    id text primary key, originating integer not null, cash integer not null, reserved integer not null
) strict, without rowid;
create table if not exists market_pools (id text primary key, account_id text not null) strict, without rowid;
create table if not exists market_inventories (
    pool_id text not null, sku text not null, free text not null, primary key (pool_id, sku)
) strict, without rowid;
create table if not exists market_orders (
    id text primary key, seq integer not null, account_id text not null, pool_id text not null, side text not null,
    sku text not null, starts integer not null, ends integer not null, nodes integer not null,
    limit_price integer not null, allow_standing integer not null, asked_partial integer,
    allow_partial integer not null, created_at integer not null,
    unfilled text not null, status text not null, filled_at integer, cancelled_at integer
) strict, without rowid;
create table if not exists market_trades (
    seq integer primary key, at integer not null, sku text not null, price integer not null, delta text not null,
    value integer not null, fee integer not null, buy_order_id text not null, sell_order_id text not null,
    taker text not null
) strict;
create table if not exists market_fills (
    order_id text not null, seq integer not null, at integer not null, price integer not null, delta text not null,
    value integer not null, fee integer not null, primary key (order_id, seq)
) strict, without rowid;
create table if not exists market_transactions (
    seq integer primary key, account_id text not null, at integer not null, kind text not null,
    amount integer not null, balance integer not null, order_id text
) strict;
"""


class Store:
    """`connection` is open for the server's own tables, too; every table here begins with `market_`."""

    def __init__(self, path: Path | str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = normal")
        self.connection.executescript(TABLES)

    def close(self) -> None:
        self.connection.close()

    def save(self, engine: Engine) -> None:
        """Writes what the engine's calls have touched since the last time, in one transaction of its own.

        Where that fails the file is as it was, and the next save tries the same again.
        """
        self.connection.execute("begin immediate")
        try:
            self.write(engine)
            self.connection.execute("commit")
        except BaseException:
            self.connection.execute("rollback")
            raise
        engine.take_changes()

    def write(self, engine: Engine) -> None:
        """As `save`, within the caller's transaction; after its commit the caller has the engine's `take_changes`."""
        changes = engine.changes
        if changes is None:
            raise ValueError("this engine was not made to remember changes")
        if changes:
            _write_counters(self.connection, engine)
            _write_holdings(self.connection, engine, changes)
            _write_orders(self.connection, engine, changes)
            _write_rows(self.connection, changes)
            _drop(self.connection, changes)

    def load(self, rules: Rules | None = None) -> Engine:
        """The market as it was saved last, or an empty one. It remembers its changes, for `save`."""
        engine = Engine(rules, remember_changes=True)
        _read_counters(self.connection, engine)
        _read_holdings(self.connection, engine)
        _read_orders(self.connection, engine)
        return engine


# Writing


def _write_counters(connection: sqlite3.Connection, engine: Engine) -> None:
    counters = {
        "fees": engine.fees,
        "next_order_seq": engine.next_order_seq,
        "next_trade_seq": engine.next_trade_seq,
        "next_transaction_seq": engine.accounts.next_seq,
        "horizon": engine.pools.horizon,
    }
    connection.executemany("insert or replace into market_counters values (?, ?)", counters.items())


def _write_holdings(connection: sqlite3.Connection, engine: Engine, changes: Changes) -> None:
    wallets = [engine.accounts.wallets[account_id] for account_id in changes.accounts]
    connection.executemany(
        "insert or replace into market_accounts values (?, ?, ?, ?)",
        [(wallet.id, wallet.originating, wallet.cash, wallet.reserved) for wallet in wallets],
    )
    pools = engine.pools.inventories
    connection.executemany(
        "insert into market_pools values (?, ?)", [(pool_id, pools[pool_id].account_id) for pool_id in changes.pools]
    )
    connection.executemany(
        "insert or replace into market_inventories values (?, ?, ?)",
        [(pool_id, sku, _packed(pools[pool_id].free[sku])) for pool_id, sku in changes.inventories],
    )


def _write_orders(connection: sqlite3.Connection, engine: Engine, changes: Changes) -> None:
    orders = [engine.tracked[order_id] for order_id in changes.orders if order_id in engine.tracked]
    connection.executemany(
        "insert into market_orders values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do"
        " update set unfilled = excluded.unfilled, status = excluded.status, filled_at = excluded.filled_at,"
        " cancelled_at = excluded.cancelled_at",
        [_order_row(order) for order in orders],
    )


def _order_row(order: LiveOrder) -> tuple[int | str | None, ...]:
    asked = order.asked
    return (
        *(asked.id, order.seq, asked.account_id, asked.pool_id, asked.side, asked.sku, asked.start, asked.end),
        *(asked.nodes, asked.limit, asked.allow_standing, asked.allow_partial, order.allow_partial, order.created_at),
        *(_packed(order.left), order.status, order.filled_at, order.cancelled_at),
    )


def _write_rows(connection: sqlite3.Connection, changes: Changes) -> None:
    connection.executemany(
        "insert into market_trades values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (t.seq, t.at, t.sku, t.price, _packed(t.delta), t.value, t.fee, t.buy_order_id, t.sell_order_id, t.taker)
            for t in changes.trades
        ],
    )
    connection.executemany(
        "insert into market_fills values (?, ?, ?, ?, ?, ?, ?)",
        [
            (order_id, t.seq, t.at, t.price, _packed(t.delta), t.value, fee)
            for t in changes.trades
            for order_id, fee in ((t.buy_order_id, 0), (t.sell_order_id, t.fee))
        ],
    )
    connection.executemany(
        "insert into market_transactions values (?, ?, ?, ?, ?, ?, ?)",
        [(t.seq, t.account_id, t.at, t.kind, t.amount, t.balance, t.order_id) for t in changes.transactions],
    )


def _drop(connection: sqlite3.Connection, changes: Changes) -> None:
    """What the engine has forgotten; fills stay as long as their order does."""
    if changes.trimmed is None:
        return
    connection.execute("delete from market_trades where at < ?", (changes.trimmed,))
    connection.execute("delete from market_transactions where at < ?", (changes.trimmed,))
    dropped = [(order_id,) for order_id in changes.dropped_orders]
    connection.executemany("delete from market_orders where id = ?", dropped)
    connection.executemany("delete from market_fills where order_id = ?", dropped)


# Reading


def _read_counters(connection: sqlite3.Connection, engine: Engine) -> None:
    counters = dict(connection.execute("select name, value from market_counters").fetchall())
    engine.fees = counters.get("fees", 0)
    engine.next_order_seq = counters.get("next_order_seq", 1)
    engine.next_trade_seq = counters.get("next_trade_seq", 1)
    engine.accounts.next_seq = counters.get("next_transaction_seq", 1)
    engine.pools.horizon = counters.get("horizon", 0)


def _read_holdings(connection: sqlite3.Connection, engine: Engine) -> None:
    wallets, pools = engine.accounts.wallets, engine.pools.inventories
    for account_id, originating, cash, reserved in connection.execute("select * from market_accounts"):
        wallets[account_id] = Wallet(id=account_id, originating=bool(originating), cash=cash, reserved=reserved)
    for seq, account_id, at, kind, amount, balance, order_id in connection.execute(
        "select * from market_transactions order by seq"
    ):
        wallets[account_id].transactions.append(
            Transaction(
                seq=seq,
                account_id=account_id,
                at=at,
                kind=TransactionKind(kind),
                amount=amount,
                balance=balance,
                order_id=order_id,
            )
        )
    for pool_id, account_id in connection.execute("select * from market_pools"):
        pools[pool_id] = Inventory(id=pool_id, account_id=account_id, horizon=engine.pools.horizon)
    for pool_id, sku, free in connection.execute("select * from market_inventories"):
        pools[pool_id].free[sku] = _unpacked(free)


def _read_orders(connection: sqlite3.Connection, engine: Engine) -> None:
    for row in connection.execute("select * from market_orders order by seq"):
        order = _order(row)
        engine.tracked[order.asked.id] = order
        if order.status.live:
            engine.rest(order)
            if order.asked.side is Side.SELL:
                engine.pools[order.asked.pool_id].sells[order.asked.id] = order
    for order_id, seq, at, price, delta, value, fee in connection.execute(
        "select * from market_fills order by order_id, seq"
    ):
        order = engine.tracked[order_id]
        order.fills.append(Fill(seq=seq, at=at, price=price, delta=_unpacked(delta), value=value, fee=fee))
        order.spent += value
        order.fee += fee
    engine.tape = [_trade(row) for row in connection.execute("select * from market_trades order by seq")]


def _order(row: tuple[Any, ...]) -> LiveOrder:
    order_id, seq, account_id, pool_id, side, sku, start, end, nodes, limit, standing, asked_partial, *rest = row
    partial, created_at, unfilled, status, filled_at, cancelled_at = rest
    asked = NewOrder(
        id=order_id,
        account_id=account_id,
        pool_id=pool_id,
        side=Side(side),
        sku=sku,
        start=start,
        end=end,
        nodes=nodes,
        limit=limit,
        allow_standing=bool(standing),
        allow_partial=None if asked_partial is None else bool(asked_partial),
    )
    return LiveOrder(
        asked=asked,
        seq=seq,
        allow_partial=bool(partial),
        created_at=created_at,
        left=_unpacked(unfilled),
        status=OrderStatus(status),
        filled_at=filled_at,
        cancelled_at=cancelled_at,
    )


def _trade(row: tuple[Any, ...]) -> Trade:
    seq, at, sku, price, delta, value, fee, buy_order_id, sell_order_id, taker = row
    return Trade(
        seq=seq,
        at=at,
        sku=sku,
        price=price,
        delta=_unpacked(delta),
        value=value,
        fee=fee,
        buy_order_id=buy_order_id,
        sell_order_id=sell_order_id,
        taker=Side(taker),
    )


def _packed(schedule: Schedule) -> str:
    return json.dumps([schedule.times, schedule.counts])


def _unpacked(kept: str) -> Schedule:
    times, counts = json.loads(kept)
    return Schedule(tuple(times), tuple(counts))
