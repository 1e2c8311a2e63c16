"""Costs in the database: what each hour cost whom, and that the ledger has it, once."""

from datetime import date, datetime, timedelta

import pytest

from scalar.billing import cost_store, costing
from scalar.billing.block_prices import Bought
from scalar.billing.ledger_store import balances, close_period
from scalar.billing.tie_store import hour_in_ledger
from scalar.database import Transaction
from scalar.errors import Conflict
from scalar.metering.model import HOUR, Window
from tests.billing.bought import a_block, a_machine, a_run, at, metered, sold
from tests.made_up import NOON, a_customer, a_node

DOLLAR = 1_000_000


def cents(micros: int) -> int:
    whole, rest = divmod(micros, 10_000)
    assert rest == 0
    return whole


def cost(tx: Transaction, hour: int = 0, *, now: datetime | None = None) -> None:
    costing.cost_hour(tx, NOON + hour * HOUR, now or at(24 * 60))


def nodes(tx: Transaction, hour: int = 0) -> dict[str, tuple[int, int, int, int]]:
    """Cents by block: all, direct, idle shared, idle that the company bears."""
    rows = tx.execute("select * from node_costs where hour = %s", [NOON + hour * HOUR])
    parts = ("cost", "direct", "idle_shared", "idle_unshared")
    return {row["block_id"]: tuple(cents(row[part]) for part in parts) for row in rows}  # type: ignore[misc]


def runs(tx: Transaction, hour: int = 0) -> dict[tuple[str, str], tuple[int, int]]:
    rows = tx.execute("select * from run_costs where hour = %s", [NOON + hour * HOUR])
    return {(row["run_id"], row["block_id"]): (row["cost"], row["idle_cost"]) for row in rows}


def ledger(tx: Transaction) -> dict[str, int]:
    """Cents."""
    return {account: cents(amount) for account, amount in balances(tx).items()}


def test_a_machine_that_moves_from_block_to_block_in_the_middle_of_a_run_costs_what_each_was_bought_for(
    tx: Transaction,
):
    first = a_block(tx, 0, 30, price="12")
    second = a_block(tx, 30, 90, price="24")
    a_machine(tx, (first, 0, 0, 30), (second, 0, 30, 90))
    run = a_run(tx, a_customer(tx), 10, 40)
    cost(tx)
    # 20 of the first's 30 minutes at $12 an hour; 10 of the second's 30 at $24. What is idle is this run's, too, by its
    # GPU-seconds.
    assert nodes(tx) == {first: (600, 400, 200, 0), second: (1200, 400, 800, 0)}
    assert runs(tx) == {(run.id, first): (4_000_000, 6_666_667), (run.id, second): (4_000_000, 3_333_333)}
    cost(tx, 1)
    assert nodes(tx, 1) == {second: (1200, 0, 0, 1200)}


def test_the_ledger_follows_a_block_from_its_purchase_to_its_end(tx: Transaction):
    a_block(tx, 0, 120, nodes=2)
    assert costing.post_market(tx, NOON) == 1
    assert ledger(tx) == {"cash:market": -4800, "prepaid_node_hours": 4800}
    cost(tx)
    assert ledger(tx) == {"cash:market": -4800, "prepaid_node_hours": 2400, "supplier_cost": 2400}
    cost(tx, 1)
    assert ledger(tx) == {"cash:market": -4800, "supplier_cost": 4800}


def test_what_is_posted_twice_is_posted_once(tx: Transaction):
    a_block(tx, 0, 120)
    for _ in range(2):
        costing.post_market(tx, NOON)
        cost(tx)
    assert ledger(tx) == {"cash:market": -2400, "prepaid_node_hours": 1200, "supplier_cost": 1200}
    assert sources(tx) == ["cost/2026-11-21T12/0", sources(tx)[1]]
    assert all(tie.off == 0 for tie in hour_in_ledger(tx, NOON))


def sources(tx: Transaction) -> list[str]:
    return [row["source"] for row in tx.execute("select source from ledger_transactions order by source")]


