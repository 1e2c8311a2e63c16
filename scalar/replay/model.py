"""Histories, setups and reports: frozen values. Times are aware, UTC; a price that says no unit is per node-hour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.jobs.model import Tier
from scalar.market.model import Sku

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A job as it came: what it wanted, and how long it then ran."""

    id: str
    at: datetime
    seconds: float
    gpus: int
    """On each of `nodes`."""
    nodes: int = 1
    tier: Tier = Tier.FAST
    organisation_id: str = "customer"
    deadline: datetime | None = None
    max_price_per_gpu_hour: Decimal | None = None

    @property
    def start_by(self) -> datetime | None:
        """When it has to start to be done in time; None: nobody waits for it to be done, or it may not wait."""
        if self.deadline is None or self.tier is not Tier.FLEX:
            return None
        return self.deadline - timedelta(seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class History:
    """`arrivals`: by time. `prices`: what one node-hour cost, by hour; an hour that is missing costs what the one
    before it did.
    """

    start: datetime
    end: datetime
    arrivals: tuple[Arrival, ...]
    prices: Mapping[datetime, Decimal]
    earlier: tuple[float, ...] = ()
    """GPUs that fast work wanted in the hours before `start`, the last one last."""


A_KIND = Sku(id="replayed", alias="replayed", gpu_type="H100", gpus_per_node=8)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The market and the fleet of a simulation."""

    sku: Sku = A_KIND
    block_ratios: Mapping[int, Decimal] = field(
        default_factory=lambda: {1: Decimal(1), 24: Decimal("0.6"), 168: Decimal(1) / Decimal("2.1")}
    )
    """Hours ─► what a node-hour of a block so long costs, by that of a single hour."""
    bid_ratio: Decimal = Decimal("0.7")
    """What a buyer bids, by what a seller of the same asks."""
    depth: int = 1000
    """Nodes that are to be had at one time."""
    boot: timedelta = timedelta(minutes=5)
    grain: timedelta = timedelta(minutes=1)
    """Events are handled together by so much."""
    plan_every: timedelta = timedelta(minutes=15)
    most_looked_at: int = 60
    """Jobs of the queue that a plan looks at."""
    node_cpus: float = 128.0
    node_memory: int = 2**40


@dataclass(frozen=True, kw_only=True)
class Part:
    """What came for one GPU type, and the market that it is had from."""

    history: History
    setup: Setup = field(default_factory=Setup)


ORACLE = "oracle"
"""The policy of who knew everything."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a month was under one policy. Dollars, exact; waits in seconds; utilisation: used of the owned GPU-hours."""

    policy: str
    jobs: int
    finished: int
    cost: Decimal
    revenue: Decimal
    resold: Decimal
    wait_median: float
    wait_p95: float
    deadlines: int
    missed_deadlines: int
    interruptions: int
    gpu_hours: float
    owned_gpu_hours: float
    orders: int
    fell_back: int = 0
    """Plans that the solver didn't make."""
    fast_wait_p95: float = 0.0
    """Of Fast jobs alone: Flex jobs are meant to wait."""

    @property
    def margin(self) -> Decimal:
        return self.revenue - self.cost

    @property
    def utilisation(self) -> float:
        return self.gpu_hours / self.owned_gpu_hours if self.owned_gpu_hours else 0.0


def over_the_oracle(reports: Sequence[Report]) -> dict[str, float]:
    """By policy: its cost over the least possible. Nothing, where that is not among them, or is nothing."""
    least = next((each.cost for each in reports if each.policy == ORACLE), Decimal(0))
    return {each.policy: float(each.cost / least) for each in reports} if least else {}
