"""Invoices as assets: a month's drafts, what their checks hold back, and their opening."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from scalar.billing import costing, periods
from scalar.billing import invoice_store as store
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.invoice_store import InvoiceFilter
from scalar.billing.ledger import CASH_BANK, CASH_STRIPE, Posting, move, unbilled
from scalar.billing.ledger_store import post
from scalar.billing.rate_cards_store import insert_card
from scalar.database import Database, Transaction
from scalar_orchestration.defs import invoices as defs
from tests.billing.billed import DOLLAR, FEBRUARY, JANUARY, a_customer_with_a_job, at, draft, opened, use
from tests.billing.bought import a_block, a_statement
from tests.billing.rated_made_up import a_card
from tests.made_up import NOON

DRAFT_CHECKS = [
    defs.every_hour_of_the_month_is_rated,
    defs.every_rated_line_is_on_exactly_one_invoice,
    defs.lines_add_up_to_their_invoice,
    defs.nobody_is_charged_less_than_nothing,
    defs.unbilled_is_what_is_on_no_open_invoice,
]
OPEN_CHECKS = [
    defs.no_draft_is_left,
    defs.receivables_are_what_is_left_to_be_paid,
    defs.balances_are_what_their_entries_add_up_to,
]


@pytest.fixture
def build(resource):
    """Materializes a month, opening and all; its result."""

    def run(month: date = JANUARY, *, opening: bool = True) -> dg.ExecuteInProcessResult:
        assets = [defs.invoices, *DRAFT_CHECKS]
        if opening:
            assets += [defs.opened_invoices, *OPEN_CHECKS]
        return dg.materialize(
            assets,
            partition_key=f"{month:%Y-%m-%d}",
            resources={"database": resource},
            raise_on_error=False,
        )

    return run


@pytest.fixture
def asked(resource):
    """What a sensor asks for, by partition."""

    def ask(sensor: dg.SensorDefinition) -> dict[str, str]:
        with dg.build_sensor_context(resources={"database": resource}) as context:
            result = sensor(context)
        return {request.partition_key: request.run_key for request in result.run_requests}

    return ask


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def customers(database: Database, *names: str) -> list[tuple[str, str]]:
    """Each with $10 of January."""
    with database.transaction() as tx:
        made = [a_customer_with_a_job(tx, name) for name in names]
        for _, job in made:
            use(tx, job, at(1, 5), 10 * DOLLAR)
    return made


def test_a_months_drafts_are_made_and_show_what_finance_looks_at(build, database: Database) -> None:
    customers(database, "acme", "beta")
    result = build(opening=False)
    assert result.success
    assert outcomes(result) == {check.check_key.name: True for check in DRAFT_CHECKS}
    (made,) = result.asset_materializations_for_node("invoices")
    shown = made.metadata
    assert (shown["drafts"].value, shown["rated_lines_added"].value, shown["drafts_total"].value) == (2, 2, 20.0)
    assert (shown["revenue"].value, shown["invoiced"].value, shown["unpaid"].value) == (20.0, 20.0, 0.0)
    assert shown["states"].value == "2 draft"
    rows = [row.data for row in shown["top_customers"].records]
    assert {(row["customer"], row["total"], row["state"]) for row in rows} == {
        ("acme", 10.0, "draft"),
        ("beta", 10.0, "draft"),
    }
    for plot in ("by_month", "by_customer"):
        assert "data:image/png;base64," in shown[plot].value
    assert [row.data["month"] for row in shown["months"].records] == ["2026-01"]


def test_a_month_is_opened_once_its_checks_hold(build, database: Database) -> None:
    customers(database, "acme", "beta")
    result = build()
    assert result.success
    assert set(outcomes(result).values()) == {True}
    assert len(outcomes(result)) == len(DRAFT_CHECKS) + len(OPEN_CHECKS)
    (made,) = result.asset_materializations_for_node("opened_invoices")
    year = datetime.now(UTC).year
    assert made.metadata["opened"].value == [f"INV-{year}-0001", f"INV-{year}-0002"]
    assert (made.metadata["unpaid"].value, made.metadata["states"].value) == (20.0, "2 open")
    assert len(made.metadata["unpaid_invoices"].records) == 2
    again = build()
    assert again.success
    assert again.asset_materializations_for_node("opened_invoices")[0].metadata["opened"].value == []
    with database.transaction() as tx:
        assert periods.close(tx, JANUARY, actor="test", now=datetime.now(UTC))
    assert build().success


def test_late_usage_is_on_the_draft_again_and_after_the_opening_on_the_next(build, database: Database) -> None:
    ((org, job),) = customers(database, "acme")
    assert build(opening=False).success
    with database.transaction() as tx:
        use(tx, job, at(1, 6), 5 * DOLLAR)
    assert build().success
    with database.transaction() as tx:
        use(tx, job, at(1, 7), DOLLAR)
    assert build().success
    assert build(FEBRUARY).success
    with database.transaction() as tx:
        totals = {each.month: each.total for each in store.invoices(tx, InvoiceFilter(organisation_id=org))}
    assert totals == {JANUARY: 1500, FEBRUARY: 100}


def test_nothing_is_opened_while_an_hour_is_not_rated(build, database: Database) -> None:
    customers(database, "acme")
    with database.transaction() as tx:
        tx.execute("insert into metered_hours values (%s, 1, %s)", [at(1, 9), at(1, 9, 1)])
    result = build()
    assert not result.success
    assert {name for name, passed in outcomes(result).items() if not passed} == {"every_hour_of_the_month_is_rated"}
    (failed,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert failed.metadata["found"].value == ["2026-01-09 00:00 is not rated"]
    assert result.asset_materializations_for_node("opened_invoices") == []
    with database.transaction() as tx:
        assert {each.state for each in store.invoices(tx, InvoiceFilter())} == {InvoiceState.DRAFT}


def test_nothing_is_opened_while_the_ledger_says_otherwise(build, database: Database) -> None:
    ((org, _),) = customers(database, "acme")
    with database.transaction() as tx:
        entries = move(7, debit=unbilled(org), credit=CASH_STRIPE)
        post(tx, Posting(source="stray", kind="test", at=at(1, 6), entries=entries))
    result = build()
    assert not result.success
    (failed,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert failed.check_name == "unbilled_is_what_is_on_no_open_invoice"
    assert failed.metadata["found"].value == [
        f"{org}: the ledger has 10000007 unbilled, 10000000 is on no invoice",
    ]
    assert result.asset_materializations_for_node("opened_invoices") == []


def test_usage_below_zero_in_its_own_month_holds_the_month_back(build, database: Database) -> None:
    customers(database, "acme")
    with database.transaction() as tx:
        _, job = a_customer_with_a_job(tx, "odd")
        use(tx, job, at(1, 6), DOLLAR)
        use(tx, job, at(1, 6), -DOLLAR)
        tx.execute("alter table rated_lines disable trigger user")
        tx.execute("update rated_lines set kind = 'usage', gpu_seconds = -9000, amount = -3000000 where amount < 0")
        tx.execute("alter table rated_lines enable trigger user")
    assert outcomes(build())["nobody_is_charged_less_than_nothing"] is False


def test_drafts_are_asked_for_when_a_month_is_over_and_when_usage_comes_late(build, asked, database: Database) -> None:
    last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m-01")
    assert set(asked(defs.months_to_invoice)) == {last_month}
    ((_, job),) = customers(database, "acme")
    first = asked(defs.months_to_invoice)
    assert set(first) == {"2026-01-01", last_month}
    assert build(opening=False).success
    assert set(asked(defs.months_to_invoice)) == {last_month}
    with database.transaction() as tx:
        use(tx, job, at(1, 6), DOLLAR)
    again = asked(defs.months_to_invoice)
    assert again["2026-01-01"] != first["2026-01-01"]
    assert again[last_month] == first[last_month]


def test_a_commitment_is_asked_for_every_hour_until_it_is_on_an_invoice(
    build, asked, database: Database, monkeypatch
) -> None:
    with database.transaction() as tx:
        org, _ = a_customer_with_a_job(tx)
        insert_card(tx, a_card(org, effective_from=at(1), minimum_commitment=DOLLAR), actor="test", now=at(1))
    # The run of the first hour fails; nobody uses anything.
    keys = []
    for now in (at(2, 1), at(2, 1, 1), at(3, 5)):
        monkeypatch.setattr(defs, "utc_now", lambda now=now: now)
        keys.append(asked(defs.months_to_invoice)["2026-01-01"])
    assert len(set(keys)) == 3
    assert build(opening=False).success
    assert build(FEBRUARY, opening=False).success
    assert asked(defs.months_to_invoice) == {"2026-02-01": "2026-02 first"}
    with database.transaction() as tx:
        assert {each.total for each in store.invoices(tx, InvoiceFilter(organisation_id=org))} == {100}


def test_opening_is_asked_for_once_the_days_of_grace_are_over(asked, database: Database, monkeypatch) -> None:
    ((org, _),) = customers(database, "acme")
    with database.transaction() as tx:
        draft(tx, org)
    for now, due in ((at(2, 2, 23), set()), (at(2, 3), {"2026-01-01"})):
        monkeypatch.setattr(defs, "utc_now", lambda now=now: now)
        assert set(asked(defs.invoices_to_open)) == due
    with database.transaction() as tx:
        opened(tx, org)
    assert asked(defs.invoices_to_open) == {}


CLOSING = [defs.closed_month, defs.the_month_is_closed_and_still_ties]


def closed(resource, month: date = JANUARY) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        CLOSING, partition_key=f"{month:%Y-%m-%d}", resources={"database": resource}, raise_on_error=False
    )


def reasons(result: dg.ExecuteInProcessResult) -> list[str]:
    """Why it failed."""
    (failure,) = [each for each in result.all_events if each.event_type_value == "STEP_FAILURE"]
    return failure.step_failure_data.user_failure_data.metadata["in_the_way"].value


def test_finance_closes_a_month_in_dagster_once_nothing_stands_in_the_way(build, resource, database: Database) -> None:
    customers(database, "acme")
    assert build(opening=False).success
    refused = closed(resource)
    assert not refused.success
    assert reasons(refused) == ["1 draft(s) are left"]
    assert build().success
    result = closed(resource)
    assert result.success
    assert outcomes(result) == {"the_month_is_closed_and_still_ties": True}
    (made,) = result.asset_materializations_for_node("closed_month")
    assert (made.metadata["closed_by"].value, made.metadata["revenue"].value) == ("dagster", 10.0)
    # Once more changes nothing.
    assert closed(resource).success


def another_line(tx: Transaction, cents: int) -> None:
    """Of the market's statement, for the one order there is."""
    tx.execute(
        """insert into market_transactions (cursor, at, kind, amount_cents, balance_cents, market_order_id, seen_at)
           select id || %(cents)s, created_at, 'buy_order', %(cents)s, 0, market_id, created_at from orders""",
        {"cents": cents},
    )