def test_a_part_that_is_sold_back_takes_what_it_brought_off_what_is_left(tx: Transaction):
    block = a_block(tx, 0, 120, nodes=2)
    a_machine(tx, (block, 0, 0, 120))
    # At half past, one node's second hour for $6, less 1 % and 6 cents an hour: $5.88.
    order = sold(tx, 60, 120, price="6", at_minute=30)
    assert costing.post_market(tx, at(31)) == 2
    assert ledger(tx) == {
        "cash:market": -4800 + 588,
        "resale": -600,
        "market_fees": 12,
        "supplier_cost": 588,
        "prepaid_node_hours": 4800 - 588,
    }
    # $12 of the first half hour's node-hour; then $36 - $5.88 are left for 2 node-hours: $15.06 each.
    cost(tx)
    cost(tx, 1)
    assert [nodes(tx, hour)[block][0] for hour in (0, 1)] == [1200 + 1506, 1506]
    assert ledger(tx) == {"cash:market": -4212, "resale": -600, "market_fees": 12, "supplier_cost": 4800}
    assert f"fill/{order}/0" in sources(tx)


def test_nothing_left_to_bear_a_loss_leaves_it_to_the_company(tx: Transaction):
    block = a_block(tx, 0, 120)
    sold(tx, 60, 120, price="6", at_minute=60)
    costing.post_market(tx, at(61))
    cost(tx)
    assert nodes(tx) == {block: (1200, 0, 0, 1200)}
    (found,) = cost_store.bought(tx, [block])
    assert [each.result for each in found.settled] == [12 * DOLLAR - 5_880_000]
    assert ledger(tx) == {"cash:market": -2400 + 588, "resale": -600, "market_fees": 12, "supplier_cost": 2400}


def test_a_sale_that_is_told_of_late_changes_the_hours_since_by_the_difference(tx: Transaction):
    block = a_block(tx, 0, 120, nodes=2)
    costing.post_market(tx, NOON)
    cost(tx)
    assert cost_store.fresh_hours(tx, [NOON]) == {NOON}
    sold(tx, 60, 120, price="6", at_minute=30)
    costing.post_market(tx, at(65))
    assert cost_store.fresh_hours(tx, [NOON]) == set()
    assert [each.hour for each in cost_store.due_hours(tx, at(60))] == [NOON]
    cost(tx)
    assert nodes(tx)[block][0] == 1200 + 1506
    posted = tx.execute(
        """select t.source, e.amount from ledger_entries e join ledger_transactions t on t.id = e.transaction_id
           where e.account = 'supplier_cost' and t.kind = 'cost' order by t.source"""
    ).fetchall()
    assert [(row["source"], cents(row["amount"])) for row in posted] == [
        ("cost/2026-11-21T12/0", 2400),
        ("cost/2026-11-21T12/1", 306),
    ]
    assert all(tie.off == 0 for tie in hour_in_ledger(tx, NOON))


def test_a_sale_that_is_told_of_out_of_order_corrects_the_ones_after_it(tx: Transaction):
    block = a_block(tx, 0, 120)
    # The last half hour, once all but it had passed: nothing bears its loss. Then the half hour before, sold earlier.
    sold(tx, 90, 120, price="6", at_minute=90, flat="0")
    costing.post_market(tx, at(91))
    assert ledger(tx)["supplier_cost"] == 600
    sold(tx, 60, 90, price="24", at_minute=60, flat="0")
    costing.post_market(tx, at(92))
    # $12 left for two halves; one brings $11.88, so that the other had cost 12 cents, and brings $2.97.
    (found,) = cost_store.bought(tx, [block])
    assert [(each.cost, each.result) for each in found.settled] == [(11_880_000, 0), (120_000, 120_000 - 2_970_000)]
    assert ledger(tx)["supplier_cost"] == 1200
    cost(tx)
    assert ledger(tx) == {"cash:market": -2400 + 1485, "market_fees": 15, "resale": -1500, "supplier_cost": 2400}


def test_one_fill_that_is_taken_from_two_blocks_is_shared_by_node_minutes(tx: Transaction):
    blocks = [a_block(tx, 0, 60, price="12"), a_block(tx, 0, 120, price="6")]
    sold(tx, 30, 60, price="12", at_minute=0, nodes=2, flat="0")
    found = {each.id: each for each in cost_store.blocks_in(tx, Window.hour(NOON))}
    # $12 less 1 %: half of it each.
    assert [[sale.net for sale in found[each].sales] for each in blocks] == [[5_940_000], [5_940_000]]


