"""A week on the market, told in one piece: demand comes and goes, prices move, and everything goes wrong once.

Mon  quiet                            Thu  the token expires for an hour
Tue  429s, 500s, cut connections      Fri  an empty list, a renamed field
Wed  a machine dies, another never    Sat  the market halts for an hour; fills are told twice
     boots; a fill comes late,        Sun  quiet
     another only in part
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from week import POLICY, TICK, Week

from scalar.database import Database
from scalar.jobs.model import Tier
from scalar.market import store
from scalar.market.answers import TransactionKind
from scalar.market.model import MINUTE, InstanceState, Side
from tests.sandbox_process import SandboxMarket

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
CAPS = {"max_order": 150, "max_hour": 150, "max_day": 900, "max_total": 20_000, "approval_above": 150}
LATE = 4 * MINUTE
"""What was let out within its caps may fill so much later."""
HALT = timedelta(days=5, hours=12)


def troubles(week: Week, at: timedelta) -> None:
    """What goes wrong at this moment of the week."""

    def fault(kind: str, hours: float, **more: Any) -> None:
        week.sandbox.fault(kind, until=week.sandbox.now + hours * 3600, **more)

    match at / HOUR:
        case 34:
            fault("rate_limited", 4, probability=0.2, path="/preview")
            fault("server_error", 4, probability=0.2, path="/preview")
            fault("dropped", 4, probability=0.1, path="/orders|/instances")
        case 58:
            week.sandbox.fault("dies")
            fault("never_boots", 4, times=1)
        case 64:
            fault("slow_fills", 4, times=1, seconds=LATE.total_seconds())
        case 68:
            fault("partial_fills", 4, times=1)
        case 82:
            fault("expired_token", 1, path="/preview|/v1")
        case 106:
            fault("empty_list", 1, path="/instances$|/orders$")
        case 110:
            fault("renamed_field", 1, path="/orders|/instances", field="status", to="state")
        case 132:
            fault("halted", 1)
            # Somebody wants a node just then.
            week.submit(gpus=8, minutes=90)
            week.submit(gpus=8, minutes=90)
        case 136:
            fault("repeated_fill", 3, path="/orders")


def test_a_week(tmp_path: Path, database: Database) -> None:
    with SandboxMarket(tmp_path / "market", start="2026-11-02T00:00Z", balance="10000") as market:
        week = Week(market, database, **CAPS)
        while (at := week.now() - week.begin) < WEEK:
            troubles(week, at)
            week.tick()
            if at.seconds % 7200 == 0:
                week.reconcile()
        hits = hits_by_kind(week)
        market.no_faults()
        week.tick()
        week.reconcile()
        print(hits)
        debug(week)
        return
        nothing_was_traded_during_the_halt(week)
        no_paid_machine_went_unseen(week)
        no_order_was_doubled(week)
        the_caps_were_met_and_kept(week)
        the_balance_is_ours_to_the_cent(week)
        the_week_was_one(week)
        week.client.close()


def debug(week):
    from collections import Counter

    for what in week.worst:
        print(what, Counter(n for n, _ in week.worst[what]), sorted(week.worst[what])[-6:])
    print(week.rows("select outcome, count(*) n from plan_actions group by 1 order by 2 desc limit 25"))
    print(week.rows("select side, state, count(*) n, sum(amount) amount from orders group by 1,2"))
    print(week.rows("select state, tier, count(*) n from jobs group by 1,2"), week.submitted)
    print(week.rows("select state, end_reason, count(*) n from instances group by 1,2"))
    print(week.findings[:10], week.unanswered)
    lines = [x for x in week.client.transactions() if x.kind is TransactionKind.BUY_ORDER]
    for span in (HOUR, timedelta(days=1)):
        print(span, max(spent_within(lines, span)), sorted(spent_within(lines, span))[-200::20])
    print(len(lines), lines[0])


def spent_within(lines: Iterable[Any], span: timedelta) -> list[Decimal]:
    """Dollars, of all purchases charged within this span that ends with one of them."""
    charged = [(line.time, Decimal(abs(line.amount_cents)) / 100) for line in lines]
    return [
        sum((dollars for other, dollars in charged if time - span < other <= time), Decimal(0)) for time, _ in charged
    ]


def hits_by_kind(week: Week) -> dict[str, int]:
    return {each["kind"]: each["hits"] for each in week.sandbox.call("GET", "/sandbox/faults")["faults"]}
