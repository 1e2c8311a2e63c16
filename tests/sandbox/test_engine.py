import pytest

from sandbox.market.errors import (
    InsufficientBalance,
    InsufficientCapacity,
    InvalidOrder,
    NotCancellable,
    Taken,
    Unknown,
)
from sandbox.market.rules import DAY
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import OrderStatus, Side, TransactionKind
from tests.sandbox.traders import CASH, H100, T, a_bid, a_market, an_ask, at, between, resting, who_traded

# Price and priority


def test_a_buyer_pays_the_resting_price_not_the_limit():
    market = a_market()
    resting(market, an_ask(limit=80, standing=True))
    outcome = market.submit(a_bid(limit=100), T)
    assert outcome.order.status is OrderStatus.FILLED
    assert outcome.order.spent == 80 * 60
    assert market.account("ann").cash == CASH - 80 * 60
    assert market.account("provider").cash == 80 * 60


@pytest.mark.parametrize(("execution", "price"), [("resting", 80), ("midpoint", 90), ("own", 101)])
def test_the_rule_of_execution_sets_the_price(execution, price):
    market = a_market(execution=execution)
    resting(market, an_ask(limit=80, standing=True))
    assert who_traded(market.submit(a_bid(limit=101), T)) == [("ask", price, 60)]


def test_the_cheapest_ask_sells_first_and_of_equals_the_oldest():
    market = a_market()
    for name, limit in (("dear", 90), ("older", 80), ("younger", 80)):
        resting(market, an_ask(name, limit=limit, standing=True, partial=True))
    assert who_traded(market.submit(a_bid(nodes=3), T)) == [("older", 80, 60), ("younger", 80, 60), ("dear", 90, 60)]


def test_the_highest_bid_buys_first():
    market = a_market()
    resting(market, a_bid("low", limit=80, standing=True))
    resting(market, a_bid("high", limit=90, standing=True))
    assert who_traded(market.submit(an_ask(limit=70), T)) == [("high", 90, 60)]


def test_with_price_size_time_the_bigger_of_equals_sells_first():
    market = a_market(priority="price_size_time")
    resting(market, an_ask("small", nodes=1, standing=True, partial=True))
    resting(market, an_ask("big", nodes=4, standing=True, partial=True))
    assert who_traded(market.submit(a_bid(), T)) == [("big", 100, 60)]


def test_nothing_trades_beyond_a_limit():
    market = a_market()
    resting(market, an_ask(limit=101, standing=True))
    assert market.submit(a_bid(limit=100), T).order.status is OrderStatus.CANCELLED


# All, nothing, or a part


def test_all_or_nothing_gets_nothing_where_one_node_minute_is_missing():
    market = a_market()
    resting(market, an_ask(start=0, end=59, standing=True, partial=True))
    outcome = market.submit(a_bid(start=0, end=60), T)
    assert (outcome.order.status, outcome.order.filled) == (OrderStatus.CANCELLED, EMPTY)
    assert market.account("ann").cash == CASH
    assert market.order("ask").unfilled == between(0, 59, 1)


def test_two_asks_one_after_the_other_fill_one_bid():
    market = a_market()
    resting(market, an_ask("first", start=0, end=30, standing=True))
    resting(market, an_ask("then", start=30, end=60, standing=True))
    assert market.submit(a_bid(start=0, end=60), T).order.status is OrderStatus.FILLED


def test_a_partial_fill_may_be_disjoint_in_time_and_of_fewer_nodes():
    market = a_market()
    resting(market, an_ask("morning", start=0, end=10, nodes=1, standing=True))
    resting(market, an_ask("evening", start=50, end=60, nodes=2, standing=True))
    order = market.submit(a_bid(start=0, end=60, nodes=4, partial=True), T).order
    assert list(order.filled.steps()) == [(at(0), at(10), 1), (at(50), at(60), 2)]
    assert order.status is OrderStatus.CANCELLED


def test_a_partial_immediate_order_can_end_as_filled():
    market = a_market(partial_ioc_end="filled")
    resting(market, an_ask(start=0, end=10, standing=True))
    assert market.submit(a_bid(partial=True), T).order.status is OrderStatus.FILLED
    assert market.account("ann").reserved == 0


def test_an_indivisible_ask_is_sold_whole_or_not_at_all():
    market = a_market()
    resting(market, an_ask(nodes=4, standing=True))
    assert market.submit(a_bid("small", nodes=3), T).order.status is OrderStatus.CANCELLED
    assert market.submit(a_bid("enough", nodes=4), T).order.status is OrderStatus.FILLED


