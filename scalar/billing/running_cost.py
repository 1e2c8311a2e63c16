"""What jobs have cost until now: rated hours as they stand, the rest from the usage events, rated here and now."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from scalar.billing import rate_cards_store
from scalar.billing import rated_store as store
from scalar.billing.money import dollars
from scalar.billing.rate_book import RateBook
from scalar.billing.rated_usage import month_of
from scalar.billing.rating import MonthToDate, Use, rate
from scalar.database import Transaction
from scalar.metering.model import HOUR, Window
from scalar.metering.usage import hours_of, usage_in


def cost_so_far(tx: Transaction, job_id: str) -> Decimal:
    """Dollars, to the micro-dollar, of all the job's runs, up to the last sign of life of each.

    What the platform lost costs nothing. The last hour or two are an estimate until they are rated: by free seconds,
    brackets and packages as they would be if nothing more came, and by the market as far as it is known.
    """
    return costs_so_far(tx, [job_id])[job_id]


def costs_so_far(tx: Transaction, job_ids: Sequence[str]) -> dict[str, Decimal]:
    """The same of many jobs."""
    rated = store.rated_hours_of(tx, job_ids)
    micros = dict.fromkeys(job_ids, 0)
    for line in rated:
        micros[line.job_id] += line.amount
    for use, amount in _unrated(tx, job_ids, {(line.hour, line.run_id) for line in rated}):
        micros[use.job_id] += amount
    return {job_id: dollars(amount) for job_id, amount in micros.items()}


def _unrated(tx: Transaction, job_ids: Sequence[str], rated: set[tuple[datetime, str]]) -> list[tuple[Use, int]]:
    """Each run and hour that has no lines, and micro-dollars for it."""
    uses = [use for use in _uses(store.spans_of_jobs(tx, job_ids)) if (use.hour, use.run_id) not in rated]
    by_month: dict[datetime, list[Use]] = defaultdict(list)
    for use in uses:
        by_month[month_of(use.hour).start].append(use)
    return [priced for month, group in by_month.items() for priced in _priced(tx, month, group)]


def _uses(spans: Iterable[store.JobSpan]) -> list[Use]:
    by_run: dict[str, list[store.JobSpan]] = defaultdict(list)
    for each in spans:
        by_run[each.span.run_id].append(each)
    return [use for group in by_run.values() for use in _uses_of_run(group)]


def _uses_of_run(group: Sequence[store.JobSpan]) -> list[Use]:
    first, spans = group[0], [each.span for each in group]
    return [
        Use(
            hour=hour,
            run_id=record.run_id,
            job_id=first.job_id,
            organisation_id=record.organisation_id,
            key_id=first.key_id,
            project=first.project,
            tier=record.tier,
            gpu_type=record.gpu_type,
            gpu_seconds=record.gpu_seconds,
        )
        for hour in hours_of(min(span.start for span in spans), max(span.end for span in spans))
        for record in usage_in(spans, Window(start=hour, end=hour + HOUR))
    ]


def _priced(tx: Transaction, month: datetime, uses: Sequence[Use]) -> list[tuple[Use, int]]:
    window, organisations = month_of(month), sorted({use.organisation_id for use in uses})
    book = RateBook(rate_cards_store.cards_between(tx, window.start, window.end, organisations))
    counted = [each for each in organisations if any(card.depends_on_quantity for card in book.cards(each, window))]
    before = store.counted(tx, counted, window.start) if counted else MonthToDate()
    others = _others(tx, counted, uses, window) if counted else []
    lines = rate([*uses, *others], book, before, _market_prices(tx, uses))
    mine = {use.job_id for use in uses}
    return [(line.use, line.amount) for line in lines if line.use.job_id in mine]


def _others(tx: Transaction, organisations: Sequence[str], uses: Sequence[Use], window: Window) -> list[Use]:
    """What their other jobs have used of the month and is not rated: it takes its place in brackets, too."""
    since = max(store.rated_until(tx) or window.start, window.start)
    spans = store.other_spans(tx, organisations, sorted({use.job_id for use in uses}), since)
    return [use for use in _uses(spans) if use.hour < window.end]


def _market_prices(tx: Transaction, uses: Sequence[Use]) -> dict[tuple[datetime, str], Decimal]:
    """Of each hour: as it was fixed, or what rating would fix now."""
    hours = {use.hour for use in uses}
    known = {
        (hour, gpu_type): price for hour in hours for gpu_type, price in store.market_prices_known(tx, hour).items()
    }
    return known | store.market_prices(tx, hours)