def test_a_month_is_not_closed_in_dagster_while_an_hour_is_not_costed(build, resource, database: Database) -> None:
    customers(database, "acme")
    with database.transaction() as tx:
        minutes = (at(1, 20) - NOON) / timedelta(minutes=1)
        a_block(tx, minutes, minutes + 120)
    assert build().success
    # The block is bought and nobody has costed it, nor read the market's statement.
    assert reasons(closed(resource))[0] == "2 hour(s) are not costed, the first 2026-01-20 00:00"
    with database.transaction() as tx:
        costing.post_market(tx, datetime.now(UTC))
        for hour in (0, 1):
            costing.cost_hour(tx, at(1, 20, hour), datetime.now(UTC))
    assert reasons(closed(resource)) == ["1 fill(s) are newer than the market's statement"]
    with database.transaction() as tx:
        a_statement(tx)
        another_line(tx, -100)
    (why,) = reasons(closed(resource))
    assert why.endswith(": -$24.00 and -$25.00 are not the same")
    with database.transaction() as tx:
        another_line(tx, 100)
    assert closed(resource).success


def test_a_month_is_not_closed_while_stripe_says_otherwise(build, resource, database: Database, monkeypatch) -> None:
    customers(database, "acme")
    assert build().success
    with database.transaction() as tx:
        lost = move(DOLLAR, debit=CASH_STRIPE, credit=CASH_BANK)
        post(tx, Posting(source="stripe/txn_1", kind="test", at=at(1, 20), entries=lost))
        post(tx, Posting(source="stripe/txn_3", kind="test", at=at(2, 20), entries=lost))
    monkeypatch.setenv("SCALAR_STRIPE_API_KEY", "sk_test_1")
    unread = "Stripe's statement was not read since the month was over"
    assert reasons(closed(resource)) == [unread, "stripe/txn_1: on no statement of Stripe"]
    with database.transaction() as tx:
        tx.execute(
            """insert into stripe_balance_transactions (id, type, category, source, cents, fee, net, created_at)
               values ('txn_1', 'charge', 'charge', 'ch_1', 110, 5, 105, %s)""",
            [at(1, 20)],
        )
        tx.execute("insert into stripe_statement_reads (at, lines) values (%s, 1)", [at(2, 1)])
    assert reasons(closed(resource)) == ["txn_1: 105 cents at Stripe, 100 in the ledger"]
    with database.transaction() as tx:
        more = move(50_000, debit=CASH_STRIPE, credit=CASH_BANK)
        post(tx, Posting(source="lot/stripe/txn_1", kind="test", at=at(1, 20), entries=more))
    # What moved in February stands in February's way.
    assert closed(resource).success


def test_opening_alone_skips_no_check(resource, database: Database) -> None:
    customers(database, "acme")
    with database.transaction() as tx:
        tx.execute("insert into metered_hours values (%s, 1, %s)", [at(1, 9), at(1, 9, 1)])
    result = dg.materialize(
        [defs.opened_invoices], partition_key="2026-01-01", resources={"database": resource}, raise_on_error=False
    )
    assert reasons(result) == ["1 hour(s) are not rated, the first 2026-01-09 00:00"]


def test_a_balance_that_is_not_its_entries_is_found_and_added_up_anew(build, resource, database: Database) -> None:
    customers(database, "acme")
    assert build().success
    with database.transaction() as tx:
        tx.execute("update ledger_balances set amount = amount + 1 where account = 'revenue'")
    result = build()
    assert [name for name, passed in outcomes(result).items() if not passed] == [
        "balances_are_what_their_entries_add_up_to"
    ]
    assert reasons(closed(resource)) == ["revenue: its balance is -$9.999999, its entries add up to -$10.00"]
    with database.transaction() as tx:
        (off,) = periods.rebuild_balances(tx, actor="op")
    assert (off.account, off.balance, off.entries) == ("revenue", -9_999_999, -10_000_000)
    assert closed(resource).success
