"""From spans to hours. Pure, and exact: time is counted in whole microseconds."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.metering.model import HOUR, Span, UsageRecord, Window, hour_of

_MICROSECOND = timedelta(microseconds=1)


def usage_in(spans: Iterable[Span], window: Window) -> list[UsageRecord]:
    """GPU seconds by run and GPU type inside one hour; runs that used nothing in it are left out.

    A second belongs to the hour that it lies in, so that the hours of a span add up to the span.
    """
    totals: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for span in spans:
        totals[span.run_id, span.organisation_id, span.tier, span.gpu_type] += span.gpus * _overlap(span, window)
    return [
        UsageRecord(
            hour=window.start,
            run_id=run_id,
            organisation_id=organisation_id,
            tier=tier,
            gpu_type=gpu_type,
            gpu_seconds=seconds(microseconds),
        )
        for (run_id, organisation_id, tier, gpu_type), microseconds in sorted(totals.items())
        if microseconds > 0
    ]


def gpu_seconds(spans: Iterable[Span]) -> Decimal:
    """Of whole spans, wherever they lie."""
    return seconds(sum(span.gpus * ((span.end - span.start) // _MICROSECOND) for span in spans))


def hours_of(start: datetime, end: datetime) -> list[datetime]:
    """The start of each hour that [start, end] touches; one that begins just at `end` is not touched."""
    hours, hour = [], hour_of(start)
    while hour < end:
        hours.append(hour)
        hour += HOUR
    return hours


def seconds(microseconds: int) -> Decimal:
    return Decimal(microseconds) / 1_000_000


def _overlap(span: Span, window: Window) -> int:
    """Microseconds that lie in both."""
    return max((min(span.end, window.end) - max(span.start, window.start)) // _MICROSECOND, 0)
