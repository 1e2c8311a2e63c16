"""What an organisation may still spend, and which of its credit goes first. Pure.

available = credit that is left + what it may owe - what it owes - what its jobs hold beyond what is rated
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Terms(StrEnum):
    INVOICED = "invoiced"
    """It owes up to its credit limit, or without one; an invoice comes at the end of the month."""
    PREPAID = "prepaid"
    """It spends what it has."""


@dataclass(frozen=True, kw_only=True)
class BillingAccount:
    """How an organisation pays. Amounts are micro-dollars."""

    organisation_id: str
    terms: Terms
    credit_limit: int | None
    """What it may owe; None: no limit. Nothing where it is prepaid."""
    grace: timedelta
    """How long its flex jobs run on once nothing is left."""
    empty_since: datetime | None

    @property
    def limited(self) -> bool:
        return self.terms is Terms.PREPAID or self.credit_limit is not None

    @property
    def stops_at(self) -> datetime | None:
        """From when on its flex jobs don't run; None: something is left."""
        return self.empty_since + self.grace if self.empty_since else None


class LotKind(StrEnum):
    PURCHASE = "purchase"
    """Paid for: it never expires."""
    GRANT = "grant"
    """Given."""


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Credit that came in at one time. Micro-dollars."""

    id: str
    organisation_id: str
    kind: LotKind
    amount: int
    used: int
    expired: int
    expires_at: datetime | None
    created_at: datetime
    note: str
    source: str

    @property
    def left(self) -> int:
        return self.amount - self.used - self.expired


@dataclass(frozen=True, kw_only=True)
class Position:
    """What an organisation has, owes and has promised to its jobs, at one moment. Micro-dollars."""

    credit: int
    """Left in lots that have not expired."""
    unbilled: int
    """Used, rated, not drawn from credit, and on no open invoice."""
    receivable: int
    """On open invoices."""
    written_off: int
    """Left on uncollectible invoices: a bad debt in the ledger, and owed all the same. It gives no credit back."""
    held: int
    """By jobs, beyond what of them is rated."""

    def available(self, account: BillingAccount | None) -> int | None:
        """What new jobs may hold; below zero: spent already. None: no limit."""
        if account is None or not account.limited:
            return None
        owed = self.unbilled + self.receivable + self.written_off
        return self.credit + (account.credit_limit or 0) - owed - self.held


@dataclass(frozen=True, kw_only=True)
class Part:
    """So much of one lot."""

    lot: Lot
    amount: int


def cover(owed: int, lots: Iterable[Lot], at: datetime) -> list[Part]:
    """What of which lot pays for what is owed. Lots that had expired by `at` pay for nothing."""
    parts = []
    for lot in in_turn(lots, at):
        amount = min(owed, lot.left)
        if amount > 0:
            parts.append(Part(lot=lot, amount=amount))
            owed -= amount
    return parts


def in_turn(lots: Iterable[Lot], at: datetime) -> list[Lot]:
    """Those that hold at this moment: what expires first goes first, what was bought goes last."""
    return sorted((lot for lot in lots if lot.expires_at is None or lot.expires_at > at), key=_turn)


def _turn(lot: Lot) -> tuple[bool, bool, float, datetime, str]:
    expires = lot.expires_at
    return (
        lot.kind is LotKind.PURCHASE,
        expires is None,
        expires.timestamp() if expires else 0.0,
        lot.created_at,
        lot.id,
    )
