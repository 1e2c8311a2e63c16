"""What the agent remembers of a task, on disk, whatever happens to its container."""

from dataclasses import dataclass
from datetime import datetime

from scalar.protocol import TaskEnding


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """Written before what it tells of is done, so that no crash can make it tell too little."""

    starting: bool = False
    """`TaskStarting` is spooled."""
    started: bool = False
    """The engine may have been asked to start it."""
    boot_id: str | None = None
    """The machine's boot in which that was; None: not known."""
    stopped_for: TaskEnding | None = None
    """Why this agent asked the engine to stop it: the first reason stands."""
    running_at: datetime | None = None
    """The `at` of its `TaskRunning`, once spooled."""
    alive: int = 0
    """The highest sequence of a spooled `TaskAlive`."""
    ended: bool = False
    """`TaskEnded` is spooled: nothing may follow it."""


NOTHING = TaskRecord()
