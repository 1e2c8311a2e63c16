"""What was used, and what it costs."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from scalar.billing.usage_report import Grouping, UsageReport, usage_report
from scalar.errors import InvalidRequest, NotFound
from scalar_api.dependencies import Db, Now, Person
from scalar_api.invoice_views import UsageRowView, UsageView
from scalar_api.printing.csv import csv_of
from scalar_api.printing.formats import Format, wanted
from scalar_api.problems import responses
from scalar_api.tenancy import OrganisationQuery, seen_by

router = APIRouter(prefix="/v1", tags=["billing"])
_OFFERED = (Format.JSON, Format.CSV)
_BY = [Grouping.DAY, Grouping.JOB, Grouping.TIER, Grouping.GPU_TYPE]
_DAY = timedelta(days=1)
_MOST_DAYS = 400


@router.get(
    "/usage",
    response_model=UsageView,
    responses={200: {"content": {"text/csv": {}}, "description": "JSON, or CSV."}, **responses(NotFound)},
)
def get_usage(
    caller: Person,
    database: Db,
    now: Now,
    start: Annotated[
        date | None, Query(description="The first day, UTC; the first of this month, if left out.")
    ] = None,
    end: Annotated[date | None, Query(description="The last day; today, if left out.")] = None,
    by: Annotated[list[Grouping] | None, Query(description="What to group by; repeatable.")] = None,
    organisation: OrganisationQuery = None,
    format: Annotated[Format | None, Query(description="`json` or `csv`; or say so by `Accept`.")] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> UsageView | Response:
    """GPU-seconds and dollars by day, job, tier and GPU type, or as you group them; as they are rated by now.

    An hour is rated minutes after it is over. What the platform lost is shown as credits.
    """
    first, last = _days(start, end, now)
    form = wanted(format, accept, _OFFERED)
    with database.transaction() as tx:
        whose = seen_by(tx, caller, organisation)
        report = usage_report(tx, whose, _midnight(first), _midnight(last + _DAY), by or _BY)
    if form is Format.CSV:
        return _as_csv(report, f"usage-{first}-{last}.csv")
    return UsageView.of(report, first, last)


def _days(start: date | None, end: date | None, now: datetime) -> tuple[date, date]:
    last = end or now.date()
    first = start or last.replace(day=1)
    if not timedelta(0) <= last - first < timedelta(days=_MOST_DAYS):
        raise InvalidRequest(f"start and end: at most {_MOST_DAYS} days, the first one first.")
    return first, last


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _as_csv(report: UsageReport, name: str) -> Response:
    columns = list(UsageRowView.model_fields)
    rows = (list(UsageRowView.of(row).model_dump().values()) for row in report.rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(csv_of(columns, rows), media_type="text/csv; charset=utf-8", headers=headers)
