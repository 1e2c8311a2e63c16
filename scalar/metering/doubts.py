"""Hours whose usage can't be right: they are not rated until that is mended, or somebody has looked and accepts it.

a GPU that two runs had at once, a run metered otherwise than it ran ─► the hour waits ─► accepted ─► rated as metered

What is accepted is the doubt as it was: where more comes to it, the hour waits again.
"""

from dataclasses import dataclass
from datetime import datetime

from scalar.accounts.store import audit
from scalar.database import Transaction
from scalar.errors import NotFound
from scalar.metering import store
from scalar.metering.model import Window


@dataclass(frozen=True, kw_only=True)
class Doubt:
    says: str
    accepted: bool = False


def doubts(tx: Transaction, window: Window) -> list[Doubt]:
    """About the usage of an hour."""
    twice = (
        f"{each.run_id} and {each.other_run_id} both had GPU {each.gpu_index} of {each.node_id}, for {each.seconds:f} s"
        for each in store.gpus_used_twice(tx, window)
    )
    differ = (
        f"{each.run_id} ran {each.own:f} GPU-seconds, and {each.metered:f} are metered"
        for each in store.runs_that_differ(tx, window)
    )
    found = sorted({*twice, *differ})
    accepted = store.accepted_doubts(tx, found) if found else set()
    return [Doubt(says=each, accepted=each in accepted) for each in found]


def accept(tx: Transaction, window: Window, *, reason: str, actor: str, now: datetime) -> list[Doubt]:
    """Let an hour be rated as it is metered, whatever is doubtful about it now. Repeats are no-ops.

    Raises: `NotFound` where nothing is.
    """
    found = doubts(tx, window)
    if not found:
        raise NotFound("Nothing about that hour's usage is in doubt.")
    new = [each.says for each in found if not each.accepted]
    if new:
        store.accept_doubts(tx, new, actor=actor, now=now)
        audit(tx, actor, "usage.accept", f"{window.start:%Y-%m-%dT%H}", doubts=new, reason=reason)
    return doubts(tx, window)
