"""The client and the sandbox market, each the other's check: every call over real HTTP, and the market's moods."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scalar.market.answers import InstanceStatus, MarketOrder, OrderStatus, Quoted, TransactionKind
from scalar.market.errors import (
    InsufficientFunds,
    MarketAnswerMalformed,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketRefused,
    MarketUnavailable,
    OutcomeUnknown,
)
from scalar.market.model import Rectangle, Side
from scalar.market.sfcompute import SfCompute
from tests.sandbox_process import SandboxMarket

MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECTANGLE = Rectangle(start=MIDNIGHT + HOUR, end=MIDNIGHT + 5 * HOUR, nodes=2)
H100 = {"accelerator": ["H100"]}
PUBLIC_IMAGES = "sfc:workspace:sfcompute:public"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(tmp_path_factory.mktemp("market")) as process:
        yield process


@pytest.fixture
def sandbox(process: SandboxMarket) -> Iterator[SandboxMarket]:
    yield process
    process.no_faults()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def market(sandbox: SandboxMarket, waits: list[float]) -> Iterator[SfCompute]:
    with SfCompute(sandbox.url, lambda: SecretStr(sandbox.token), sleep=waits.append) as market:
        yield market


@pytest.fixture
def pool(market: SfCompute) -> str:
    return market.create_pool(workspace=market.workspaces()[0].id, tags={"made": "here"}).id


def an_h100(market: SfCompute) -> str:
    return next(sku.id for sku in market.skus() if sku.accelerator == "H100")


def bought(market: SfCompute, pool: str, **changes: Any) -> MarketOrder:
    order = {
        "pool": pool,
        "side": Side.BUY,
        "sku": an_h100(market),
        "rectangle": RECTANGLE,
        "limit_price": Decimal(60),
        "idempotency_key": f"{pool}-1",
    }
    return market.order(market.create_order(**{**order, **changes}).id)


def an_instance(market: SfCompute, pool: str) -> str:
    image = next(market.images(workspace=PUBLIC_IMAGES))
    instance = market.create_instance(
        pool=pool, image=image.id, sku=an_h100(market), user_data="#cloud-config\n", tags={"of": pool}
    )
    return instance.id


def test_what_there_is_to_buy(market: SfCompute) -> None:
    assert market.me().id
    sku = next(sku for sku in market.skus() if sku.accelerator == "H100")
    assert sku.num_accelerators == 8
    assert "H100" in market.property_catalog()["accelerator"]
    available = market.availability(accelerator="H100")
    assert list(available) == [sku.id]
    assert available[sku.id][0].nodes > 0


def test_the_book_and_its_fills(market: SfCompute, pool: str) -> None:
    order = bought(market, pool)
    later = MIDNIGHT + timedelta(days=60)
    window = next(market.windows(start=MIDNIGHT, end=later))
    quote = market.quote(start=window.start, end=window.end)
    depth = market.depth(start=window.start, end=window.end, levels=3)
    assert quote.best_ask is not None
    assert depth.asks[0] == quote.best_ask
    fills = market.fills(start=MIDNIGHT, end=later, requirements=H100)
    assert order.fills[0].price in {fill.price for fill in fills}
    with pytest.raises(MarketRefused) as caught:
        list(market.fills(start=MIDNIGHT, end=later, since=MIDNIGHT - timedelta(days=40)))
    assert caught.value.status == 422


def test_a_quote_is_bought_and_paid_for(market: SfCompute, pool: str) -> None:
    before = market.balances().available_cents
    preview = market.preview_order(
        side=Side.BUY, requirements=H100, start=RECTANGLE.start, seconds=4 * 3600, nodes=2, pool=pool
    )
    assert isinstance(preview, Quoted)
    order = bought(market, pool, limit_price=preview.price)
    assert order.status is OrderStatus.FILLED
    assert order.filled_schedule == order.schedule == (RECTANGLE,)
    assert order.average_price is not None
    assert order.average_price <= preview.price
    assert market.pool(pool).schedule_by_sku == {order.sku: (RECTANGLE,)}
    paid = [row for row in market.transactions() if row.order_id == order.id]
    assert {row.kind for row in paid} == {TransactionKind.BUY_ORDER}
    spent = sum(fill.price * part.node_hours for fill in order.fills for part in fill.schedule) * 100
    assert abs(sum(row.amount_cents for row in paid) - spent) <= len(paid)
    assert abs(before - market.balances().available_cents - spent) <= 1


def test_the_same_key_buys_once_and_another_body_under_it_is_refused(market: SfCompute, pool: str) -> None:
    assert bought(market, pool).id == bought(market, pool).id
    with pytest.raises(MarketRefused) as caught:
        bought(market, pool, limit_price=Decimal(61))
    assert caught.value.type == "idempotency_error"
    assert len(list(market.orders(pool=pool))) == 1


def test_an_order_stands_until_it_is_cancelled(market: SfCompute, pool: str) -> None:
    order = bought(market, pool, limit_price=Decimal("0.06"), allow_standing=True)
    assert [standing.id for standing in market.orders(pool=pool, statuses=["standing"])] == [order.id]
    market.cancel_order(order.id)
    assert market.order(order.id).status is OrderStatus.CANCELLED
    with pytest.raises(MarketRefused, match="422"):
        market.cancel_order(order.id)


def test_what_we_own_is_sold(market: SfCompute, pool: str) -> None:
    bought(market, pool)
    sold = bought(market, pool, side=Side.SELL, limit_price=Decimal("0.06"), idempotency_key=f"{pool}-sell")
    assert sold.side is Side.SELL
    assert sold.limit_price == Decimal("0.06")
    left = market.pool(pool).schedule_by_sku.get(sold.sku, ())
    assert left == (() if sold.status is OrderStatus.FILLED else (RECTANGLE,))


def test_what_we_cannot_pay_is_refused(market: SfCompute, pool: str) -> None:
    dear = Rectangle(start=RECTANGLE.start, end=RECTANGLE.start + timedelta(days=300), nodes=900)
    with pytest.raises(InsufficientFunds):
        bought(market, pool, rectangle=dear, allow_standing=True)


def test_an_instance_from_its_start_to_its_end(market: SfCompute, pool: str) -> None:
    first = an_instance(market, pool)
    assert [instance.id for instance in market.instances(pool=pool, tags={"of": pool})] == [first]
    assert market.instance(first).status is InstanceStatus.AWAITING_ALLOCATION
    assert market.ssh(first) is None
    assert list(market.instance_logs(first)) == []
    assert [instance.priority for instance in market.set_priorities({first: "critical"})] == ["critical"]
    image = next(market.images(workspace=PUBLIC_IMAGES)).id
    second = market.replace_instance(first, image=image, idempotency_key=f"{pool}-r").id
    assert market.replace_instance(first, image=image, idempotency_key=f"{pool}-r").id == second
    assert market.instance(first).status.ended
    with pytest.raises(MarketRefused, match="409"):
        market.delete_instance(second)
    market.terminate_instance(second)
    with pytest.raises(MarketNotFound):
        market.terminate_instance(second)
    market.delete_instance(second)
    assert second not in [instance.id for instance in market.instances(pool=pool)]


def test_a_procurement_and_its_pool(market: SfCompute, pool: str) -> None:
    made = market.create_procurement(
        pool=pool,
        sku=an_h100(market),
        target="node_count",
        min_sell_price=Decimal("1.02"),
        max_buy_price=Decimal("2.04"),
        managed_window_minutes=60,
        enabled=False,
    )
    assert market.patch_procurement(made.id, max_buy_price=Decimal("3.06")).max_buy_price == Decimal("3.06")
    assert [procurement.id for procurement in market.procurements(pool=pool)] == [made.id]
    with pytest.raises(MarketRefused, match="422"):
        market.delete_pool(pool)
    market.delete_procurement(made.id)
    with pytest.raises(MarketNotFound):
        market.procurement(made.id)
    market.delete_pool(pool)
    assert pool not in [left.id for left in market.pools(tags={"made": "here"})]


def test_an_order_whose_answer_is_dropped_is_bought_once(
    sandbox: SandboxMarket, market: SfCompute, pool: str, waits: list[float]
) -> None:
    sku = an_h100(market)
    sandbox.fault("dropped", method="POST", path="/orders", times=2)
    assert bought(market, pool).status is OrderStatus.FILLED
    assert len(waits) == 2
    assert len(list(market.orders(pool=pool))) == 1
    assert market.pool(pool).schedule_by_sku == {sku: (RECTANGLE,)}


def test_an_instance_whose_answer_is_dropped_is_found_by_its_tag(
    sandbox: SandboxMarket, market: SfCompute, pool: str
) -> None:
    sandbox.fault("dropped", method="POST", path="/instances", times=1)
    with pytest.raises(OutcomeUnknown):
        an_instance(market, pool)
    assert len(list(market.instances(tags={"of": pool}))) == 1


def test_a_termination_whose_answer_is_dropped_is_done(sandbox: SandboxMarket, market: SfCompute, pool: str) -> None:
    instance = an_instance(market, pool)
    sandbox.fault("dropped", method="POST", path="/terminate", times=1)
    market.terminate_instance(instance)
    assert market.instance(instance).status is InstanceStatus.TERMINATED


def test_a_limit_on_calls_is_waited_out(sandbox: SandboxMarket, market: SfCompute, waits: list[float]) -> None:
    sandbox.fault("rate_limited", times=2, retry_after=7)
    assert market.me().id
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize(
    ("kind", "more", "error"),
    [
        ("html", {}, MarketAnswerMalformed),
        ("renamed_field", {"field": "data", "to": "items"}, MarketAnswerMalformed),
        ("repeated_cursor", {}, MarketAnswerMalformed),
        ("expired_token", {}, MarketNotAuthenticated),
        ("server_error", {}, MarketUnavailable),
    ],
)
def test_a_market_that_misbehaves_is_never_read_as_an_empty_one(
    sandbox: SandboxMarket, market: SfCompute, pool: str, kind: str, more: dict[str, Any], error: type[Exception]
) -> None:
    bought(market, pool)
    sandbox.fault(kind, path="/orders", **more)
    with pytest.raises(error):
        list(market.orders(pool=pool))


def test_the_market_may_crash_between_two_calls(tmp_path: Path) -> None:
    with (
        SandboxMarket(tmp_path / "market") as sandbox,
        SfCompute(sandbox.url, lambda: SecretStr(sandbox.token), sleep=lambda _: None, attempts=2) as market,
    ):
        pool = market.create_pool(workspace=market.workspaces()[0].id).id
        order = bought(market, pool)
        sandbox.kill()
        with pytest.raises(MarketUnavailable) as caught:
            market.order(order.id)
        assert not caught.value.maybe_done
        sandbox.start()
        assert market.order(order.id) == order
