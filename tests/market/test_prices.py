"""Price history: an hour's trades summed, and hours collected from a sandbox market in a process of its own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from scalar.database import Database
from scalar.errors import InvalidRequest
from scalar.market import figures, price_store, store
from scalar.market.answers import PublicFill
from scalar.market.collecting import REMEMBERED, WINDOWS, collect
from scalar.market.desk import Desk
from scalar.market.errors import MarketAnswerMalformed, MarketError
from scalar.market.model import Rectangle
from scalar.market.prices import HOUR, HourPrices, Traded, hours, summarise
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from tests.made_up import NOON
from tests.sandbox_process import SandboxMarket

START = datetime(2026, 11, 2, tzinfo=UTC)
DAY = 24 * HOUR


def a_trade(
    price: str = "16", *, minutes: float = 0, hours: int = 1, nodes: int = 1, sku: str = "isku_1"
) -> PublicFill:
    delivery = Rectangle(start=NOON + DAY, end=NOON + DAY + hours * HOUR, nodes=nodes)
    return PublicFill(sku=sku, price=Decimal(price), schedule=(delivery,), filled_at=NOON + timedelta(minutes=minutes))


class TestSumming:
    def test_the_average_is_by_node_hours_and_the_hour_is_the_trades_not_the_deliverys(self):
        found = summarise([a_trade("10", hours=3), a_trade("20", minutes=59.9)], NOON, NOON + HOUR)
        assert found == {
            ("isku_1", NOON): Traded(
                trades=2, node_hours=Decimal(4), low=Decimal(10), average=Decimal("12.5"), high=Decimal(20)
            )
        }

    def test_hours_and_kinds_are_apart_and_what_is_outside_is_left_out(self):
        fills = [a_trade(minutes=-1), a_trade(), a_trade(minutes=60), a_trade(sku="isku_2"), a_trade(minutes=120)]
        assert sorted(summarise(fills, NOON, NOON + 2 * HOUR)) == [
            ("isku_1", NOON),
            ("isku_1", NOON + HOUR),
            ("isku_2", NOON),
        ]

    @given(
        st.lists(st.builds(a_trade, st.decimals("0", "99", places=6).map(str), hours=st.integers(1, 99)), min_size=1)
    )
    def test_the_average_lies_between_the_lowest_and_the_highest(self, fills):
        (traded,) = summarise(fills, NOON, NOON + HOUR).values()
        assert traded.low is not None
        assert traded.average is not None
        assert traded.high is not None
        assert traded.low <= traded.average <= traded.high
        assert traded.trades == len(fills)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    """A market in which others have traded for two days and a half."""
    with SandboxMarket(Path(tmp_path_factory.mktemp("market"))) as running:
        running.advance(60 * 3600 + 120)
        yield running


@pytest.fixture
def desk(sandbox: SandboxMarket, database: Database) -> Iterator[Desk]:
    with SfCompute(sandbox.url, lambda: SecretStr(sandbox.token), attempts=1) as client:
        yield Desk(
            market=client,
            settings=MarketSettings(url=sandbox.url),
            transact=database.transaction,
            clock=lambda: datetime.fromtimestamp(sandbox.now, UTC),
        )


def collected(desk: Desk, hour: datetime) -> list[HourPrices]:
    return collect(desk, hour, hour + HOUR)


def kept(desk: Desk, sku: str, since: datetime = START) -> list[figures.PriceHour]:
    with desk.transact() as tx:
        return figures.price_hours(tx, sku, since)


class TestCollecting:
    def test_the_hour_that_is_just_over_has_its_trades_and_how_the_book_stands(self, desk: Desk):
        last = START + 59 * HOUR
        rows = collected(desk, last)
        assert {row.hour for row in rows} == {last}
        with desk.transact() as tx:
            skus = store.skus(tx)
        assert {row.sku for row in rows} == {sku.id for sku in skus}
        (hour,) = kept(desk, "isku_sea3h100")
        assert set(hour.quotes) == set(WINDOWS)
        assert Decimal(hour.quotes["24h"]["buy"]) > Decimal(hour.quotes["24h"]["sell"]) > 0
        assert hour.available_nodes is not None

    def test_many_hours_at_once_are_the_same_as_each_by_itself(self, desk: Desk):
        collect(desk, START, START + 48 * HOUR)
        at_once = kept(desk, "isku_sea3h100")
        assert len(at_once) == 48
        assert sum(hour.trades for hour in at_once) > 24
        for hour in hours(START + 20 * HOUR, START + 26 * HOUR):
            collected(desk, hour)
        assert kept(desk, "isku_sea3h100") == at_once

    def test_a_day_of_hours_with_trades_makes_a_usual_price(self, desk: Desk):
        collect(desk, START, START + 59 * HOUR)
        with desk.transact() as tx:
            usual = store.usual_price(tx, "isku_sea3h100", START)
        assert usual is not None
        assert Decimal(8) < usual < Decimal(32)

    def test_an_hour_that_is_collected_again_keeps_how_the_book_stood(self, desk: Desk, sandbox: SandboxMarket):
        collected(desk, START + 59 * HOUR)
        (before,) = kept(desk, "isku_sea3h100")
        later = Desk(
            market=desk.market,
            settings=desk.settings,
            transact=desk.transact,
            clock=lambda: datetime.fromtimestamp(sandbox.now, UTC) + 3 * HOUR,
        )
        collected(later, START + 59 * HOUR)
        assert kept(desk, "isku_sea3h100") == [before]

    def test_what_the_market_has_forgotten_is_an_error_that_says_so(self, desk: Desk):
        with pytest.raises(InvalidRequest, match="of the last 30 days"):
            collected(desk, desk.clock().replace(minute=0, second=0) - REMEMBERED - HOUR)
        assert kept(desk, "isku_sea3h100", START - 60 * DAY) == []

    @pytest.mark.parametrize("fault", ["server_error", "renamed_field", "html"])
    def test_an_answer_that_fails_or_makes_no_sense_is_never_an_hour_without_trades(
        self, desk: Desk, sandbox: SandboxMarket, fault: str
    ):
        sandbox.fault(
            fault, path="/preview/v2/orderbook/fills", **({"field": "data"} if fault == "renamed_field" else {})
        )
        try:
            with pytest.raises(MarketError) as error:
                collected(desk, START + 30 * HOUR)
        finally:
            sandbox.no_faults()
        assert fault == "server_error" or isinstance(error.value, MarketAnswerMalformed)
        assert kept(desk, "isku_sea3h100") == []


def test_hours_that_nobody_collected_are_missing(desk: Desk):
    collect(desk, START + 2 * HOUR, START + 4 * HOUR)
    with desk.transact() as tx:
        missing = price_store.missing_hours(tx, START, START + 6 * HOUR)
    assert missing == [START, START + HOUR, START + 4 * HOUR, START + 5 * HOUR]


def test_an_hour_at_four_times_the_usual_price_is_odd(desk: Desk):
    collect(desk, START, START + 59 * HOUR)
    with desk.transact() as tx:
        assert price_store.far_from_usual(tx, lately=START, usually=START) == []
        tx.execute(
            """update market_prices set average = average * 4 where sku = 'isku_sea3h100' and hour = (
                   select max(hour) from market_prices where average is not null and sku = 'isku_sea3h100')"""
        )
        (odd,) = price_store.far_from_usual(tx, lately=START, usually=START)
    assert odd.average > 3 * odd.usual