def test_a_divisible_ask_sells_any_part_and_stands_with_the_rest():
    market = a_market()
    resting(market, an_ask(nodes=4, start=0, end=60, standing=True, partial=True))
    market.submit(a_bid(nodes=1, start=10, end=20), T)
    ask = market.order("ask")
    assert ask.status is OrderStatus.PARTIALLY_FILLED
    assert ask.unfilled == between(0, 60, 4).minus(between(10, 20, 1))
    assert market.pool("ann").owned == {H100: between(10, 20, 1)}


def test_what_a_partial_standing_bid_did_not_get_it_gets_later():
    market = a_market()
    resting(market, an_ask("now", nodes=1, standing=True))
    resting(market, a_bid(nodes=2, standing=True, partial=True))
    assert who_traded(market.submit(an_ask("later", nodes=1, limit=70), T)) == [("bid", 100, 60)]
    assert market.order("bid").status is OrderStatus.FILLED


def test_with_exact_windows_a_wider_ask_does_not_match():
    market = a_market(windows="exact")
    resting(market, an_ask("wide", start=0, end=120, nodes=4, standing=True, partial=True))
    assert market.submit(a_bid("first", start=0, end=60), T).order.status is OrderStatus.CANCELLED
    assert market.submit(a_bid("second", start=0, end=120), T).order.status is OrderStatus.FILLED


def test_one_sku_never_trades_with_another():
    market = a_market()
    resting(market, an_ask(standing=True))
    assert market.submit(a_bid(sku="isku_h200"), T).order.status is OrderStatus.CANCELLED


# Means


def test_a_standing_bid_reserves_its_limit_and_gives_it_back_when_cancelled():
    market = a_market()
    resting(market, a_bid(nodes=2, limit=50, standing=True))
    assert (market.account("ann").reserved, market.account("ann").available) == (50 * 120, CASH - 50 * 120)
    market.cancel("bid", T)
    assert (market.account("ann").reserved, market.account("ann").cash) == (0, CASH)


def test_a_fill_below_the_limit_frees_the_difference():
    market = a_market()
    resting(market, a_bid(nodes=2, limit=100, standing=True, partial=True))
    market.submit(an_ask(limit=70, nodes=1), T)
    assert market.account("ann").reserved == 100 * 60
    assert market.account("ann").cash == CASH - 100 * 60


def test_a_bid_beyond_the_free_cash_changes_nothing():
    market = a_market()
    resting(market, a_bid("held", limit=CASH // 60, standing=True))
    with pytest.raises(InsufficientBalance):
        market.submit(a_bid("more"), T)
    with pytest.raises(Unknown):
        market.order("more")
    assert market.account("ann").reserved == CASH // 60 * 60


def test_nobody_sells_what_is_offered_already():
    market = a_market(nodes=4)
    resting(market, an_ask("first", nodes=3, standing=True))
    with pytest.raises(InsufficientCapacity):
        market.submit(an_ask("second", nodes=2), T)
    market.cancel("first", T)
    resting(market, an_ask("second", nodes=4, standing=True))


def test_what_was_bought_can_be_sold_again_for_a_fee():
    market = a_market(fee_bps=250, fee_flat=2)
    resting(market, an_ask(limit=80, standing=True))
    market.submit(a_bid(limit=80), T)
    resting(market, a_bid("bobs", "bob", limit=100, start=30, end=60, standing=True))
    sale = market.submit(an_ask("resale", "ann", limit=90, start=30, end=60), T).order
    assert (sale.spent, sale.fee) == (3000, 75 + 60)
    assert market.fees == 135
    assert market.account("ann").cash == CASH - 4800 + 3000 - 135
    assert market.pool("ann").owned == {H100: between(0, 30, 1)}
    assert market.order("bobs").fee == 0


def test_a_fee_never_exceeds_what_the_sale_brought():
    market = a_market(fee_flat=500)
    resting(market, an_ask(limit=10, standing=True))
    market.submit(a_bid(limit=10), T)
    resting(market, a_bid("bobs", "bob", limit=10, standing=True))
    market.submit(an_ask("resale", "ann", limit=10), T)
    assert market.account("ann").cash == CASH - 600


def test_every_move_of_cash_is_a_row():
    market = a_market(fee_bps=1000)
    resting(market, an_ask(limit=10, standing=True))
    market.submit(a_bid(limit=10), T)
    resting(market, a_bid("bobs", "bob", limit=20, standing=True))
    market.submit(an_ask("resale", "ann", limit=10), T)
    rows = market.transactions("ann")
    assert [(row.kind, row.amount, row.order_id) for row in rows] == [
        (TransactionKind.DEPOSIT, CASH, None),
        (TransactionKind.BUY_ORDER, -600, "bid"),
        (TransactionKind.SELL_ORDER, 1200, "resale"),
        (TransactionKind.FEE, -120, "resale"),
    ]
    assert rows[-1].balance == market.account("ann").cash
    assert market.transactions("ann", after=rows[-2].seq) == rows[-1:]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nodes": 0}, "one node"),
        ({"limit": -1}, "not negative"),
        ({"end": 0}, "less than"),
        ({"start": -1}, "passed"),
        ({"end": 0.5}, "whole minutes"),
        ({"end": 3 * 1440}, "longer"),
        ({"who": "nobody"}, "no account"),
        ({"who": "provider"}, "cannot buy"),
    ],
)
def test_an_order_without_sense_is_refused(changes, why):
    with pytest.raises(InvalidOrder, match=why):
        a_market(max_range_days=2).submit(a_bid(**changes), T)


