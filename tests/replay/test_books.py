"""The policy that really ran, replayed: the same rows as the ledger's, to the micro-dollar."""

from datetime import timedelta
from decimal import Decimal

import pytest
from psycopg.types.json import Jsonb

from scalar.billing import ledger_store
from scalar.billing.ledger import CREDITS, REVENUE, SUPPLIER_COST
from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import set_rate_card
from scalar.database import Transaction
from scalar.forecasts import demand_store
from scalar.forecasts.demand import Demand
from scalar.metering.model import Window
from scalar.protocol import TaskEnding
from scalar.replay.books import books, rated
from scalar.replay.model import Setup
from scalar.replay.store import ledger_rows, rated_rows, recorded_parts, records
from tests.billing.bought import a_block, a_machine, a_run, at, sold
from tests.billing.month import Months
from tests.made_up import NOON, a_customer, ended, told

FIRST = NOON.replace(day=1, hour=0)
MONTH = Window(start=FIRST, end=(FIRST + timedelta(days=32)).replace(day=1))


def months_of_two_customers(tx: Transaction) -> None:
    """Two blocks, one of them extended by another and one partly resold; runs of two customers, one of which is lost;
    prices by brackets; and hours that pass between them, so that much is posted twice and corrected.
    """
    months, acme, umbrella = Months(tx), a_customer(tx, "acme"), a_customer(tx, "umbrella")
    graduated = Graduated.of(
        [Bracket(up_to=Decimal(7200), price=Decimal("0.002")), Bracket(up_to=None, price=Decimal("0.001"))]
    )
    card = RateCard(
        id="", name="own", organisation_id=acme[0], effective_from=MONTH.start, prices={("*", "fast"): graduated}
    )
    set_rate_card(tx, card, actor="test", now=MONTH.start)
    first, second = a_block(tx, 0, 180, price="12.3456"), a_block(tx, 180, 420, price="9.99996")
    spare = a_block(tx, 0, 300, nodes=2, price="11.10006")
    a_machine(tx, (first, 0, 0, 180), (second, 0, 180, 420), name="alpha")
    a_machine(tx, (spare, 0, 0, 300), name="beta")
    long = a_run(tx, acme, 10, None, gpus=8, gpu_type="H100")
    a_run(tx, umbrella, 20, 95, gpus=4, gpu_type="H100")
    lost = a_run(tx, umbrella, 30, None, gpus=2, gpu_type="H100")
    months.until(at(130))
    sold(tx, 130, 300, price="8.00004", at_minute=125)
    told(tx, lost, ended(lost, started_at=at(30), at=at(150), ending=TaskEnding.CONTAINER_LOST, exit_code=None))
    months.until(at(260))
    told(tx, long, ended(long, started_at=at(10), at=at(333)))
    months.until(at(24 * 60))


@pytest.fixture
def month(tx: Transaction) -> Transaction:
    months_of_two_customers(tx)
    return tx


def test_the_policy_that_really_ran_has_the_books_of_the_ledger(month: Transaction):
    ledger = ledger_rows(month, MONTH)
    assert books(records(month, MONTH)) == ledger
    assert rated(records(month, MONTH)) == rated_rows(month, MONTH) != {}
    kinds = {kind for kind, _, _ in ledger}
    assert kinds == {"usage", "cost", "fill"}
    for account in (SUPPLIER_COST, REVENUE, CREDITS):
        replayed = sum(amount for (_, _, name), amount in ledger.items() if name == account.name)
        assert replayed == ledger_store.balance(month, account) != 0


def test_another_price_is_another_ledger(month: Transaction):
    """Or the test above could not fail."""
    month.execute("update blocks set price = price + 0.00006")
    assert books(records(month, MONTH)) != ledger_rows(month, MONTH)


def a_price(tx: Transaction, price: int, quotes: dict[str, dict[str, str]]) -> None:
    tx.execute("insert into skus values ('isku_a', 'a', 'H100', 8, %s) on conflict do nothing", [NOON])
    tx.execute(
        """insert into market_prices (sku, hour, trades, node_hours, low, average, high, quotes)
           values ('isku_a', %s, 1, 1, %s, %s, %s, %s)""",
        [FIRST, price, price, price, Jsonb(quotes)],
    )


def test_blocks_cost_by_what_the_market_quoted_then_and_else_by_what_is_usual(month: Transaction):
    a_price(month, 20, {"1h": {"buy": "20", "sell": "19"}, "24h": {"buy": "15"}, "168h": {}})
    (part,) = recorded_parts(month, MONTH.start, MONTH.end)
    usual = Setup()
    assert part.setup.block_ratios == {1: 1, 24: Decimal("0.75"), 168: usual.block_ratios[168]}
    assert part.setup.bid_ratio == Decimal("0.95")
    month.execute("update market_prices set quotes = '{}'")
    (part,) = recorded_parts(month, MONTH.start, MONTH.end)
    assert (part.setup.block_ratios, part.setup.bid_ratio) == (usual.block_ratios, usual.bid_ratio)


def test_what_was_wanted_before_is_demand_history_from_the_first_hour_that_was_looked_at(month: Transaction):
    a_price(month, 20, {})
    hours = [FIRST - timedelta(hours=3), FIRST - timedelta(hours=1), FIRST]
    for hour, wanted in zip(hours, (5.0, 7.0, 9.0), strict=True):
        demand_store.clear_hour(month, hour, NOON)
        demand_store.insert(month, hour, [Demand(gpu_type="H100", tier="fast", running=wanted - 1, queued=1.0)])
    (part,) = recorded_parts(month, MONTH.start, MONTH.end)
    assert part.history.earlier == (5.0, 0.0, 7.0)


def test_the_jobs_that_ran_are_a_history_with_the_prices_of_their_gpu_type(month: Transaction):
    assert recorded_parts(month, MONTH.start, MONTH.end) == []
    for sku, gpu_type, price, traded in (("isku_a", "H100", 17, 4), ("isku_b", "H200", 25, 40)):
        month.execute("insert into skus values (%s, %s, %s, 8, %s) on conflict do nothing", [sku, sku, gpu_type, NOON])
        month.execute(
            """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
               values (%s, %s, 1, %s, 16, %s, 30)""",
            [sku, FIRST, traded, price],
        )
    (part,) = recorded_parts(month, MONTH.start, MONTH.end)
    came = part.history.arrivals
    assert sorted((each.gpus, round(each.seconds / 60)) for each in came) == [(2, 120), (4, 75), (8, 323)]
    assert part.history.prices == {FIRST: Decimal(17)}
    assert (part.setup.sku.id, part.setup.sku.gpu_type) == ("isku_a", "H100")
