"""Months, by their first day; they begin and end at midnight UTC. Pure."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from scalar.errors import InvalidRequest

_MICROSECOND = timedelta(microseconds=1)


def month_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def start_of(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def end_of(month: date) -> datetime:
    """The moment that belongs to the next one already."""
    return start_of(next_month(month))


def last_moment_of(month: date) -> datetime:
    return end_of(month) - _MICROSECOND


def month_named(text: str) -> date:
    """Of `2026-01`. Raises: `InvalidRequest`."""
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidRequest("A month is written like 2026-01.") from None


def share_of(month: date, start: datetime, end: datetime | None) -> Fraction:
    """The part of the month that lies in [start, end)."""
    first, last = start_of(month), end_of(month)
    covered = min(end or last, last) - max(start, first)
    return max(Fraction(covered // _MICROSECOND, (last - first) // _MICROSECOND), Fraction(0))