def test_nodes_that_were_not_bought_cost_nothing(tx: Transaction):
    a_block(tx, 0, 60)
    a_node(tx, "own", now=at(60))
    a_run(tx, a_customer(tx), 0, 30)
    cost(tx)
    assert runs(tx) == {}
    assert [each[3] for each in nodes(tx).values()] == [1200]


def test_a_run_goes_on_where_its_machine_has_no_seat_and_that_costs_nothing(tx: Transaction):
    block = a_block(tx, 0, 30)
    a_machine(tx, (block, 0, 0, 30))
    run = a_run(tx, a_customer(tx), 15, 45)
    cost(tx)
    assert runs(tx) == {(run.id, block): (3 * DOLLAR, 3 * DOLLAR)}


def test_an_hour_is_due_once_it_is_over_and_its_usage_is_metered(tx: Transaction):
    block = a_block(tx, 0, 120)
    a_machine(tx, (block, 0, 0, 120))
    a_run(tx, a_customer(tx), 0, 30)

    def due(now: float) -> list[datetime]:
        return [each.hour for each in cost_store.due_hours(tx, at(now))]

    assert due(59) == []
    assert due(60) == []
    metered(tx)
    assert due(60) == [NOON]
    cost(tx)
    assert due(119) == []
    # Nothing was used in the second hour: it waits for nobody.
    assert due(180) == [NOON + HOUR]
    metered(tx, now=200)
    assert due(120) == [NOON, NOON + HOUR]


def test_an_hour_that_is_not_over_is_not_costed(tx: Transaction):
    a_block(tx, 0, 60)
    with pytest.raises(Conflict, match="not over"):
        cost(tx, now=at(59))


def test_what_is_learned_of_a_closed_month_is_posted_to_the_open_one(tx: Transaction):
    a_block(tx, 0, 60)
    close_period(tx, date(2026, 11, 1), actor="test", now=at(0))
    december = datetime.fromisoformat("2026-12-01T00:00:00+00:00")
    costing.post_market(tx, december)
    cost(tx, now=december)
    rows = tx.execute("select distinct at from ledger_transactions").fetchall()
    assert [row["at"] for row in rows] == [december]
    assert nodes(tx)


def test_money_that_is_paid_in_at_the_market_is_the_owners(tx: Transaction):
    tx.execute(
        """insert into market_transactions (cursor, at, kind, amount_cents, balance_cents, seen_at)
           values ('txc_1', %(at)s, 'manual_payment', 10000, 10000, %(at)s)""",
        {"at": NOON},
    )
    for _ in range(2):
        costing.post_market(tx, NOON + timedelta(minutes=1))
    assert ledger(tx) == {"cash:market": 10_000, "owners": -10_000}


def test_the_whole_of_a_day_adds_up_to_what_was_paid(tx: Transaction):
    customer = a_customer(tx)
    blocks = [a_block(tx, 0, 150, nodes=2, price="12.00006"), a_block(tx, 150, 240, price="20.0001")]
    a_machine(tx, (blocks[0], 0, 3, 150), (blocks[1], 0, 150, 240))
    a_machine(tx, (blocks[0], 1, 5, 100), name="beta")
    a_run(tx, customer, 7, 111.1, gpus=3)
    a_run(tx, customer, 8, 30.01, gpus=5)
    a_run(tx, customer, 140, 160.7, gpus=7)
    sold(tx, 100, 150, price="7.00002", at_minute=61)
    costing.post_market(tx, at(62))
    for hour in range(4):
        cost(tx, hour)
    for block in cost_store.bought(tx, blocks):
        assert _spent(tx, block) + sum(each.cost for each in block.settled) == block.paid
    assert "prepaid_node_hours" not in balances(tx)
    assert sum(balances(tx).values()) == 0


def _spent(tx: Transaction, block: Bought) -> int:
    row = tx.execute("select sum(cost) as cost from node_costs where block_id = %s", [block.id]).fetchone()
    assert row is not None
    return int(row["cost"])
