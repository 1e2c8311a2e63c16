"""Months of the books, and the taxes, for operators: close, reopen, add up balances, enter a rate."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from scalar.accounts.store import audit
from scalar.billing import invoice_sources as sources
from scalar.billing import periods
from scalar.billing.months import month_named
from scalar.errors import Conflict, NotFound
from scalar_api.dependencies import Db, Now, Operator
from scalar_api.invoice_views import (
    PeriodList,
    PeriodView,
    ReasonBody,
    RebuiltView,
    TaxRateBody,
    TaxRateList,
    TaxRateView,
)
from scalar_api.problems import responses

router = APIRouter(prefix="/v1", tags=["billing"])
_OF_A_PERIOD = responses(NotFound, Conflict)
Month = Annotated[str, Path(max_length=7, examples=["2026-01"])]


@router.get("/periods", responses=_OF_A_PERIOD)
def list_periods(_: Operator, database: Db, limit: Annotated[int, Query(ge=1, le=240)] = 24) -> PeriodList:
    """Newest first: what each month earned, what of it is invoiced and unpaid, and whether its books are closed."""
    with database.transaction() as tx:
        return PeriodList(data=[PeriodView.of(each) for each in periods.periods(tx, limit=limit)])


@router.post("/periods/{month}/close", responses=_OF_A_PERIOD)
def close_period(month: Month, caller: Operator, database: Db, now: Now) -> PeriodView:
    """The month's books take nothing more. It answers 409 with all that stands in the way."""
    named = month_named(month)
    with database.transaction() as tx:
        periods.close(tx, named, actor=caller.actor, now=now)
        return PeriodView.of(periods.period(tx, named))


@router.post("/periods/{month}/reopen", responses=_OF_A_PERIOD)
def reopen_period(month: Month, body: ReasonBody, caller: Operator, database: Db) -> PeriodView:
    """Let a closed month be written to again. Who did it, and why, is kept."""
    named = month_named(month)
    with database.transaction() as tx:
        periods.reopen(tx, named, actor=caller.actor, reason=body.reason)
        return PeriodView.of(periods.period(tx, named))


@router.post("/balances/rebuild", responses=responses())
def rebuild_balances(caller: Operator, database: Db) -> RebuiltView:
    """Add every balance of the ledger up anew from its entries, and say which were something else.

    Postings wait meanwhile. It is written down in the audit log.
    """
    with database.transaction() as tx:
        return RebuiltView.of(periods.rebuild_balances(tx, actor=caller.actor))


@router.get("/tax-rates", responses=responses())
def list_tax_rates(_: Operator, database: Db) -> TaxRateList:
    """Every rate that was entered, oldest first."""
    with database.transaction() as tx:
        return TaxRateList(data=[TaxRateView.model_validate(each) for each in sources.tax_rates(tx)])


@router.post("/tax-rates", status_code=201, responses=responses(Conflict))
def enter_tax_rate(body: TaxRateBody, caller: Operator, database: Db, now: Now) -> TaxRateView:
    """A tax from a day on, until the next of the same place. Invoices that are open keep theirs."""
    with database.transaction() as tx:
        if not sources.insert_tax_rate(tx, body.rate(), actor=caller.actor, now=now):
            raise Conflict("That place has a rate from that day on already.")
        place = f"{body.country}-{body.region}" if body.region else body.country
        audit(tx, caller.actor, "tax_rate.enter", place, **body.model_dump(mode="json"))
    return body
