"""Which policy plans in earnest: the one that looks ahead only where its replay was better. The rule is pure.

`auto`, by the last month that was replayed under both: `optimal` if its margin was at least the reactive one's, it
missed no more deadlines, and of twenty Fast jobs the last waited no more than five minutes longer. Otherwise, and where
no month was replayed, `reactive`. Only whole months count: of one that still runs, nobody knows what its blocks will be
worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scalar.database import Transaction
from scalar.planning import optimal, reactive
from scalar.replay import store
from scalar.replay.model import Report

AUTO = "auto"
_LONGER_AT_MOST = 300.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    policy: str
    why: str


def chosen(asked: str, reports: Mapping[str, Report]) -> Choice:
    """`asked`: the setting. `reports`: of the last whole month that was replayed, by policy."""
    if asked != AUTO:
        return Choice(policy=asked, why="The setting says so.")
    looking, now = reports.get(optimal.NAME), reports.get(reactive.NAME)
    if looking is None or now is None:
        return Choice(policy=reactive.NAME, why="No month was replayed under both policies.")
    said = f"replayed, looking ahead had a margin of ${looking.margin:,.2f}, the reactive policy ${now.margin:,.2f}"
    if looking.missed_deadlines > now.missed_deadlines:
        more = looking.missed_deadlines - now.missed_deadlines
        return Choice(policy=reactive.NAME, why=f"{said}; but it missed {more} more deadline(s).")
    if looking.fast_wait_p95 > now.fast_wait_p95 + _LONGER_AT_MOST:
        return Choice(policy=reactive.NAME, why=f"{said}; but fast jobs waited longer.")
    better = looking.margin >= now.margin
    return Choice(policy=optimal.NAME if better else reactive.NAME, why=f"{said}.")


def policy_in_force(tx: Transaction, asked: str) -> Choice:
    month = store.last_whole_month(tx)
    return chosen(asked, store.reports(tx, month) if month is not None else {})
