"""What was earned: revenue less what it cost. Pure; in whole micro-dollars.

    margin = revenue - cost of the GPUs used - its share of idle time

Revenue is what was rated, credits taken off: before coupons, commitments and tax, which belong to a month and not to a
job.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from scalar.metering.model import Window

_PERCENT = Decimal("0.1")


@dataclass(frozen=True, kw_only=True)
class Margin:
    revenue: int = 0
    cost: int = 0
    """Of the GPUs that were used, for the time that they were."""
    idle_cost: int = 0
    """A share of what stood idle."""

    @property
    def before_idle(self) -> int:
        return self.revenue - self.cost

    @property
    def margin(self) -> int:
        return self.revenue - self.cost - self.idle_cost

    @property
    def percent(self) -> Decimal | None:
        """Of the revenue; None where there is none."""
        if self.revenue <= 0:
            return None
        return (Decimal(100 * self.margin) / self.revenue).quantize(_PERCENT)


def added_up(margins: Iterable[Margin]) -> Margin:
    every = list(margins)
    return Margin(
        revenue=sum(each.revenue for each in every),
        cost=sum(each.cost for each in every),
        idle_cost=sum(each.idle_cost for each in every),
    )


@dataclass(frozen=True, kw_only=True)
class NodePaid:
    """A block that a job's nodes belonged to."""

    block_id: str
    order_id: str
    price: Decimal
    """Dollars per node-hour, as it was bought."""
    gpu_seconds: Decimal
    """That the job used of it."""


@dataclass(frozen=True, kw_only=True)
class JobMargin(Margin):
    """Of one job, all its runs together."""

    job_id: str
    organisation_id: str
    gpu_seconds: Decimal
    nodes: tuple[NodePaid, ...]
    exact: bool
    """The job has ended, and all of its hours are over, rated and costed. Otherwise it is provisional."""

    @property
    def not_bought(self) -> Decimal:
        """GPU-seconds on nodes that were not bought at the market: they cost nothing here."""
        return max(self.gpu_seconds - sum((each.gpu_seconds for each in self.nodes), Decimal(0)), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class JobLine(Margin):
    """What a job earned in a month."""

    job_id: str
    name: str
    organisation: str
    tier: str
    gpu_seconds: Decimal


@dataclass(frozen=True, kw_only=True)
class CustomerLine(Margin):
    """What an organisation's jobs earned in a month."""

    organisation_id: str
    name: str
    gpu_seconds: Decimal


@dataclass(frozen=True, kw_only=True)
class MonthLine:
    """What a month earned in all."""

    month: date
    revenue: int = 0
    direct: int = 0
    idle_shared: int = 0
    idle_unshared: int = 0
    resale_result: int = 0
    """Losses of sales that no node-second was left to bear; negative: gains."""

    @property
    def cost(self) -> int:
        return self.direct + self.idle_shared + self.idle_unshared + self.resale_result

    @property
    def margin(self) -> int:
        return self.revenue - self.cost


@dataclass(frozen=True, kw_only=True)
class BlockPnl:
    """A block until a moment: what was paid for it, where that went, and what its runs were charged."""

    block_id: str
    order_id: str
    gpu_type: str
    nodes: int
    window: Window
    paid: int
    direct: int
    idle_shared: int
    idle_unshared: int
    resold: int
    """What sales brought, less the market's fee."""
    resale_result: int
    revenue: int

    @property
    def ahead(self) -> int:
        """What is not used up yet: nothing, once the block is over."""
        return self.paid - self.direct - self.idle_shared - self.idle_unshared - self.resold - self.resale_result

    @property
    def margin(self) -> int:
        """Of what is over."""
        return self.revenue - (self.paid - self.resold - self.ahead)


def left_over(blocks: Sequence[BlockPnl], until: datetime) -> list[BlockPnl]:
    """Blocks that were over by then, and of whose price something went nowhere, or more than was paid somewhere."""
    return [each for each in blocks if (each.window.end <= until and each.ahead) or each.ahead < 0]
