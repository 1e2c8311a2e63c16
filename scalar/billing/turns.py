"""A turn at what waits: one thing after another is taken up, worked on, and written down, each on its own.

What one of them can't be done for is noted, it is put off, and the next has its turn: neither what Stripe refuses nor
what we have not thought of keeps anything else from being done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from scalar.billing.till import LEASE, Done, Till
from scalar.database import Transaction

SECONDS = 30.0
"""How long a turn may last; what is under way then is finished. Dagster gives up on a sensor after 60."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Waiting(Generic[_T]):
    """Things of one kind."""

    lease: Callable[[Transaction, datetime, datetime, int], Sequence[_T]]
    """(now, until, how many): nobody else takes these up before then."""
    work: Callable[[Till, _T], None]
    put_off: Callable[[Till, _T, Exception], None]
    name: Callable[[_T], str]
    at_most: int


def take(till: Till, waiting: Waiting[_T], *, seconds: float = SECONDS) -> Done:
    """One at least, however little time there is: so none waits for ever behind what is slow."""
    done, until = Done(), till.clock() + timedelta(seconds=seconds)
    for _ in range(waiting.at_most):
        now = till.clock()
        with till.transact() as tx:
            leased = waiting.lease(tx, now, now + LEASE, 1)
        if not leased:
            break
        _work(till, waiting, leased[0], done)
        if till.clock() >= until:
            break
    return done


def _work(till: Till, waiting: Waiting[_T], one: _T, done: Done) -> None:
    try:
        waiting.work(till, one)
    except Exception as error:  # noqa: BLE001 - of one thing among many, whatever is wrong with it
        done.note(waiting.name(one), error)
        waiting.put_off(till, one, error)
    else:
        done.moved += 1
