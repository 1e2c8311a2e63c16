"""Many events at once: which of them may stand. Pure.

A batch changes the state of nothing. So it may only say what is known of a task already: its own start, its own end,
and signs of life between them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scalar.metering.model import UsageKind

CLOCK_SLACK = timedelta(minutes=5)
"""How far a node's clock may be ahead of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """What somebody says has happened; whose it is and what it costs is not theirs to say."""

    run_id: str
    rank: int
    kind: UsageKind
    sequence: int
    at: datetime

    @property
    def task(self) -> tuple[str, int]:
        return self.run_id, self.rank


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskTimes:
    """A task's own time, as its node has reported it."""

    started_at: datetime | None
    ended_at: datetime | None


class Refusal(StrEnum):
    """Why an event was not taken."""

    MALFORMED = "malformed"
    UNKNOWN_TASK = "unknown_task"
    """There is none, or it is another node's."""
    NOT_STARTED = "not_started"
    NOT_ENDED = "not_ended"
    OUTSIDE_ITS_TIME = "outside_its_time"

    @property
    def advice(self) -> str:
        """For whoever sent it."""
        return _ADVICE[self]


_ADVICE = {
    Refusal.MALFORMED: "Not the shape of an event.",
    Refusal.UNKNOWN_TASK: "There is no such task, or it is another node's.",
    Refusal.NOT_STARTED: "The task is not known to have started: send the node's report of that first.",
    Refusal.NOT_ENDED: "The task is not known to have ended: send the node's report of that first.",
    Refusal.OUTSIDE_ITS_TIME: "Not the task's own start or end, before its start, after its end, or in the future.",
}


def refusal(event: NewEvent, task: TaskTimes | None, now: datetime) -> Refusal | None:
    """Why it may not stand; None: it may. `task`: None where this reporter has no such task."""
    if task is None:
        return Refusal.UNKNOWN_TASK
    if task.started_at is None:
        return Refusal.NOT_STARTED
    if event.kind is UsageKind.ALIVE:
        fits = task.started_at <= event.at <= (task.ended_at or now + CLOCK_SLACK)
    elif event.kind is UsageKind.STARTED:
        fits = event.at == task.started_at
    elif task.ended_at is None:
        return Refusal.NOT_ENDED
    else:
        fits = event.at == task.ended_at
    return None if fits else Refusal.OUTSIDE_ITS_TIME
