"""The market in Dagster: its sensors, and the proof that both sides' books agree."""

from datetime import timedelta
from decimal import Decimal

import dagster as dg
import pytest

from scalar.database import Database
from scalar.errors import SpendRefused
from scalar.market import instances, orders, store
from scalar.market.catalogue import learn
from scalar.market.model import OrderRequest, OrderState, Rectangle, Side, minute_of
from scalar.market.orders import By
from scalar.market.settings import MarketSettings
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market import (
    capacity_reconciliation,
    market_instances,
    market_orders,
    our_books_and_the_markets_agree,
    reconcile_often,
)
from scalar_orchestration.resources import NO_MARKET, MarketResource
from tests.orchestration.conftest import materialized
from tests.sandbox_process import SandboxMarket

H100 = "isku_sea3h100"


def two_hours_from_the_next_minute() -> Rectangle:
    start = minute_of(utc_now() + timedelta(seconds=30), up=True)
    return Rectangle(start=start, end=start + timedelta(hours=2), nodes=1)


def wanted(database: Database) -> str:
    request = OrderRequest(
        side=Side.BUY, sku=H100, window=two_hours_from_the_next_minute(), limit_price=Decimal(30), purpose="test"
    )
    with database.transaction() as tx:
        return orders.place(tx, request, by=By(actor="test"), caps=MarketSettings().caps, now=utc_now()).id


def reconciled(resource, market: MarketResource) -> tuple[dg.AssetMaterialization, dg.AssetCheckEvaluation]:
    done = materialized(resource, market, capacity_reconciliation, our_books_and_the_markets_agree)
    (made,) = done.asset_materializations_for_node("capacity_reconciliation")
    (check,) = done.get_asset_check_evaluations()
    return made, check


def test_an_order_is_sent_and_manned_and_both_books_agree_until_somebody_else_orders(
    resource, market: MarketResource, sandbox: SandboxMarket, database: Database
):
    desk = market.desk(resource)
    learn(desk)
    order_id = wanted(database)
    assert market_orders(database=resource, market=market).skip_message.startswith("1 sent")
    sandbox.advance(60)
    market_orders(database=resource, market=market)
    with database.transaction() as tx:
        assert store.order(tx, order_id).state is OrderState.FILLED
    # Its machine is asked for as soon as there is a seat for it that begins soon.
    assert "1 asked for" in market_instances(database=resource, market=market).skip_message
    with database.transaction() as tx:
        (machine,) = instances.live_instances(tx)
    assert machine.market_id is not None

    made, check = reconciled(resource, market)
    assert (made.metadata["differences"].value, check.passed) == (0, True)

    desk.market.create_order(
        idempotency_key="by-hand",
        pool=desk.pool(),
        sku=H100,
        side=Side.BUY,
        rectangle=two_hours_from_the_next_minute(),
        limit_price=Decimal(30),
    )
    made, check = reconciled(resource, market)
    assert made.metadata["differences"].value > 0
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert any("cancel it" in said for said in check.metadata["differences"].value)
    with pytest.raises(SpendRefused):
        wanted(database)


def test_the_reconciliation_stands_between_a_difference_and_what_follows_it():
    (spec,) = our_books_and_the_markets_agree.check_specs
    assert spec.blocking


def test_without_a_market_they_skip_and_say_so(resource, no_market: MarketResource):
    for sensor in (market_orders, market_instances):
        assert sensor(database=resource, market=no_market).skip_message == NO_MARKET
    assert reconcile_often(market=no_market).skip_message == NO_MARKET
