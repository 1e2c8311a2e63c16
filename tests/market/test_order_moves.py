"""The legal moves of an order: one mapping, and the same in Postgres."""

import pytest

from scalar.database import Transaction
from scalar.errors import IllegalMove
from scalar.market import store
from scalar.market.model import AT_MARKET, ENDED_ORDER_STATES, ORDER_MOVES, OrderState
from tests.made_up import NOON


def test_the_table_holds_the_same_moves(tx: Transaction) -> None:
    rows = tx.execute("select from_state, to_state from order_moves")
    assert {(OrderState(row["from_state"]), OrderState(row["to_state"])) for row in rows} == ORDER_MOVES


def test_what_has_ended_goes_nowhere_unless_the_market_has_it_after_all() -> None:
    assert {move for move in ORDER_MOVES if move[0] in ENDED_ORDER_STATES} == {
        (OrderState.WITHDRAWN, OrderState.PENDING),
        (OrderState.REJECTED, OrderState.PENDING),
    }


def test_what_the_market_has_was_sent() -> None:
    given_up = {OrderState.WITHDRAWN, OrderState.REJECTED}
    assert {now for now, then in ORDER_MOVES if then in AT_MARKET} - given_up == {
        OrderState.INTENDED,
        OrderState.PENDING,
        OrderState.STANDING,
    }


def test_postgres_refuses_an_illegal_move(tx: Transaction) -> None:
    tx.execute(
        """insert into orders (id, side, sku, nodes, starts_at, ends_at, limit_price, allow_standing, allow_partial,
               purpose, requested_by, created_at, state)
           values ('order_1', 'buy', 'h100', 1, %(now)s, %(now)s + interval '1 hour', 16, false, false, 'test', 'test',
               %(now)s, 'proposed')""",
        {"now": NOON},
    )
    with pytest.raises(IllegalMove):
        store.move_order(tx, "order_1", OrderState.FILLED, NOON, market_id="ordr_1")