def test_the_current_minute_can_still_be_bought():
    market = a_market()
    resting(market, an_ask(standing=True, partial=True))
    assert market.submit(a_bid(start=5), at(5) + 59).order.status is OrderStatus.FILLED


def test_an_id_is_used_once():
    market = a_market()
    market.submit(a_bid(), T)
    with pytest.raises(InvalidOrder, match="already"):
        market.submit(a_bid(), T)
    with pytest.raises(Taken):
        market.open_account("ann", cash=1)
    with pytest.raises(Taken):
        market.open_pool("ann", "ann")


# One's own orders


def test_an_account_does_not_trade_with_itself():
    market = a_market()
    resting(market, a_bid("own", "bob", limit=90, standing=True))
    resting(market, an_ask(limit=100, standing=True, partial=True))
    market.submit(a_bid("first", "bob", limit=100), T)
    assert market.submit(an_ask("resale", "bob", limit=80), T).order.status is OrderStatus.CANCELLED
    assert market.order("own").status is OrderStatus.STANDING


def test_or_its_resting_order_gives_way():
    market = a_market(self_trade="cancel_resting")
    resting(market, a_bid("own", "bob", limit=90, start=60, end=120, standing=True))
    resting(market, an_ask(limit=100, start=60, end=120, standing=True))
    market.submit(a_bid("first", "bob", limit=100, start=60, end=120), T)
    outcome = market.submit(an_ask("resale", "bob", limit=80, start=60, end=120, standing=True), T)
    assert outcome.cancelled == ("own",)
    assert outcome.order.status is OrderStatus.STANDING
    assert market.account("bob").reserved == 0


def test_but_not_for_a_newcomer_that_comes_to_nothing():
    market = a_market(self_trade="cancel_resting")
    market.transfer("provider", "bob", H100, at(0), at(60), 1)
    resting(market, a_bid("own", "bob", limit=90, standing=True))
    outcome = market.submit(an_ask("resale", "bob", limit=80), T)
    assert outcome.cancelled == ()
    assert market.order("own").status is OrderStatus.STANDING


# Time


def test_a_standing_order_is_cancelled_at_its_end():
    market = a_market()
    resting(market, a_bid(start=0, end=60, standing=True, partial=True))
    assert market.expire(at(60) - 1) == []
    assert market.expire(at(60)) == ["bid"]
    assert market.order("bid").cancelled_at == at(60)
    assert market.account("ann").reserved == 0


def test_an_indivisible_one_is_cancelled_when_the_minute_of_its_start_is_over():
    market = a_market()
    resting(market, a_bid(start=10, end=60, standing=True))
    assert market.expire(at(11) - 1) == []
    assert market.expire(at(11)) == ["bid"]


def test_a_divisible_ask_sells_the_rest_of_its_window():
    market = a_market()
    resting(market, an_ask(start=0, end=60, standing=True, partial=True))
    order = market.submit(a_bid(start=40, end=60), at(40)).order
    assert order.filled == between(40, 60, 1)
    assert market.order("ask").unfilled == between(0, 40, 1)


def test_an_expired_order_does_not_match_even_before_it_is_swept():
    market = a_market()
    resting(market, an_ask(start=10, end=60, standing=True))
    assert market.submit(a_bid(start=20, end=60, nodes=1, partial=True), at(20)).trades == ()


def test_an_order_that_has_ended_cannot_be_cancelled():
    market = a_market()
    market.submit(a_bid(), T)
    with pytest.raises(NotCancellable, match="cancelled"):
        market.cancel("bid", T)
    with pytest.raises(Unknown):
        market.cancel("no such", T)


