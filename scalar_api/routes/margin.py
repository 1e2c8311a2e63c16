"""What a job earned: what its customer pays, what its nodes cost, and what is left. For operators."""

from decimal import Decimal
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from scalar.billing.margin import JobMargin, NodePaid
from scalar.billing.margins import margin_of_job
from scalar_api.dependencies import Db, Now, Operator
from scalar_api.problems import OF_A_JOB
from scalar_api.views import in_dollars

router = APIRouter(prefix="/v1/jobs", tags=["billing"])


class NodePaidView(BaseModel):
    """A block that nodes of the job belonged to."""

    block_id: str
    order_id: str
    price: Decimal = Field(description="Dollars per node-hour, as it was bought.")
    gpu_seconds: Decimal = Field(description="That the job used of it.")

    @classmethod
    def of(cls, node: NodePaid) -> Self:
        return cls(**vars(node))


class MarginView(BaseModel):
    """Dollars, of all runs of the job together."""

    job_id: str
    organisation_id: str
    exact: bool = Field(description="It has ended, and its hours are over, rated and costed; else it is provisional.")
    revenue: Decimal = Field(description="What was rated, credits taken off; before coupons, commitments and tax.")
    cost: Decimal = Field(description="Of the GPUs that it used, by what their nodes were bought for, less resale.")
    margin_before_idle: Decimal
    idle_cost: Decimal = Field(description="Its share of what stood idle in the same hours.")
    margin: Decimal
    margin_percent: Decimal | None = Field(description="Of the revenue; null where there is none.")
    gpu_seconds: Decimal
    gpu_seconds_not_bought: Decimal = Field(description="On nodes that were not bought: they cost nothing here.")
    nodes: list[NodePaidView]

    @classmethod
    def of(cls, margin: JobMargin) -> Self:
        return cls(
            job_id=margin.job_id,
            organisation_id=margin.organisation_id,
            exact=margin.exact,
            revenue=in_dollars(margin.revenue),
            cost=in_dollars(margin.cost),
            margin_before_idle=in_dollars(margin.before_idle),
            idle_cost=in_dollars(margin.idle_cost),
            margin=in_dollars(margin.margin),
            margin_percent=margin.percent,
            gpu_seconds=margin.gpu_seconds,
            gpu_seconds_not_bought=margin.not_bought,
            nodes=[NodePaidView.of(each) for each in margin.nodes],
        )


@router.get("/{job_id}/margin", responses=OF_A_JOB)
def get_margin(job_id: str, _: Operator, database: Db, now: Now) -> MarginView:
    """What a job brought and what its nodes cost, until now: also while it runs."""
    with database.transaction() as tx:
        return MarginView.of(margin_of_job(tx, job_id, now))
