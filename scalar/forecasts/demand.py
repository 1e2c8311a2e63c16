"""What customers wanted in an hour: pure.

    wanted = running + queued

GPU-hours that jobs had, and that jobs waited for. What was refused is kept apart, since more nodes would not have
helped: for its **price**, where the job names a limit and no kind of machine that suits it was traded at or below it;
for its **quota**, where the organisation used all the GPUs that it may, or has no credit left.

Why a job waits is known of those that wait still: the scheduler keeps its last word only. Whoever waited for a quota
and was placed before the hour was looked at counts as queued. What was turned away at the door (a job that no machine
could run, an organisation without credit) was never written down, and is not here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.capacity.model import Obstacle

ANY = "any"
_QUOTA = frozenset({Obstacle.QUOTA, Obstacle.CREDIT})
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Use:
    """GPU-hours that jobs of a tier had, of a type."""

    gpu_type: str
    tier: str
    gpu_hours: float


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Whether more nodes would help."""

    gpu_type: str | None
    price_limit: Decimal | None = None
    """Dollars per GPU-hour."""
    obstacle: str | None = None
    """Why it waits still; None: it doesn't."""

    def kind(self, prices: Mapping[str, Decimal]) -> str:
        """What its wait counts as: `queued`, `refused_for_price`, `refused_for_quota`."""
        if self.obstacle in _QUOTA:
            return "refused_for_quota"
        cheapest = prices.get(self.gpu_type) if self.gpu_type else min(prices.values(), default=None)
        if self.price_limit is not None and cheapest is not None and self.price_limit < cheapest:
            return "refused_for_price"
        return "queued"


@dataclass(frozen=True, kw_only=True)
class Wait(Wish):
    """A job in the queue, for as much of the hour as it was there."""

    tier: str
    gpus: int
    start: datetime
    end: datetime

    @property
    def gpu_hours(self) -> float:
        return self.gpus * ((self.end - self.start) / _HOUR)


@dataclass(frozen=True, kw_only=True)
class Life(Wish):
    """A job from its submission until it was over. `gpu_type`: of its last node, or what it asks for."""

    tier: str
    gpus: int
    start: datetime
    end: datetime | None
    """None: it isn't."""
    ran: bool


@dataclass(frozen=True, kw_only=True)
class Demand:
    """GPU-hours of one hour."""

    gpu_type: str
    tier: str
    running: float = 0.0
    queued: float = 0.0
    refused_for_price: float = 0.0
    refused_for_quota: float = 0.0

    @property
    def wanted(self) -> float:
        return self.running + self.queued


def demand(uses: Iterable[Use], waits: Iterable[Wait], prices: Mapping[str, Decimal]) -> list[Demand]:
    """`prices`: by GPU type, what the cheapest of it was traded for, in dollars per GPU-hour."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for use in uses:
        found[use.gpu_type, use.tier]["running"] += use.gpu_hours
    for wait in waits:
        found[wait.gpu_type or ANY, wait.tier][wait.kind(prices)] += wait.gpu_hours
    return [Demand(gpu_type=gpu_type, tier=tier, **parts) for (gpu_type, tier), parts in sorted(found.items())]


def wanted(lives: Iterable[Life], prices: Mapping[str, Decimal]) -> dict[tuple[str, str], list[Life]]:
    """By GPU type and tier: jobs that ran, and those that wait for nothing but a node."""
    found: dict[tuple[str, str], list[Life]] = defaultdict(list)
    for life in lives:
        if life.ran or life.kind(prices) == "queued":
            found[life.gpu_type or ANY, life.tier].append(life)
    return found
