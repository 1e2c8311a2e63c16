"""How the market answered, of every process that asks it: counted in Postgres, since most of them have no /metrics."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from scalar.database import Transaction
from scalar.errors import ScalarError
from scalar.market.calls import Call

log = structlog.get_logger(__name__)

UP_TO = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, math.inf)
"""Seconds: the upper bounds of the buckets that calls are counted in."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Attempts of one kind of call that ended in one way within one bucket's time; `seconds`: of all of them."""

    operation: str
    outcome: str
    up_to: float
    calls: int
    seconds: float


class CallLog:
    """What an `SfCompute` observes its calls with. That a call could not be counted is logged, and costs it nothing."""

    def __init__(self, transact: Callable[[], AbstractContextManager[Transaction]]) -> None:
        self._transact = transact

    def __call__(self, call: Call) -> None:
        try:
            with self._transact() as tx:
                count(tx, call)
        except ScalarError as error:
            log.warning("market.call_not_counted", operation=call.operation, error=error.message)


def count(tx: Transaction, call: Call) -> None:
    tx.execute(
        """insert into market_calls as c (operation, outcome, up_to, calls, seconds) values (%s, %s, %s, 1, %s)
           on conflict (operation, outcome, up_to)
           do update set calls = c.calls + 1, seconds = c.seconds + excluded.seconds""",
        [call.operation, call.outcome, UP_TO[bisect_left(UP_TO, call.seconds)], call.seconds],
    )


def counted(tx: Transaction) -> Sequence[Counted]:
    rows = tx.execute("select operation, outcome, up_to, calls, seconds from market_calls order by 1, 2, 3")
    return [Counted(**row) for row in rows]
