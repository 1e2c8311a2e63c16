"""What `scalar replay` does: reads a history, and plays it under the policies that were named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from scalar.billing.rate_cards import RateCard
from scalar.billing.rate_cards_store import cards_between
from scalar.errors import InvalidRequest
from scalar.replay.history import price_of, read_history
from scalar.replay.model import ORACLE, Part, Report
from scalar.replay.policies import policy_named
from scalar.replay.reporting import oracle_of, replay_parts
from scalar.replay.store import any_job_ran, recorded_parts
from scalar_api.admin import open_database


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is replayed, and the rate cards that were in force."""

    parts: Sequence[Part]
    cards: Sequence[RateCard] = ()

    @property
    def jobs(self) -> int:
        return sum(len(part.history.arrivals) for part in self.parts)


def recorded(start: datetime, end: datetime) -> Recording:
    """Raises: `ScalarError` where there is no database, or nothing in it."""
    with open_database() as database, database.transaction() as tx:
        parts, cards = recorded_parts(tx, start, end), cards_between(tx, start, end)
        ran = any_job_ran(tx, start, end)
    if not ran:
        raise InvalidRequest("No job that ran in that time is recorded.")
    if not parts:
        raise InvalidRequest("No hour of the market's prices is recorded.")
    return Recording(parts=parts, cards=cards)


def from_files(
    jobs: Path, start: datetime, end: datetime, *, price: str, prices: Path | None, flex: float, slack_hours: int
) -> Recording:
    """Raises: `InvalidRequest` where a file can't be read, or has no job of that time, or the price is none."""
    slack, dollars = timedelta(hours=slack_hours), price_of(price, "--price")
    found = read_history(jobs, start=start, end=end, price=dollars, prices=prices, flex_share=flex, slack=slack)
    if not found.arrivals:
        raise InvalidRequest(f"{jobs}: no job came in that time.")
    return Recording(parts=[Part(history=found)])


def played(
    recording: Recording, policies: Sequence[str], progress: Callable[[str, float], None] = lambda *_: None
) -> list[Report]:
    """One report a policy; `progress`: which one, and how much of it is done."""
    reports = []
    for name in policies:
        if name == ORACLE:
            reports.append(oracle_of(recording.parts, recording.cards))
            continue
        reports.append(
            replay_parts(recording.parts, partial(policy_named, name), recording.cards, partial(progress, name))
        )
    return reports
