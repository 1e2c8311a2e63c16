"""A week on the market, told in one piece: demand comes and goes, prices move, and everything goes wrong once.

The market is a real process with a clock that is moved by hand; our side is the real code of every sensor and asset, on
a real Postgres. The agents of the machines are played with what they are started with, through the API's own functions.

    day 1  quiet            day 3  a machine dies, another never boots     day 5  an empty list, a renamed field
    day 2  429s and 500s    day 4  the token expires for an hour           day 6  the market halts for an hour
"""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import pi, sin
from pathlib import Path
from typing import Any

from scalar.capacity import store as capacity
from scalar.capacity.placing import run_pass
from scalar.database import Database
from scalar.jobs import store as jobs
from scalar.market import instances, joining, store
from scalar.market.boarding import board
from scalar.market.comparing import reconcile
from scalar.market.errors import MarketError
from scalar.market.model import MINUTE, InstanceState, Side
from scalar.market.trading import trade
from scalar.planning.executing import execute
from scalar.planning.model import Policy
from scalar.planning.planning import make_plan
from scalar.protocol import TaskEnding
from tests import made_up
from tests.market.trading_floor import Floor
from tests.sandbox_process import SandboxMarket

TICK = timedelta(minutes=20)
WEEK = timedelta(days=7)
POLICY = Policy(fast_buffer_gpus={"H100": 8}, block_minutes=120, boot_minutes=10, extend_before_minutes=45, max_nodes=6)


class Week(Floor):
    """The platform, its customers and its agents."""

    def __init__(self, market: SandboxMarket, database: Database) -> None:
        self._moment = datetime.fromtimestamp(market.now, UTC)
        super().__init__(
            market, database, max_order=200, max_hour=400, max_day=2500, max_total=20_000, approval_above=200
        )
        self.random = random.Random(7)
        with database.transaction() as tx:
            self.customer = made_up.a_customer(tx)
        self.due: dict[str, datetime] = {}
        self.unseen: Counter[str] = Counter()
        self.most_unseen = 0
        self.submitted = 0
        self.findings: list[str] = []
        self.unanswered = 0

    def now(self) -> datetime:
        """The market's clock, which stands still between two advances."""
        return self._moment

    def advance(self, step: timedelta) -> None:
        self._moment = datetime.fromtimestamp(self.sandbox.advance(step.total_seconds()), UTC)

    def tick(self) -> None:
        """Every sensor and asset once, and the world around them."""
        self.submit_jobs()
        self.agents_call()
        self.end_runs()
        self.place()
        self.plan()
        trade(self.desk)
        self.advance(MINUTE)
        trade(self.desk)
        board(self.desk)
        self.advance(TICK - MINUTE)
        self.look()

    def plan(self) -> None:
        try:
            make_plan(self.desk, POLICY)
        except MarketError:
            self.unanswered += 1
            return
        with self.database.transaction() as tx:
            execute(tx, caps=self.settings.caps, policy=POLICY, now=self.now())

    def submit_jobs(self) -> None:
        """More by day than by night, fewer at the weekend."""
        now = self.now()
        rate = 0.5 + 0.45 * sin((now.hour - 6) / 24 * 2 * pi)
        if now.weekday() >= 5:
            rate *= 0.4
        if self.random.random() > rate:
            return
        minutes = self.random.choice([20, 40, 60, 90])
        with self.database.transaction() as tx:
            made_up.a_job_of(
                tx,
                self.customer,
                now=now,
                gpus=self.random.choice([1, 2, 4, 8]),
                gpu_type="H100",
                max_runtime_seconds=minutes * 60,
            )
        self.submitted += 1

    def agents_call(self) -> None:
        self.boot_agents()
        up = {row["id"] for row in self.machines() if row["status"] == "running"}
        with self.database.transaction() as tx:
            for each in instances.live_instances(tx):
                if each.node_id is not None and each.market_id in up:
                    capacity.seen(tx, each.node_id, self.now())
                    joining.heard(tx, each.node_id, self.now())

    def place(self) -> None:
        now = self.now()
        with self.database.transaction() as tx:
            for placement in run_pass(tx, now).decision.placements:
                run = made_up.launch(tx, placement.job_id, now=now)
                made_up.told(tx, run, made_up.running(run, at=now))
                longest = jobs.job(tx, run.job_id).spec.max_runtime_seconds
                self.due[run.id] = now + timedelta(seconds=longest * 0.8)

    def end_runs(self) -> None:
        """Containers exit when they are due, and stop when they are told to."""
        now = self.now()
        with self.database.transaction() as tx:
            for run_id, due in list(self.due.items()):
                run = jobs.run(tx, run_id)
                if run.state.ended:
                    del self.due[run_id]
                elif run.stop_reason is not None or due <= now:
                    how = {"ending": TaskEnding.STOPPED} if run.stop_reason else {}
                    made_up.told(tx, run, made_up.ended(run, at=now, started_at=run.started_at, **how))
                    del self.due[run_id]

    def look(self) -> None:
        """What must hold at every moment."""
        with self.database.transaction() as tx:
            known = {each.id for each in instances.live_instances(tx)}
            now = self.now()
            spent = [
                store.spent_since(tx, since) for since in (now - timedelta(hours=1), now - timedelta(days=1), None)
            ]
        running = {row["name"] for row in self.machines()}
        self.unseen = Counter({each: self.unseen[each] + 1 for each in running - known})
        self.most_unseen = max([self.most_unseen, *self.unseen.values()])
        assert self.most_unseen <= 2, f"{now:%a %H:%M} {self.unseen}"
        caps = self.settings.caps
        assert all(
            dollars <= cap for dollars, cap in zip(spent, (caps.per_hour, caps.per_day, caps.in_all), strict=True)
        )

    def reconcile(self) -> None:
        try:
            self.findings += [f"{self.now():%a %H:%M} {each.what}" for each in reconcile(self.desk).findings]
        except MarketError:
            self.unanswered += 1


