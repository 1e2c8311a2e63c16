"""The ledger: accounts, and postings that sum to zero. Pure.

Debits are positive, credits negative: what we own and what we spend grows by debits, what we owe and what we earn by
credits. Each organisation has accounts of its own; the rest are the company's.

    usage is rated          unbilled:org      ─► revenue
    an invoice is opened    receivable:org    ─► unbilled:org, tax, and the rest of the rounding
    a customer pays         cash:stripe       ─► receivable:org          (its fee: payment_fees ─► cash:stripe)
    a wallet is topped up   cash:stripe       ─► wallet:org
    an invoice takes credit wallet:org        ─► receivable:org
    a credit is granted     credits           ─► grant:org
    capacity is bought      prepaid_node_hours ─► cash:market            (used up: supplier_cost ─► prepaid_node_hours)
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"


@dataclass(frozen=True, kw_only=True)
class Account:
    name: str
    kind: Kind
    organisation_id: str | None = None


CASH_STRIPE = Account(name="cash:stripe", kind=Kind.ASSET)
"""At the payment provider."""
CASH_BANK = Account(name="cash:bank", kind=Kind.ASSET)
"""Paid to us otherwise than by card."""
CASH_MARKET = Account(name="cash:market", kind=Kind.ASSET)
"""Our balance at the market."""
PREPAID_NODE_HOURS = Account(name="prepaid_node_hours", kind=Kind.ASSET)
"""Bought, and not over yet."""
REVENUE = Account(name="revenue", kind=Kind.INCOME)
CREDITS = Account(name="credits", kind=Kind.EXPENSE)
"""What we gave away: grants, credits for our faults, coupons, corrections."""
SUPPLIER_COST = Account(name="supplier_cost", kind=Kind.EXPENSE)
RESALE = Account(name="resale", kind=Kind.INCOME)
MARKET_FEES = Account(name="market_fees", kind=Kind.EXPENSE)
TAX = Account(name="tax", kind=Kind.LIABILITY)
"""Collected, and owed to a state."""
PAYMENT_FEES = Account(name="payment_fees", kind=Kind.EXPENSE)
BAD_DEBT = Account(name="bad_debt", kind=Kind.EXPENSE)
ROUNDING = Account(name="rounding", kind=Kind.EXPENSE)
"""Between micro-dollars of usage and cents of an invoice: never more than half a cent an invoice line."""
OWNERS = Account(name="owners", kind=Kind.LIABILITY)
"""What the owners have put in: money sent to the market's balance from outside."""


def receivable(organisation_id: str) -> Account:
    """What it owes on open invoices."""
    return Account(name=f"receivable:{organisation_id}", kind=Kind.ASSET, organisation_id=organisation_id)


def unbilled(organisation_id: str) -> Account:
    """What it has used and is on no open invoice yet."""
    return Account(name=f"unbilled:{organisation_id}", kind=Kind.ASSET, organisation_id=organisation_id)


def wallet(organisation_id: str) -> Account:
    """What it has paid ahead."""
    return Account(name=f"wallet:{organisation_id}", kind=Kind.LIABILITY, organisation_id=organisation_id)


def grant(organisation_id: str) -> Account:
    """What it was given, and has not used."""
    return Account(name=f"grant:{organisation_id}", kind=Kind.LIABILITY, organisation_id=organisation_id)


@dataclass(frozen=True, kw_only=True)
class Entry:
    account: Account
    amount: int
    """Micro-dollars: a debit is positive, a credit negative."""


@dataclass(frozen=True, kw_only=True)
class Posting:
    """One transaction of the ledger. `source` says what it was made for; the same source is posted once."""

    source: str
    kind: str
    at: datetime
    entries: tuple[Entry, ...]
    description: str = ""

    def __post_init__(self) -> None:
        """Raises: `ValueError` where it doesn't sum to zero."""
        off = sum(entry.amount for entry in self.entries)
        if off:
            raise ValueError(f"{self.source} is off by {off} micro-dollars")


def move(amount: int, *, debit: Account, credit: Account) -> tuple[Entry, ...]:
    """So much from one to the other; nothing where it is zero."""
    if not amount:
        return ()
    return (Entry(account=debit, amount=amount), Entry(account=credit, amount=-amount))


def netted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """One entry an account, in the order of their names; those that come to nothing are left out."""
    sums: Counter[Account] = Counter()
    for entry in entries:
        sums[entry.account] += entry.amount
    return tuple(
        Entry(account=account, amount=amount)
        for account, amount in sorted(sums.items(), key=lambda each: each[0].name)
        if amount
    )
