"""Taking many events at once, in the caller's transaction: read, decide, write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from scalar.database import Transaction
from scalar.metering import batch_store as store
from scalar.metering.batches import NewEvent, Refusal, refusal


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of a batch."""

    accepted: int
    known: int
    """Those that stood already, or came twice in the batch."""
    refused: Mapping[int, Refusal]
    """By their key in the batch."""


def take(tx: Transaction, events: Mapping[int, NewEvent], *, node_id: str | None, now: datetime) -> Taken:
    """Write those that may stand. `events`: by a key of the caller's. `node_id`: whose tasks; None: anybody's.

    No run of the batch starts or ends before this transaction does.
    """
    if not events:
        return Taken(accepted=0, known=0, refused={})
    runs = _runs(events.values())
    store.hold_runs(tx, runs)
    tasks = store.tasks_of(tx, runs, node_id)
    refused: dict[int, Refusal] = {}
    good: list[NewEvent] = []
    for key, event in events.items():
        why_not = refusal(event, tasks.get(event.task), now)
        if why_not is None:
            good.append(event)
        else:
            refused[key] = why_not
    accepted = store.record_events(tx, good)
    return Taken(accepted=accepted, known=len(good) - accepted, refused=refused)


def _runs(events: Iterable[NewEvent]) -> list[str]:
    return sorted({event.run_id for event in events})