def test_trim_forgets_what_was_over_long_ago_and_keeps_what_is_not():
    market = a_market(minutes=100 * 1440, history_days=30)
    resting(market, an_ask(end=100 * 1440, standing=True, partial=True))
    market.submit(a_bid("short"), T)
    market.submit(a_bid("long", start=60, end=90 * 1440), T)
    later = T + 31 * DAY
    market.trim(later)
    assert [order.id for order in market.orders()] == ["ask", "long"]
    assert market.trades() == []
    assert market.transactions("ann") == ()
    assert market.pool("ann").owned == {H100: Schedule.rectangle(T + 30 * DAY, at(90 * 1440), 1)}
    assert len(market.order("ask").fills) == 2
    market.cancel("ask", later)
    assert market.pool("provider").offered == {}


# Pools


def test_a_transfer_moves_only_what_is_free():
    market = a_market(nodes=4)
    resting(market, an_ask(nodes=3, standing=True))
    with pytest.raises(InsufficientCapacity):
        market.transfer("provider", "ann", H100, at(0), at(60), 2)
    market.transfer("provider", "ann", H100, at(0), at(60), 1)
    assert market.pool("ann").owned == {H100: between(0, 60, 1)}


def test_only_providers_get_node_time_out_of_nothing():
    with pytest.raises(ValueError, match="no provider"):
        a_market().grant("ann", H100, between(0, 60, 1))


# What the public sees


def test_depth_sums_the_orders_of_one_window_by_price():
    market = a_market()
    for name, nodes, limit in (("a", 1, 90), ("b", 2, 90), ("c", 1, 80)):
        resting(market, an_ask(name, nodes=nodes, limit=limit, standing=True))
    resting(market, an_ask("other window", end=120, limit=10, standing=True))
    resting(market, a_bid(limit=5, standing=True))
    depth = market.depth(H100, at(0), at(60), 5, T)
    assert [(level.price, level.schedule) for level in depth.asks] == [(80, between(0, 60, 1)), (90, between(0, 60, 3))]
    assert [level.price for level in depth.bids] == [5]
    assert len(market.depth(H100, at(0), at(60), 1, T).asks) == 1


def test_depth_may_count_wider_windows_too():
    market = a_market(depth="cover")
    resting(market, an_ask(nodes=3, end=120, standing=True, partial=True))
    assert market.depth(H100, at(0), at(60), 5, T).asks[0].schedule == between(0, 60, 3)


def test_the_quote_is_the_best_of_all_skus_and_of_equals_the_lowest():
    market = a_market()
    market.grant("provider", "isku_a", between(0, 60, 1))
    resting(market, an_ask("one", limit=80, standing=True))
    resting(market, an_ask("two", limit=80, sku="isku_a", standing=True))
    quote = market.quote([H100, "isku_a"], at(0), at(60), T)
    assert quote.best_ask.sku == "isku_a"
    assert quote.best_bid is None


def test_a_preview_tells_the_price_that_fills_the_whole():
    market = a_market()
    resting(market, an_ask("cheap", limit=80, nodes=1, standing=True, partial=True))
    resting(market, an_ask("dear", limit=90, nodes=9, standing=True, partial=True))
    preview = market.preview(Side.BUY, [H100, "isku_none"], at(0), 3600, 2, now=T)
    assert (preview.sku, preview.price, preview.value) == (H100, 90, (80 + 90) * 60)
    assert market.preview(Side.BUY, [H100], at(0), 3600, 11, now=T) is None


def test_purchasable_is_all_that_is_still_offered():
    market = a_market()
    resting(market, an_ask("a", nodes=2, end=60, standing=True, partial=True))
    resting(market, an_ask("b", nodes=1, start=30, end=90, standing=True))
    assert market.purchasable(H100, at(20)) == between(20, 60, 2).plus(between(30, 90, 1))


def test_windows_list_what_rests_in_a_range():
    market = a_market()
    resting(market, an_ask("a", limit=90, standing=True))
    resting(market, an_ask("b", limit=80, standing=True))
    resting(market, a_bid("c", start=60, end=120, limit=70, standing=True))
    resting(market, an_ask("outside", start=60, end=200, standing=True))
    rows = market.windows([H100], at(0), at(120), T)
    assert [(row.start, row.end, row.bid_count, row.ask_count) for row in rows] == [
        (at(0), at(60), 0, 2),
        (at(60), at(120), 1, 0),
    ]
    assert rows[0].best_ask.price == 80
    assert rows[1].best_ask is None


def test_the_tape_tells_each_trade():
    market = a_market()
    resting(market, an_ask(nodes=2, standing=True, partial=True))
    market.submit(a_bid("one"), T)
    market.submit(a_bid("two"), T + 1)
    assert [(trade.buy_order_id, trade.taker) for trade in market.trades(sku=H100, since=T + 1)] == [("two", Side.BUY)]
    assert market.trades(sku="isku_none") == []