def troubles(week: Week, at: timedelta) -> None:
    """What goes wrong at this moment of the week."""
    fault, now = week.sandbox.fault, week.sandbox.now
    hour = 3600
    match at / timedelta(hours=1):
        case 30:
            fault("rate_limited", probability=0.2, until=now + 4 * hour, path="/preview")
            fault("server_error", probability=0.2, until=now + 4 * hour, path="/preview")
            fault("dropped", probability=0.1, until=now + 4 * hour, path="/orders|/instances")
        case 54:
            fault("dies", times=1)
            fault("never_boots", times=1, until=now + hour)
        case 78:
            fault("expired_token", until=now + hour, path="/preview|/v1")
        case 102:
            fault("empty_list", until=now + hour, path="/instances$|/orders$")
        case 106:
            fault("renamed_field", until=now + hour, path="/orders|/instances", field="status", to="state")
        case 126:
            fault("halted", until=now + hour)
        case 130:
            fault("repeated_fill", until=now + 3 * hour, path="/orders")


def test_a_week(tmp_path: Path, database: Database) -> None:
    with SandboxMarket(tmp_path / "market", start="2026-11-02T00:00Z", balance="10000") as market:
        week = Week(market, database)
        begin = week.now()
        while (at := week.now() - begin) < WEEK:
            troubles(week, at)
            week.tick()
            if at.seconds % 7200 == 0:
                week.reconcile()
        market.no_faults()
        week.tick()
        week.reconcile()
        _no_paid_machine_went_unseen(week)
        _no_order_was_doubled(week)
        _the_balance_is_ours_to_the_cent(week)
        _the_week_was_one(week)
        week.client.close()


def _no_paid_machine_went_unseen(week: Week) -> None:
    assert week.findings == []


def _no_order_was_doubled(week: Week) -> None:
    ours = {row["market_id"] for row in week.rows("select market_id from orders where market_id is not null")}
    with_us = list(week.client.orders(pool=week.desk.pool(), created_after=datetime(2026, 11, 1, tzinfo=UTC)))
    assert {each.id for each in with_us} == ours
    assert len(with_us) == len(ours) > 20


def _the_balance_is_ours_to_the_cent(week: Week) -> None:
    """Every dollar by the fills that we recorded, against what the market says is left."""
    rows = week.rows("select side, sum(amount) as dollars from orders group by side")
    by_side: dict[str, Decimal] = {row["side"]: row["dollars"] for row in rows}
    with week.database.transaction() as tx:
        fees = sum(store.fees(tx).values(), Decimal(0))
    left = Decimal(10_000) - by_side[Side.BUY] + by_side.get(Side.SELL, Decimal(0)) - fees
    assert week.client.balances().current_cents == round(left * 100)


def _the_week_was_one(week: Week) -> None:
    """A quiet market or an idle platform would prove nothing."""
    states: dict[str, int] = {
        row["state"]: row["n"] for row in week.rows("select state, count(*) as n from jobs group by 1")
    }
    assert week.submitted > 100
    assert states["succeeded"] > 0.9 * week.submitted
    assert states.get("dead_letter", 0) + states.get("failed", 0) == 0
    prices = week.rows("select min(price) as low, max(price) as high from blocks")[0]
    assert prices["high"] > prices["low"] * Decimal("1.05")
    ends: dict[Any, int] = {
        row["end_reason"]: row["n"]
        for row in week.rows("select end_reason, count(*) as n from instances where state = 'ended' group by 1")
    }
    assert ends["the market says: failed"] >= 1
    with week.database.transaction() as tx:
        assert all(each.state is not InstanceState.WANTED for each in instances.live_instances(tx))
    assert week.unanswered > 0
