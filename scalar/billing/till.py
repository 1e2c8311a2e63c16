"""What the loops between our books and Stripe are given."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from scalar.billing.stripe_errors import StripeError
from scalar.billing.stripe_settings import DunningSettings
from scalar.database import Transaction

if TYPE_CHECKING:
    # The library takes a second to load, which whoever needs no answer of it should not wait for.
    from scalar.billing.stripe import Stripe

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=2)
"""Longer than anybody works on one thing; after it, somebody else takes it up."""


@dataclass(frozen=True, kw_only=True)
class Till:
    """No transaction is open while it asks Stripe."""

    stripe: "Stripe"
    settings: DunningSettings
    transact: Callable[[], AbstractContextManager[Transaction]]
    clock: Callable[[], datetime]


@dataclass
class Done:
    """What a pass did."""

    moved: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, subject: str, error: Exception) -> None:
        if isinstance(error, StripeError):
            log.warning("stripe.problem", subject=subject, error=str(error))
        else:
            # Nobody has thought of it: where it happened is what somebody will want to know.
            log.error("stripe.bug", subject=subject, exc_info=error)
        self.problems.append(f"{subject}: {described(error)}")

    def add(self, other: "Done") -> None:
        self.moved += other.moved
        self.problems += other.problems


def described(error: Exception) -> str:
    """In its own words where it is Stripe's; with its kind where it is nobody's."""
    return str(error) if isinstance(error, StripeError) else f"{type(error).__name__}: {error}"


def pause_after(tries: int) -> timedelta:
    """Half a minute, then twice as long each time, at most an hour."""
    return min(timedelta(seconds=15 * 2 ** min(tries, 10)), timedelta(hours=1))
