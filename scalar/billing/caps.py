"""Spending caps: how much an organisation, a key or a project may spend in a month (UTC).

What counts is what is rated in the month, and what jobs hold beyond that. A job's project is its label `project`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from scalar.billing import cap_store, wallet_store
from scalar.billing.money import usd
from scalar.database import Transaction
from scalar.errors import InvalidRequest, SpendCapReached
from scalar.jobs.model import Job


class Scope(StrEnum):
    ORGANISATION = "organisation"
    KEY = "key"
    PROJECT = "project"


@dataclass(frozen=True, kw_only=True)
class Cap:
    """Micro-dollars in a month."""

    scope: Scope
    subject: str
    """The id of the organisation or the key, or the project's name."""
    limit: int


@dataclass(frozen=True, kw_only=True)
class CapUse:
    """How much of a cap is gone this month."""

    cap: Cap
    shown: str
    """The subject as people know it: a key by its prefix."""
    spent: int
    held: int

    @property
    def left(self) -> int:
        """Below zero: over it."""
        return self.cap.limit - self.spent - self.held


@dataclass(frozen=True, kw_only=True)
class CapRequest:
    scope: Scope
    subject: str | None
    """A key by its id or prefix; nothing for the organisation as a whole."""
    limit: int | None
    """Micro-dollars in a month; None: no cap any more."""


def month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def set_caps(tx: Transaction, organisation_id: str, wanted: Iterable[CapRequest]) -> None:
    """Those that are named; the others stay. Raises: `InvalidRequest` where it has no such key."""
    wallet_store.open_account(tx, organisation_id)
    wallet_store.account(tx, organisation_id, for_update=True)
    for each in wanted:
        subject = _subject(tx, organisation_id, each)
        if each.limit is None:
            cap_store.remove(tx, organisation_id, each.scope, subject)
        else:
            cap_store.put(tx, organisation_id, each.scope, subject, each.limit)


def cap_uses(tx: Transaction, organisation_id: str, now: datetime) -> list[CapUse]:
    """Every cap of an organisation, with what is gone of it."""
    return [_use(row) for row in cap_store.uses(tx, organisation_id, month_of(now))]


def refuse_beyond(tx: Transaction, job: Job, now: datetime) -> None:
    """Raises: `SpendCapReached` where a job's hold, which stands by now, is more than a cap of it leaves."""
    for row in cap_store.uses(tx, job.organisation_id, month_of(now), of_job=job.id):
        use = _use(row)
        if use.left < 0:
            raise SpendCapReached(
                f"The monthly cap of {_name(use)} is {usd(use.cap.limit)}; with this job {usd(use.spent)} of it would"
                f" be spent and {usd(use.held)} held: {usd(-use.left)} too much. Have the cap raised, wait for other"
                " jobs to end or for the next month, or ask for less.",
                scope=use.cap.scope.value,
                subject=use.shown,
            )


def _subject(tx: Transaction, organisation_id: str, wanted: CapRequest) -> str:
    if wanted.scope is Scope.ORGANISATION:
        if wanted.subject not in (None, organisation_id):
            raise InvalidRequest("subject: a cap on the organisation as a whole has none.")
        return organisation_id
    if not wanted.subject:
        raise InvalidRequest(f"subject: say which {wanted.scope} is capped.")
    if wanted.scope is Scope.PROJECT:
        return wanted.subject
    key_id = cap_store.key_of(tx, organisation_id, wanted.subject)
    if key_id is None:
        raise InvalidRequest(f"subject: the organisation has no key {wanted.subject!r} (its id or prefix).")
    return key_id


def _use(row: cap_store.CapRow) -> CapUse:
    cap = Cap(scope=Scope(row.scope), subject=row.subject, limit=row.monthly_limit)
    return CapUse(cap=cap, shown=row.shown, spent=row.spent, held=row.held)


def _name(use: CapUse) -> str:
    return "your organisation" if use.cap.scope is Scope.ORGANISATION else f"the {use.cap.scope} {use.shown}"
