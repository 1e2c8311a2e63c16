"""Rating: from hours of usage to lines with a price. Pure, and exact; rounded once a line.

Within a month an organisation's usage is counted in the order of hours, then run ids, then GPU types: its free seconds
are used up in that order, and so are the brackets and packages of each (GPU type, tier). What is credited is not
counted: it uses up neither free seconds nor brackets.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from scalar.billing.money import micros
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import RateCard, price_of, prices_for
from scalar.jobs.endings import Fault, TerminationReason

NOTHING = Decimal(0)
PLATFORM_REASONS = [reason.value for reason in TerminationReason if reason.fault is Fault.PLATFORM]
"""A run that ended so is credited: what it used is paid back whole."""

NO_CARD = "none"
"""The card of a line that takes back what was never used."""

Group = tuple[str, str, str]
"""(organisation, GPU type, tier): what quantities are counted by."""
MarketPrices = Mapping[tuple[datetime, str], Decimal]
"""(hour, GPU type) ─► dollars per GPU-second."""


class LineKind(StrEnum):
    USAGE = "usage"
    CREDIT = "credit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What one run used of one GPU type in one hour, and whose it is."""

    hour: datetime
    run_id: str
    job_id: str
    organisation_id: str
    key_id: str
    project: str | None
    tier: str
    gpu_type: str
    gpu_seconds: Decimal
    lost: bool = False
    """The run ended by the platform's fault."""

    @property
    def group(self) -> Group:
        return self.organisation_id, self.gpu_type, self.tier


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What it costs. A credit is negative, in seconds and in money."""

    use: Use
    kind: LineKind
    gpu_seconds: Decimal
    free_seconds: Decimal
    exact: Decimal
    """Dollars."""
    amount: int
    """Micro-dollars."""
    rate_card_id: str


@dataclass(frozen=True, kw_only=True)
class MonthToDate:
    """What was counted of a month, in the hours before those that are rated: a missing key is zero."""

    charged: Mapping[Group, Decimal] = field(default_factory=dict)
    """GPU-seconds, without the free ones."""
    free: Mapping[str, Decimal] = field(default_factory=dict)
    """By organisation: how many of its free seconds are gone."""


def rate(uses: Iterable[Use], book: RateBook, month_to_date: MonthToDate, market_prices: MarketPrices) -> list[Line]:
    """Lines of hours of one month, in the order in which they are counted.

    An organisation whose price depends on quantity is given with all its hours from some hour on, and `month_to_date`
    is what it had before that one: so the month's total is known.
    """
    ordered = sorted(uses, key=_position)
    cards = [book.card(use.organisation_id, use.hour) for use in ordered]
    counts = _counted(ordered, cards, month_to_date)
    month = _totals(ordered, counts, month_to_date)
    lines: list[Line] = []
    for use, card, count in zip(ordered, cards, counts, strict=True):
        dollars = price_of(card, use.gpu_type, use.tier).charge(
            count.before,
            use.gpu_seconds - count.free,
            month=month[use.group],
            market=market_prices.get((use.hour, use.gpu_type)),
        )
        lines += _lines(use, count.free, dollars, card.id)
    return lines


def month_totals(uses: Iterable[Use], book: RateBook, month_to_date: MonthToDate) -> Mapping[Group, Decimal]:
    """Charged GPU-seconds of the month, by group, once these are counted; `uses` as for `rate`."""
    ordered = sorted(uses, key=_position)
    cards = [book.card(use.organisation_id, use.hour) for use in ordered]
    return _totals(ordered, _counted(ordered, cards, month_to_date), month_to_date)


def less(counted: MonthToDate, lines: Iterable[Line]) -> MonthToDate:
    """What was counted without these lines."""
    charged, free = defaultdict(Decimal, counted.charged), defaultdict(Decimal, counted.free)
    for line in lines:
        charged[line.use.group] -= line.gpu_seconds - line.free_seconds
        free[line.use.organisation_id] -= line.free_seconds
    return MonthToDate(charged=charged, free=free)


def differences(wanted: Iterable[Line], standing: Iterable[Line]) -> list[Line]:
    """The lines to append, so that all of them add up to what is wanted. `standing`: sums, one a key of `wanted`."""
    stand = {_key(line): line for line in standing}
    found = [_difference(line, stand.pop(_key(line), None)) for line in wanted]
    gone = [replace(_negative(line), rate_card_id=NO_CARD) for line in stand.values()]
    return [line for line in (*found, *gone) if line.gpu_seconds or line.free_seconds or line.exact or line.amount]


def worst_case(card: RateCard, tier: str, gpu_type: str | None, gpus: int, seconds: int | Decimal) -> Decimal:
    """Dollars that a job of so many GPUs (of all its nodes) never costs more than, if it runs so long. An upper bound.

    `card`: one in force (`card_in_force`). `gpu_type`: None where any will do.
    """
    return max(model.at_most(gpus * Decimal(seconds)) for model in prices_for(card, gpu_type, tier))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    before: Decimal
    """Charged seconds of its group before it."""
    free: Decimal
    """How many of its own are free."""


def _counted(ordered: Iterable[Use], cards: Iterable[RateCard], month_to_date: MonthToDate) -> list[_Count]:
    """Where each stands in its month. What is credited takes no place."""
    charged = defaultdict(Decimal, month_to_date.charged)
    gone = defaultdict(Decimal, month_to_date.free)
    counts = []
    for use, card in zip(ordered, cards, strict=True):
        left = (card.free_gpu_seconds or NOTHING) - gone[use.organisation_id]
        free = NOTHING if use.lost else max(NOTHING, min(left, use.gpu_seconds))
        counts.append(_Count(before=charged[use.group], free=free))
        if not use.lost:
            charged[use.group] += use.gpu_seconds - free
            gone[use.organisation_id] += free
    return counts


def _totals(ordered: Iterable[Use], counts: Iterable[_Count], month_to_date: MonthToDate) -> Mapping[Group, Decimal]:
    totals = defaultdict(Decimal, month_to_date.charged)
    for use, count in zip(ordered, counts, strict=True):
        totals[use.group] += NOTHING if use.lost else use.gpu_seconds - count.free
    return totals


def _lines(use: Use, free: Decimal, dollars: Decimal, rate_card_id: str) -> list[Line]:
    usage = Line(
        use=use,
        kind=LineKind.USAGE,
        gpu_seconds=use.gpu_seconds,
        free_seconds=free,
        exact=dollars,
        amount=micros(dollars),
        rate_card_id=rate_card_id,
    )
    return [usage, _credit_of(usage)] if use.lost else [usage]


def _credit_of(usage: Line) -> Line:
    return replace(_negative(usage), kind=LineKind.CREDIT)


def _negative(line: Line) -> Line:
    return replace(
        line,
        gpu_seconds=-line.gpu_seconds,
        free_seconds=-line.free_seconds,
        exact=-line.exact,
        amount=-line.amount,
    )


def _difference(wanted: Line, stands: Line | None) -> Line:
    if stands is None:
        return wanted
    return replace(
        wanted,
        gpu_seconds=wanted.gpu_seconds - stands.gpu_seconds,
        free_seconds=wanted.free_seconds - stands.free_seconds,
        exact=wanted.exact - stands.exact,
        amount=wanted.amount - stands.amount,
    )


def _position(use: Use) -> tuple[datetime, str, str]:
    """The order in which usage is counted."""
    return use.hour, use.run_id, use.gpu_type


def _key(line: Line) -> tuple[datetime, str, str, LineKind]:
    return line.use.hour, line.use.run_id, line.use.gpu_type, line.kind
