"""A week on the market: our side is the real code of every sensor and asset, on a real Postgres; the market is a real
process with a clock that is moved by hand. The agents of the machines are played with what they are started with.
"""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import pi, sin
from typing import Any

from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.capacity.placing import run_pass
from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.database import Database
from scalar.jobs import store as jobs
from scalar.jobs.model import Tier
from scalar.market import instances, joining, seats
from scalar.market.boarding import board
from scalar.market.collecting import collect
from scalar.market.comparing import reconcile
from scalar.market.errors import MarketError
from scalar.market.model import MINUTE
from scalar.market.prices import HOUR, hour_of
from scalar.market.trading import trade
from scalar.planning.executing import execute
from scalar.planning.model import Policy
from scalar.planning.planning import make_plan
from scalar.protocol import TaskEnding
from tests import made_up
from tests.market.trading_floor import Floor
from tests.sandbox_process import SandboxMarket

TICK = timedelta(minutes=20)
POLICY = Policy(fast_buffer_gpus={"H100": 8}, block_minutes=120, boot_minutes=10, extend_before_minutes=45, max_nodes=6)


class Week(Floor):
    """The platform, its customers and its agents."""

    def __init__(self, market: SandboxMarket, database: Database, **settings: Any) -> None:
        self._moment = datetime.fromtimestamp(market.now, UTC)
        super().__init__(market, database, **settings)
        self.begin = self._moment
        self.random = random.Random(7)
        with database.transaction() as tx:
            self.customer = made_up.a_customer(tx)
        self.due: dict[str, datetime] = {}
        self.submitted: Counter[str] = Counter()
        self.priced_until = hour_of(self._moment)
        self.a_machine_is_to_die = False
        self.findings: list[str] = []
        self.unanswered = 0
        self.unseen: Counter[str] = Counter()
        self.unmanned: Counter[str] = Counter()
        self.miscounted: Counter[str] = Counter()
        self.worst: dict[str, list[tuple[int, str]]] = {"unseen": [], "unmanned": [], "miscounted": []}

    def now(self) -> datetime:
        """The market's clock, which stands still between two advances."""
        return self._moment

    def advance(self, step: timedelta) -> None:
        self._moment = datetime.fromtimestamp(self.sandbox.advance(step.total_seconds()), UTC)

    def tick(self) -> None:
        """Every sensor and asset once, and the world around them."""
        self.customers_come()
        self.agents_call()
        self.end_runs()
        self.place()
        self.look_at_prices()
        self.plan()
        trade(self.desk)
        self.advance(MINUTE)
        trade(self.desk)
        board(self.desk)
        self.look()
        self.advance(TICK - MINUTE)

    def plan(self) -> None:
        try:
            make_plan(self.desk, POLICY)
        except MarketError:
            self.unanswered += 1
            return
        with self.database.transaction() as tx:
            execute(tx, caps=self.settings.caps, policy=POLICY, now=self.now())

    def look_at_prices(self) -> None:
        """Hour by hour, a few at a time; what the market did not tell then is asked for later."""
        until = hour_of(self.now())
        if until - self.priced_until < 3 * HOUR:
            return
        try:
            collect(self.desk, self.priced_until, until)
        except MarketError:
            self.unanswered += 1
        else:
            self.priced_until = until

    def customers_come(self) -> None:
        """More by day than by night, fewer at the weekend; some wait for a good price, and some name theirs."""
        now = self.now()
        rate = 0.5 + 0.45 * sin((now.hour - 6) / 24 * 2 * pi)
        if now.weekday() >= 5:
            rate *= 0.4
        if self.random.random() > rate:
            return
        who = self.random.random()
        spec: dict[str, Any] = {"tier": Tier.FLEX} if who < 0.1 else {}
        if 0.1 <= who < 0.2:
            spec["max_price_per_gpu_hour"] = Decimal("2.20")
        self.submit(gpus=self.random.choice([1, 2, 4, 8]), minutes=self.random.choice([20, 40, 60, 90]), **spec)

    def submit(self, *, gpus: int, minutes: int, **spec: Any) -> None:
        with self.database.transaction() as tx:
            made_up.a_job_of(
                tx,
                self.customer,
                now=self.now(),
                gpus=gpus,
                gpu_type="H100",
                max_runtime_seconds=minutes * 60,
                **spec,
            )
        self.submitted[spec.get("tier", Tier.FAST)] += 1

    def agents_call(self) -> None:
        self.boot_agents()
        up = {row["id"] for row in self.machines() if row["status"] == "running"}
        with self.database.transaction() as tx:
            live = instances.live_instances(tx)
            for each in live:
                if each.node_id is not None and each.market_id in up:
                    capacity.seen(tx, each.node_id, self.now())
                    joining.heard(tx, each.node_id, self.now())
        if self.a_machine_is_to_die and up:
            self.a_machine_is_to_die = False
            lasting = max((each for each in live if each.market_id in up), key=lambda each: each.until)
            self.sandbox.fault("dies", instance=lasting.market_id)

    def machines(self) -> list[dict[str, Any]]:
        query = "limit=200&include=cloud_init_user_data&status=running&status=awaiting_allocation"
        return list(self.sandbox.behind(f"/instances?{query}")["data"])

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
        """For how many ticks on end: a machine that we don't know, a seat on which none works, a wrong count of nodes.

        All of it by the market's own word, and by its own names.
        """
        there = {row["id"]: row["status"] for row in self.machines()}
        with self.database.transaction() as tx:
            known = {each.market_id for each in instances.live_instances(tx)}
            manned = self._manned(tx, there)
            now = self.now()
            ours = [each for each in seats.owned_seats(tx, now) if each.start <= now < each.end]
        useful = {f"{each.block_id}/{each.number}" for each in ours if each.end - now >= SHORTEST_USEFUL}
        self._note("unseen", self.unseen, there.keys() - known)
        self._note("unmanned", self.unmanned, useful - manned)
        self._note("miscounted", self.miscounted, {"nodes"} if self._paid_nodes() != len(ours) else set())

    def reconcile(self) -> None:
        try:
            self.findings += [f"{self.now():%a %H:%M} {each.what}" for each in reconcile(self.desk).findings]
        except MarketError:
            self.unanswered += 1

    def _note(self, what: str, counts: Counter[str], now_so: set[str]) -> None:
        for gone in counts.keys() - now_so:
            del counts[gone]
        counts.update(now_so)
        self.worst[what] += [(counts[each], f"{self.now():%a %H:%M} {each}") for each in now_so]

    def _manned(self, tx: Any, there: dict[str, str]) -> set[str]:
        """Seats with a machine that runs at the market and whose node takes work, or ends what it has."""
        rows = tx.execute(
            """select s.block_id || '/' || s.seat as seat, i.market_id from seatings s
               join instances i on i.id = s.instance_id join nodes n on n.id = i.node_id
               where s.during @> %s and n.state = any(%s)""",
            [self.now(), [NodeState.READY, NodeState.DRAINING]],
        )
        return {row["seat"] for row in rows if there.get(row["market_id"]) == "running"}

    def _paid_nodes(self) -> int:
        """Nodes that are ours now, by the market's schedule of our pool, for a while."""
        now = self.now().timestamp()
        (pool,) = [each for each in self.sandbox.behind("/pools?limit=200")["data"] if each["name"] == "scalar"]
        entries = pool["allocation_schedule"]["total"]
        return sum(
            each["node_count"] for each in entries if each["start_at"] <= now and (each["end_at"] or now + 1) > now
        )
