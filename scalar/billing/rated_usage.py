"""Rating an hour: each function is one deed in the caller's transaction.

    an hour's usage x cards in force ─► what each run costs ─► less what its lines say ─► new lines, and one posting

What it costs may hang on the rest of its month. Where it does, the organisation's later hours are rated again with it
(free seconds, brackets and packages are used up in order), and where a volume price changes, its earlier ones too.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scalar.billing import ledger_store, rate_cards_store
from scalar.billing import rated_store as store
from scalar.billing.ledger import CREDITS, REVENUE, Posting, move, netted, unbilled
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import price_of
from scalar.billing.rating import NOTHING, Line, LineKind, MonthToDate, Use, differences, less, month_totals, rate
from scalar.database import Transaction
from scalar.metering.model import HOUR, Window, hour_of


@dataclass(frozen=True, kw_only=True)
class Rated:
    """What one rating of an hour came to."""

    hour: datetime
    lines: list[Line]
    """What was appended: differences to what stood."""

    @property
    def amount(self) -> int:
        """Micro-dollars, credits taken off."""
        return sum(line.amount for line in self.lines)

    @property
    def organisations(self) -> list[str]:
        """Whose unbilled usage it changed."""
        return sorted({line.use.organisation_id for line in self.lines})


def rate_hour(tx: Transaction, hour: datetime, now: datetime) -> Rated:
    """Bring an hour's lines and the ledger to what is known of it now. Once more of the same does nothing.

    Raises: `Conflict` where the month of `now` is closed, and there is something to post to it.
    """
    hour = hour_of(hour)
    store.one_at_a_time(tx)
    build = store.hold_build(tx, hour)
    store.fix_market_prices(tx, hour)
    lines = _new_lines(tx, hour)
    if lines:
        source = f"usage/{hour:%Y-%m-%dT%H}/{store.ratings(tx, hour) + 1}"
        store.append(tx, lines, ledger_source=source, now=now)
        store.count(tx, month_of(hour).start, source)
        ledger_store.post(tx, posting_of(lines, source, at=_books_of(tx, hour, now)))
    store.mark_rated(tx, hour, build, differs=bool(lines), now=now)
    return Rated(hour=hour, lines=lines)


def posting_of(lines: Iterable[Line], source: str, *, at: datetime) -> Posting:
    """One transaction of the ledger for many lines. Pure."""
    sums: Counter[tuple[str, LineKind]] = Counter()
    for line in lines:
        sums[line.use.organisation_id, line.kind] += line.amount
    entries = [
        entry
        for (organisation_id, kind), amount in sums.items()
        for entry in move(amount, debit=unbilled(organisation_id), credit=_EARNED[kind])
    ]
    return Posting(source=source, kind="usage", at=at, entries=netted(entries), description="Usage, rated")


def month_of(moment: datetime) -> Window:
    """The UTC month that it lies in."""
    start = hour_of(moment).replace(day=1, hour=0)
    return Window(start=start, end=(start + timedelta(days=32)).replace(day=1))


_EARNED = {LineKind.USAGE: REVENUE, LineKind.CREDIT: CREDITS}


def _new_lines(tx: Transaction, hour: datetime) -> list[Line]:
    uses, standing, month = store.uses_in(tx, hour), store.standing_in(tx, hour), month_of(hour)
    changed = _changed(uses, standing)
    uses = [use for use in uses if use.organisation_id in changed]
    standing = [line for line in standing if line.use.organisation_id in changed]
    book = RateBook(rate_cards_store.cards_between(tx, month.start, month.end, sorted(changed)))
    counted = {each for each in changed if any(card.depends_on_quantity for card in book.cards(each, month))}
    after = counted | _newly_lost(uses, standing)
    more_uses, more_standing = _rated(tx, after, Window(start=hour + HOUR, end=month.end))
    uses, standing = uses + more_uses, standing + more_standing
    total = store.counted(tx, sorted(counted), month.start) if counted else MonthToDate()
    before = less(total, [line for line in standing if line.use.organisation_id in counted])
    repriced = _repriced(book, uses, before, total, counted, month)
    if repriced:
        more_uses, more_standing = _rated(tx, repriced, Window(start=month.start, end=hour))
        uses, standing, before = uses + more_uses, standing + more_standing, less(before, more_standing)
    prices = store.market_prices(tx, {use.hour for use in uses})
    return differences(rate(uses, book, before, prices), standing)


def _rated(tx: Transaction, organisation_ids: Collection[str], window: Window) -> tuple[list[Use], list[Line]]:
    """What these used in the hours of the window that are rated, and what their lines say."""
    if not organisation_ids or not store.any_rated(tx, window):
        return [], []
    ids = sorted(organisation_ids)
    return store.uses_of(tx, ids, window), store.standing_of(tx, ids, window)


def _changed(uses: Iterable[Use], standing: Iterable[Line]) -> set[str]:
    """Organisations whose usage of the hour, or what is credited of it, is not what its lines say."""
    is_ = {(use.organisation_id, use.run_id, use.gpu_type, LineKind.USAGE): use.gpu_seconds for use in uses}
    is_ |= {(use.organisation_id, use.run_id, use.gpu_type, LineKind.CREDIT): -use.gpu_seconds for use in _lost(uses)}
    was = {
        (line.use.organisation_id, line.use.run_id, line.use.gpu_type, line.kind): line.gpu_seconds
        for line in standing
        if line.gpu_seconds
    }
    return {key[0] for key in is_.keys() | was.keys() if is_.get(key) != was.get(key)}


def _newly_lost(uses: Iterable[Use], standing: Iterable[Line]) -> set[str]:
    """Organisations of runs that were lost since the hour was rated: their later hours are to be credited, too."""
    credited = {line.use.run_id for line in standing if line.kind is LineKind.CREDIT}
    return {use.organisation_id for use in _lost(uses) if use.run_id not in credited}


def _lost(uses: Iterable[Use]) -> list[Use]:
    return [use for use in uses if use.lost]


def _repriced(
    book: RateBook, uses: Iterable[Use], before: MonthToDate, was: MonthToDate, counted: Collection[str], month: Window
) -> set[str]:
    """Organisations whose month has come to another volume price: all of it is to be rated again."""
    cards = {each: [card for card in book.cards(each, month) if card.depends_on_the_total] for each in counted}
    totals = month_totals([use for use in uses if cards.get(use.organisation_id)], book, before)
    return {
        organisation_id
        for (organisation_id, gpu_type, tier), total in totals.items()
        for card in cards.get(organisation_id, ())
        if price_of(card, gpu_type, tier).reprices(was.charged.get((organisation_id, gpu_type, tier), NOTHING), total)
    }


def _books_of(tx: Transaction, hour: datetime, now: datetime) -> datetime:
    """When the books see it: in its hour, or now where its month is closed."""
    return now if month_of(hour).start.date() in ledger_store.closed_periods(tx) else hour
