"""What a person who watches a demo week reads: lines as it goes by, and what came of it. Pure: values in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from scalar.market.guards import Caps
from scalar.replay.model import Report
from scalar_orchestration.demo.findings import Ahead, Standing, Waits

_COLUMNS = (
    "policy", "cost", "revenue", "margin", "finished", "fast wait p95", "late flex", "interrupted", "used of owned",
)  # fmt: skip
_HEAD = f"{'':16}  nodes  running  queued  orders      spent  refused     margin"


def head() -> str:
    return _HEAD


def line(at: datetime, now: Standing) -> str:
    return (
        f"{at:%a %d %b %H:%M}  {now.nodes:5}  {now.running:7}  {now.queued:6}  {now.orders:6}  {_dollars(now.spent):>9}"
        f"  {now.refused:7}  {_dollars(now.revenue - now.cost):>9}"
    )


def day(at: datetime, foreseen: float, came: float | None) -> str:
    """`foreseen`: of the day that begins; `came`: of the one that is over, on average."""
    before = "" if came is None else f"yesterday {came:.1f} GPUs were wanted on average; "
    return f"{at:%A}: {before}{foreseen:.1f} are foreseen for today"


def outcome(
    *,
    orders: Mapping[str, int],
    refused: Mapping[str, int],
    most: tuple[Decimal, Decimal, Decimal],
    caps: Caps,
    ahead: Ahead,
    waits: Mapping[str, Waits],
    turned_away: int,
    trust: Sequence[str],
) -> Iterator[str]:
    yield "Orders      " + (", ".join(f"{n} {what}" for what, n in orders.items()) or "none")
    limits = (caps.per_order, caps.per_hour, caps.per_day)
    names = ("an order", "an hour", "a day")
    spent = (f"{_dollars(each)} of {_dollars(cap)} {n}" for each, cap, n in zip(most, limits, names, strict=True))
    yield "Caps        at most " + ", ".join(spent)
    yield "Refused     " + (f"{sum(refused.values())} planned orders were not placed:" if refused else "nothing")
    yield from (f"              {n} x {why}" for why, n in list(refused.items())[:5])
    yield (
        f"Ahead       {ahead.machines} machines were bought before any job asked for them; {ahead.used} were used,"
        f" {_share(ahead.in_time, ahead.used)} of these were ready before their first job came,"
        f" {ahead.until_used:.0f} min before (median)"
    )
    for name, each in waits.items():
        yield (
            f"Waits       {name}: {each.jobs} jobs, {each.at_once:.0%} started at once; median {_time(each.median)},"
            f" 95 of 100 within {_time(each.p95)}"
        )
    if turned_away:
        yield f"Turned away {turned_away} jobs that their customers could not pay for"
    yield from (f"Forecast    {each}" for each in trust)


def table(reports: Sequence[Report]) -> Iterator[str]:
    rows = [_COLUMNS, *(_row(each) for each in reports)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(len(first)), *rest])


def _row(each: Report) -> tuple[str, ...]:
    return (
        each.policy,
        _dollars(each.cost),
        _dollars(each.revenue),
        _dollars(each.margin),
        f"{each.finished} of {each.jobs}",
        _time(each.fast_wait_p95),
        f"{each.missed_deadlines} of {each.deadlines}",
        str(each.interruptions),
        f"{each.utilisation:.0%}",
    )


def _dollars(amount: Decimal) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount):,.0f}"


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else "none"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
