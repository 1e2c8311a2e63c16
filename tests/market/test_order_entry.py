"""From a wish to an order: what is filled in, and what is the same order."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalar.database import Transaction
from scalar.errors import Conflict, IdempotencyConflict, InvalidRequest
from scalar.market import order_entry, store
from scalar.market.catalogue import matching, named
from scalar.market.model import TICK, Rectangle, Side, Sku
from scalar.market.order_entry import Wish
from scalar.market.orders import By
from scalar.market.quoting import Quote, fee_of, next_minute, on_tick_for
from scalar.market.settings import MarketSettings
from tests.made_up import NOON

_HOUR = timedelta(hours=1)
H100 = Sku(id="isku_1", alias="sea-h100", gpu_type="H100", gpus_per_node=8)
OTHER = Sku(id="isku_2", alias="iad-h100", gpu_type="H100", gpus_per_node=8)


def a_wish(**changes: Any) -> Wish:
    return Wish(**{"side": Side.BUY, "nodes": 1, "sku": "sea-h100", "minutes": 60, "purpose": "a test", **changes})


def a_quote(**changes: Any) -> Quote:
    window = Rectangle(start=NOON, end=NOON + _HOUR, nodes=1)
    quote = Quote(side=Side.BUY, skus=(H100,), window=window, price=Decimal(12), reason=None, fee=None, notices=())
    return replace(quote, **changes)


def test_the_next_minute_is_never_this_one() -> None:
    assert next_minute(NOON) == next_minute(NOON + timedelta(seconds=59.9)) == NOON + timedelta(minutes=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"end": NOON + _HOUR},
        {"minutes": None},
        {"start": NOON - _HOUR},
        {"start": NOON + timedelta(days=1096)},
        {"minutes": 3 * 366 * 1440},
        {"minutes": None, "end": NOON - _HOUR},
    ],
    ids=repr,
)
def test_a_window_has_one_end_in_reach(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        order_entry.window_of(a_wish(**changes), NOON)


def test_the_minute_that_runs_may_still_be_traded() -> None:
    late = NOON + timedelta(seconds=59)
    assert order_entry.window_of(a_wish(start=NOON), late).start == NOON


@given(some.decimals(min_value="0.0001", max_value=1000, places=6), some.sampled_from(Side))
def test_a_limit_on_the_tick_is_never_worse_than_what_was_said(price: Decimal, side: Side) -> None:
    limit = on_tick_for(side, price)
    assert limit % TICK == 0
    assert abs(limit - price) < TICK
    assert limit <= price if side is Side.BUY else limit >= price


@given(some.decimals(min_value="0.01", max_value=1000, places=6), some.sampled_from(Side))
def test_a_default_limit_leaves_room_on_the_right_side(price: Decimal, side: Side) -> None:
    limit = a_quote(side=side, price=price).limit_price
    assert limit is not None
    assert price * Decimal("0.949") < limit < price * Decimal("1.06")
    assert limit >= price - TICK if side is Side.BUY else limit <= price + TICK


def test_a_fee_is_so_much_a_node_hour_and_a_share() -> None:
    class Fee:
        flat, bps = Decimal("0.10"), 150

    window = Rectangle(start=NOON, end=NOON + 2 * _HOUR, nodes=3)
    assert fee_of(Fee(), window, Decimal(10)) == Decimal("0.60") + Decimal("0.90")  # type: ignore[arg-type]


def test_the_market_is_asked_only_for_what_the_wish_leaves_open() -> None:
    priced = a_wish(limit_price=Decimal(10))
    assert not order_entry.needs_quote(priced, [H100])
    assert order_entry.needs_quote(priced, [H100, OTHER])
    assert order_entry.needs_quote(a_wish(), [H100])


def test_a_quote_names_the_kind_of_machine_and_the_wish_the_price() -> None:
    wish = a_wish(sku=None, gpu_type="H100", limit_price=Decimal("12.6"))
    request = order_entry.request_of(wish, a_quote().window, [H100, OTHER], a_quote(skus=(OTHER,)))
    assert (request.sku, request.limit_price) == (OTHER.id, Decimal("12.6"))


def test_what_nobody_offers_can_not_be_priced() -> None:
    with pytest.raises(Conflict, match="no_availability"):
        order_entry.request_of(a_wish(), a_quote().window, [H100], a_quote(price=None, reason="no_availability"))


def test_a_kind_of_machine_is_found_by_id_alias_and_gpu() -> None:
    skus = [H100, OTHER]
    assert matching(skus, sku="isku_2", gpu_type=None) == matching(skus, sku="iad-h100", gpu_type=None) == [OTHER]
    assert matching(skus, sku=None, gpu_type="h100") == skus
    with pytest.raises(InvalidRequest, match="iad-h100"):
        named(skus, sku="nosuch", gpu_type=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": 2},
        {"side": Side.SELL},
        {"sku": "iad-h100"},
        {"sku": None, "gpu_type": "H200"},
        {"minutes": 61},
        {"minutes": None, "end": NOON + 2 * _HOUR},
        {"start": NOON + _HOUR},
        {"limit_price": Decimal(13)},
        {"allow_standing": True},
        {"allow_partial": True},
        {"purpose": "another"},
    ],
    ids=repr,
)
def test_a_key_belongs_to_one_wish(tx: Transaction, changes: dict[str, Any]) -> None:
    store.upsert_skus(tx, [H100, OTHER], NOON)
    by, caps = By(actor="operator:x", key="k"), MarketSettings(_env_file=None).caps
    wish = a_wish()
    request = order_entry.request_of(wish, order_entry.window_of(wish, NOON), [H100], a_quote())
    first = order_entry.enter(tx, wish, request, by=by, caps=caps, now=NOON)
    again = order_entry.enter(tx, wish, request, by=by, caps=caps, now=NOON + _HOUR / 2)
    assert (first.created, again.created, again.order.id) == (True, False, first.order.id)
    same = a_wish(sku=None, gpu_type="h100", limit_price=first.order.request.limit_price)
    assert order_entry.entered(tx, same, by) is not None
    with pytest.raises(IdempotencyConflict):
        order_entry.entered(tx, a_wish(**changes), by)
    assert order_entry.entered(tx, wish, By(actor="operator:x", key="other")) is None
