"""The market over HTTP: quotes, prices, the state of things, the stop switch, and its metrics."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scalar.database import Transaction
from scalar.market import reconciliations, store
from scalar.market.model import Sku
from scalar.market.reconciling import Finding, Kind
from tests.api.calls import assert_problem
from tests.api.conftest import Api
from tests.api.trading import H100, Trading, a_minute, an_order
from tests.made_up import a_block


def _quote(trading: Trading, **query: Any) -> httpx.Response:
    return trading.operator.get("/v1/market/quote", params=query)


def _hours(tx: Transaction, *, hours: int, price: str, sku: str = H100) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    store.upsert_skus(tx, [Sku(id=sku, alias="sea-3-h100", gpu_type="H100", gpus_per_node=8)], now)
    for number in range(hours):
        tx.execute(
            """insert into market_prices (sku, hour, trades, node_hours, low, average, high, quotes, available_nodes)
               values (%s, %s, 3, 6, %s, %s, %s, '{"1h": "12.1"}', 40)""",
            [sku, now - timedelta(hours=number), Decimal(price) - 1, Decimal(price), Decimal(price) + 1],
        )


def test_a_quote_is_a_price_a_total_and_the_limit_that_an_order_would_have(trading: Trading) -> None:
    quote = _quote(trading, gpu_type="h100", nodes=2, duration_minutes=90).json()
    price, limit = Decimal(quote["price"]), Decimal(quote["limit_price"])
    assert quote["available"] is True
    assert (quote["sku"], quote["sku_alias"], quote["nodes"]) == (H100, "sea-3-h100", 2)
    assert Decimal(quote["total"]) == price * 3
    assert price < limit <= price * Decimal("1.05")
    assert Decimal(quote["worst_case"]) == limit * 3
    assert (quote["fee"], quote["usual_price"], quote["to_usual"]) == (None, None, None)
    assert trading.operator.get("/v1/orders").json()["data"] == []


def test_a_quote_is_held_against_the_usual_price(trading: Trading) -> None:
    with trading.api.database.transaction() as tx:
        _hours(tx, hours=30, price="10")
    quote = _quote(trading, sku=H100).json()
    assert Decimal(quote["usual_price"]) == 10
    assert Decimal(quote["to_usual"]) == (Decimal(quote["price"]) / 10).quantize(Decimal("0.0001"))


def test_a_sale_is_quoted_with_the_markets_fee_and_a_lower_limit(trading: Trading) -> None:
    quote = _quote(trading, sku=H100, side="sell").json()
    price = Decimal(quote["price"])
    assert Decimal(quote["fee"]) == (price / 100).quantize(Decimal("0.000001"))
    assert price * Decimal("0.95") <= Decimal(quote["limit_price"]) < price


def test_what_is_not_there_has_no_price_and_a_reason(trading: Trading) -> None:
    quote = _quote(trading, sku=H100, nodes=1024).json()
    assert (quote["available"], quote["reason"]) == (False, "no_availability")
    assert {quote[name] for name in ("price", "total", "limit_price", "worst_case")} == {None}


_NONSENSE = [
    {},
    {"sku": H100, "gpu_type": "H100"},
    {"sku": "nosuch"},
    {"sku": H100, "nodes": 0},
    {"sku": H100, "duration_minutes": 0},
    {"sku": H100, "start": "2020-01-01T00:00:00Z"},
    {"sku": H100, "start": "2030-01-01T00:00:00"},
    {"sku": H100, "start": "9999-12-31T23:59:00Z"},
    {"sku": H100, "side": "both"},
]


def test_a_quote_for_nonsense_is_refused(trading: Trading) -> None:
    for query in _NONSENSE:
        answer = _quote(trading, **query)
        assert answer.status_code == 422, query
        assert_problem(answer, 422, "invalid-request")


def test_a_quote_for_half_a_minute_is_refused_in_the_markets_words(trading: Trading) -> None:
    start = (a_minute() + timedelta(hours=1, seconds=30)).isoformat()
    answer = _quote(trading, sku=H100, start=start)
    assert answer.status_code in (409, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_market_there_is_no_quote(api: Api) -> None:
    problem = assert_problem(api.operator().get("/v1/market/quote", params={"sku": H100}), 409, "conflict")
    assert "SCALAR_MARKET_URL" in problem["detail"]


def test_prices_are_hours_oldest_first(api: Api) -> None:
    operator = api.operator()
    assert_problem(operator.get("/v1/market/prices", params={"sku": H100}), 422, "invalid-request")
    with api.database.transaction() as tx:
        _hours(tx, hours=48, price="12.5")
    answer = operator.get("/v1/market/prices", params={"gpu_type": "H100", "hours": 24}).json()
    assert (answer["sku"], answer["sku_alias"], Decimal(answer["usual_price"])) == (H100, "sea-3-h100", Decimal("12.5"))
    hours = [datetime.fromisoformat(hour["hour"]) for hour in answer["data"]]
    assert (len(hours), hours) == (24, sorted(hours))
    first = answer["data"][0]
    assert (first["low"], first["average"], first["high"]) == ("11.500000", "12.500000", "13.500000")
    assert (first["trades"], first["quotes"], first["available_nodes"]) == (3, {"1h": "12.1"}, 40)
    problem = assert_problem(operator.get("/v1/market/prices", params={"sku": "nosuch"}), 422, "invalid-request")
    assert "sea-3-h100" in problem["detail"]


def test_the_status_without_a_market_says_so(api: Api) -> None:
    status = api.operator().get("/v1/market/status").raise_for_status().json()
    assert (status["configured"], status["may_buy"], status["dry_run"]) == (False, False, True)
    assert status["why_not"] == status["balance_problem"] == "No market is configured."
    assert status["last_reconciliation"] is None


def test_the_status_has_the_caps_with_what_is_used_of_them_and_the_balance(trading: Trading) -> None:
    spent = Decimal(trading.bought()["amount"])
    open_ = Decimal(trading.placed(limit_price="12", duration_minutes=60)["worst_case"])
    status = trading.operator.get("/v1/market/status").json()
    assert (status["configured"], status["may_buy"], status["url"]) == (True, True, trading.sandbox.url)
    used = {cap["name"]: Decimal(cap["used"]) for cap in status["caps"]}
    both = (spent + open_).quantize(Decimal("0.01"))
    assert used == {"order": 0, "hour": both, "day": both, "in all": both}
    assert all(Decimal(cap["cap"]) == Decimal(cap["used"]) + Decimal(cap["left"]) for cap in status["caps"])
    balances = trading.sandbox.call("GET", "/v1/balances")
    assert Decimal(status["balance"]["available"]) * 100 == balances["available_balance_cents"]
    assert trading.sandbox.token not in str(status)


def test_the_status_is_there_when_the_market_is_not(trading: Trading) -> None:
    trading.sandbox.fault("server_error")
    status = trading.operator.get("/v1/market/status").raise_for_status().json()
    assert (status["balance"], status["may_buy"]) == (None, True)
    assert "balances" in status["balance_problem"]


def test_the_stop_switch_stops_purchases_and_not_sales_until_somebody_resumes(trading: Trading) -> None:
    trading.bought(nodes=2)
    waiting = trading.placed(limit_price="20")["id"]
    for reason in ("a bad day", "another reason"):
        switch = trading.operator.post("/v1/market/stop", json={"reason": reason}).raise_for_status().json()
        assert switch["stop_reason"] == "a bad day"
    problem = assert_problem(trading.place(), 409, "spend-refused")
    assert "a bad day" in problem["detail"]
    assert "scalar market resume" in problem["detail"]
    trading.tick()
    assert trading.order(waiting)["state"] == "intended"
    start = a_minute(timedelta(minutes=3)).isoformat()
    sale = an_order(side="sell", limit_price="1", duration_minutes=60, start=start)
    assert trading.operator.post("/v1/orders", json=sale).status_code == 201
    status = trading.operator.get("/v1/market/status").json()
    assert (status["may_buy"], status["stop_reason"]) == (False, "a bad day")
    assert trading.operator.post("/v1/market/resume").json()["buying_stopped_at"] is None
    trading.tick()
    assert trading.order(waiting)["state"] == "filled"


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 501}, {"reason": "\x00"}])
def test_a_stop_has_a_reason(shared_api: Api, body: dict[str, str]) -> None:
    assert_problem(shared_api.operator().post("/v1/market/stop", json=body), 422, "invalid-request")


def test_books_that_differ_stop_purchases_whatever_the_switch_says(trading: Trading) -> None:
    finding = Finding(kind=Kind.UNKNOWN_ORDER, what="The market has an order ordr_x.", do="Cancel it.")
    with trading.api.database.transaction() as tx:
        reconciliations.record(tx, [finding], {"orders": 1}, datetime.now(UTC))
    assert "ordr_x" in assert_problem(trading.place(), 409, "spend-refused")["detail"]
    trading.operator.post("/v1/market/resume").raise_for_status()
    status = trading.operator.get("/v1/market/status").json()
    assert status["may_buy"] is False
    assert status["last_reconciliation"]["findings"] == [
        {"kind": "unknown_order", "what": "The market has an order ordr_x.", "do": "Cancel it."}
    ]
    with trading.api.database.transaction() as tx:
        reconciliations.record(tx, [], {}, datetime.now(UTC))
    assert trading.place().status_code == 201


def _metrics(api: Api) -> dict[tuple[str, ...], float]:
    text = api.client().get("/metrics").raise_for_status().text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_of_a_platform_that_never_traded_are_zeros_not_inventions(api: Api) -> None:
    samples = _metrics(api)
    assert samples["scalar_market_orders", "filled"] == 0
    assert samples["scalar_market_spent_dollars",] == samples["scalar_market_open_dollars",] == 0
    assert samples["scalar_market_buying_stopped",] == 0
    assert samples["scalar_market_instances", "booting"] == 0
    assert not [name for name, *_ in samples if name in ("scalar_market_books_agree", "scalar_market_fill_seconds")]


def test_the_metrics_say_what_was_bought_and_how_fast_it_came(trading: Trading) -> None:
    spent = Decimal(trading.bought()["amount"])
    trading.machines_join()
    with trading.api.database.transaction() as tx:
        # `machines_join` leaves out the market, which is what stamps this.
        tx.execute("update instances set asked_at = wanted_at")
        reconciliations.record(tx, [], {}, datetime.now(UTC))
    trading.placed(limit_price="12", duration_minutes=60)
    trading.operator.post("/v1/market/stop", json={"reason": "x"}).raise_for_status()
    samples = _metrics(trading.api)
    assert samples["scalar_market_orders", "filled"] == samples["scalar_market_orders", "intended"] == 1
    assert samples["scalar_market_spent_dollars",] == float(spent)
    assert samples["scalar_market_open_dollars",] == 12
    assert 0 <= samples["scalar_market_fill_seconds", "sea-3-h100"] < 60
    assert 0 <= samples["scalar_market_ready_seconds", "sea-3-h100"] < 60
    assert samples["scalar_market_instances", "joined"] == 1
    assert samples["scalar_market_buying_stopped",] == samples["scalar_market_books_agree",] == 1
    assert samples["scalar_market_reconciled_timestamp_seconds",] > 1.7e9
    # The loops' calls too, which run where there is no /metrics.
    assert samples["scalar_market_call_seconds_count", "create_order", "ok"] >= 1


def test_the_metrics_count_what_the_market_did_not_answer(trading: Trading) -> None:
    trading.sandbox.fault("server_error")
    assert_problem(_quote(trading, sku=H100), 503, "unavailable")
    counted = {
        key: value for key, value in _metrics(trading.api).items() if key[0] == "scalar_market_call_seconds_count"
    }
    assert sum(value for key, value in counted.items() if "unavailable" in key) >= 1


def test_a_block_in_our_books_alone_is_money_that_was_spent(api: Api) -> None:
    with api.database.transaction() as tx:
        a_block(tx, start=a_minute(), hours=2, price="12")
    assert _metrics(api)["scalar_market_spent_dollars",] == 24
