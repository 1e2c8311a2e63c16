"""What was used and what it costs, as it is rated by now: by day, job, tier, GPU type, project or key. SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from scalar.database import Transaction, one
from scalar.errors import InvalidRequest

MOST_ROWS = 50_000


class Grouping(StrEnum):
    DAY = "day"
    JOB = "job"
    TIER = "tier"
    GPU_TYPE = "gpu_type"
    PROJECT = "project"
    KEY = "key"


_COLUMNS = {
    Grouping.DAY: "(l.hour at time zone 'UTC')::date",
    Grouping.JOB: "l.job_id",
    Grouping.TIER: "l.tier",
    Grouping.GPU_TYPE: "l.gpu_type",
    Grouping.PROJECT: "l.project",
    Grouping.KEY: "l.key_id",
}
_NAMES = {Grouping.JOB: "job_id", Grouping.KEY: "key_id"}


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """GPU-seconds and micro-dollars; what it isn't grouped by is None. Credits are below zero."""

    organisation_id: str
    day: date | None = None
    job_id: str | None = None
    job_name: str | None = None
    tier: str | None = None
    gpu_type: str | None = None
    project: str | None = None
    key_id: str | None = None
    gpu_seconds: Decimal
    credited_seconds: Decimal
    usage: int
    credits: int

    @property
    def amount(self) -> int:
        return self.usage + self.credits


@dataclass(frozen=True, kw_only=True)
class UsageReport:
    rows: tuple[UsageRow, ...]
    rated_until: datetime | None
    """The end of the last hour that is rated: what was used since isn't in here."""


def usage_report(
    tx: Transaction, organisation_id: str | None, start: datetime, end: datetime, by: Sequence[Grouping]
) -> UsageReport:
    """Of one organisation, or of each, in [start, end). Raises: `InvalidRequest` where it has too many rows."""
    chosen = list(dict.fromkeys(by))
    columns = "".join(f", {_COLUMNS[each]} as {_NAMES.get(each, each.value)}" for each in chosen)
    keys = "".join(f", {number}" for number in range(2, len(chosen) + 2))
    rows = tx.execute(
        f"""with grouped as (
                select l.organisation_id{columns},
                    coalesce(sum(l.gpu_seconds) filter (where l.kind = 'usage'), 0) as gpu_seconds,
                    coalesce(sum(l.gpu_seconds) filter (where l.kind = 'credit'), 0) as credited_seconds,
                    coalesce(sum(l.amount) filter (where l.kind = 'usage'), 0)::bigint as usage,
                    coalesce(sum(l.amount) filter (where l.kind = 'credit'), 0)::bigint as credits
                from rated_lines l where (%(org)s::text is null or l.organisation_id = %(org)s)
                  and l.hour >= %(start)s and l.hour < %(end)s
                group by 1{keys} order by 1{keys} limit %(limit)s)
            select grouped.*{", j.name as job_name" if Grouping.JOB in chosen else ""} from grouped
                {"left join jobs j on j.id = grouped.job_id" if Grouping.JOB in chosen else ""} order by 1{keys}""",
        {"org": organisation_id, "start": start, "end": end, "limit": MOST_ROWS + 1},
    ).fetchall()
    if len(rows) > MOST_ROWS:
        raise InvalidRequest(f"That is more than {MOST_ROWS} rows: ask for fewer days, or group by less.")
    until = one(tx, "select max(hour) + interval '1 hour' as until from rated_hours")["until"]
    return UsageReport(rows=tuple(UsageRow(**row) for row in rows), rated_until=until)
