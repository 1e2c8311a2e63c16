"""A week on the market, told in one piece: demand comes and goes, prices move, and everything goes wrong once.

Mon  a fill comes only in part,       Thu  the token expires for an hour
     another late                     Fri  an empty list, a renamed field
Tue  429s, 500s, cut connections      Sat  the market halts for an hour; fills are told twice
Wed  a machine dies, another          Sun  quiet
     never boots
"""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from week import Week

from scalar.database import Database
from scalar.jobs.model import Tier
from scalar.market import instances, store
from scalar.market.answers import TransactionKind
from scalar.market.model import MINUTE, InstanceState, Side
from tests.sandbox_process import SandboxMarket

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
BALANCE = Decimal(10_000)
CAPS = {"max_order": 150, "max_hour": 100, "max_day": 900, "max_total": 20_000, "approval_above": 150}
LATE = 4 * MINUTE
"""What was let out within its caps may fill so much later."""
HALT = timedelta(days=6, hours=12)


def troubles(week: Week, at: timedelta) -> None:
    """What goes wrong at this moment of the week."""

    def fault(kind: str, hours: float, **more: Any) -> None:
        week.sandbox.fault(kind, until=week.sandbox.now + hours * 3600, **more)

    match at / HOUR:
        case 10:
            fault("partial_fills", 5, times=1)
        case 15:
            fault("slow_fills", 5, times=1, seconds=LATE.total_seconds())
        case 34:
            fault("rate_limited", 4, probability=0.2, path="/preview")
            fault("server_error", 4, probability=0.2, path="/preview")
            fault("dropped", 4, probability=0.2, path="/orders|/instances")
        case 58:
            week.a_machine_is_to_die = True
            fault("never_boots", 24, times=1)
        case 82:
            fault("expired_token", 1, path="/preview|/v1")
        case 106:
            fault("empty_list", 1, path="/instances$|/orders$")
        case 110:
            fault("renamed_field", 1, path="/orders|/instances", field="status", to="state")
        case 132:
            fault("repeated_fill", 6, path="/orders")
        case 156:
            fault("halted", 1)
            # Somebody wants nodes just then.
            week.submit(gpus=8, minutes=90)
            week.submit(gpus=8, minutes=90)


@pytest.fixture
def week(tmp_path: Path, database: Database) -> Iterator[Week]:
    with SandboxMarket(tmp_path / "market", start="2026-11-02T00:00Z", balance=str(BALANCE)) as market:
        told = Week(market, database, **CAPS)
        yield told
        told.client.close()


@pytest.mark.timeout(600)
def test_a_week(week: Week) -> None:
    while (at := week.now() - week.begin) < WEEK:
        troubles(week, at)
        week.tick()
        if at.seconds % 10_800 == 0:
            week.reconcile()
    _everything_went_wrong(week)
    week.sandbox.no_faults()
    week.tick()
    week.reconcile()
    _nothing_was_traded_during_the_halt(week)
    _no_paid_machine_went_unseen(week)
    _no_order_was_doubled(week)
    _the_caps_were_met_and_kept(week)
    _the_balance_is_ours_to_the_cent(week)
    _the_week_was_one(week)


def _everything_went_wrong(week: Week) -> None:
    faults = week.sandbox.call("GET", "/sandbox/faults")["faults"]
    assert len(faults) == 11
    assert [each["kind"] for each in faults if not each["hits"]] == []
    assert week.rows("select from instances where end_reason = 'the market says: failed'")
    assert week.unanswered > 0


def _nothing_was_traded_during_the_halt(week: Week) -> None:
    """By anybody; and we wanted to."""
    begin, end = week.begin + HALT, week.begin + HALT + HOUR
    public = list(week.client.fills(start=begin, end=end + 60 * WEEK, since=begin - 12 * HOUR))
    assert [each for each in public if begin < each.filled_at < end] == []
    assert [each for each in public if each.filled_at <= begin]
    assert [each for each in public if each.filled_at >= end]
    wanted = week.rows("select created_at, state, amount, market_id from orders")
    meanwhile = [row for row in wanted if begin <= row["created_at"] < end]
    assert meanwhile
    assert {(row["state"], row["amount"], row["market_id"]) for row in meanwhile} == {("withdrawn", 0, None)}


def _no_paid_machine_went_unseen(week: Week) -> None:
    """By the market's ids, not for more than two ticks.

    Its count of our nodes differs from ours for the hour in which its answers can't be read. A paid node is without a
    machine that works for as long as one that never boots is waited for, or the market doesn't answer.
    """
    assert week.findings == []
    early = "select id from instances where end_reason = 'the market says: terminated' and ended_at < until"
    # Who is next to be ended is told anew at each tick, which is every few seconds but for this week's twenty minutes.
    assert len(week.rows(early)) < 10
    for what, ticks in (("unseen", 2), ("miscounted", 3), ("unmanned", 7)):
        assert [each for each in week.worst[what] if each[0] > ticks] == [], what


def _no_order_was_doubled(week: Week) -> None:
    ours = {row["market_id"] for row in week.rows("select market_id from orders where market_id is not null")}
    with_us = list(week.client.orders(pool=week.desk.pool(), created_after=week.begin - WEEK))
    assert {each.id for each in with_us} == ours
    assert len(with_us) == len(ours) > 100


def _the_caps_were_met_and_kept(week: Week) -> None:
    """Refused by our own word; spent by the market's statement, in any hour and in any day."""
    refused = [row["outcome"] for row in week.rows("select outcome from plan_actions where order_id is null")]
    statement = [
        (line.time, Decimal(abs(line.amount_cents)) / 100)
        for line in week.client.transactions()
        if line.kind is TransactionKind.BUY_ORDER
    ]
    for name, span, cap in (("hour", HOUR, CAPS["max_hour"]), ("day", 24 * HOUR, CAPS["max_day"])):
        assert any(f"the cap per {name} is" in str(outcome) for outcome in refused)
        most = max(
            sum(dollars for other, dollars in statement if time - span + LATE < other <= time) for time, _ in statement
        )
        assert cap * Decimal("0.8") < most <= cap, name
    assert sum(dollars for _, dollars in statement) <= CAPS["max_total"]


def _the_balance_is_ours_to_the_cent(week: Week) -> None:
    """Every dollar by the fills that we recorded, against what the market says is left."""
    rows = week.rows("select side, sum(amount) as dollars from orders group by side")
    by_side: dict[str, Decimal] = {row["side"]: row["dollars"] for row in rows}
    with week.database.transaction() as tx:
        fees = sum(store.fees(tx).values(), Decimal(0))
    left = BALANCE - by_side[Side.BUY] + by_side[Side.SELL] - fees
    assert week.client.balances().current_cents == round(left * 100)


def _the_week_was_one(week: Week) -> None:
    """A quiet market or an idle platform would prove nothing."""
    states: dict[str, int] = {
        row["state"]: row["n"] for row in week.rows("select state, count(*) as n from jobs group by 1")
    }
    submitted = sum(week.submitted.values())
    assert submitted > 200
    assert week.submitted[Tier.FLEX] > 10
    assert states["succeeded"] > 0.9 * submitted
    assert states.get("dead_letter", 0) + states.get("failed", 0) == 0
    prices = week.rows("select min(price) as low, max(price) as high from blocks")[0]
    assert prices["high"] > prices["low"] * Decimal("1.05")
    with week.database.transaction() as tx:
        usual = store.usual_price(tx, week.sku.id, week.begin)
        assert all(each.state is not InstanceState.WANTED for each in instances.live_instances(tx))
    assert usual is not None
    assert prices["low"] < usual < prices["high"]
    assert week.rows("select count(*) as hours from market_prices where sku = 'isku_sea3h100'")[0]["hours"] > 160
