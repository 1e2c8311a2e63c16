"""Usage events, spans of use, and hours."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

HOUR = timedelta(hours=1)


class UsageKind(StrEnum):
    STARTED = "started"
    """The container is up: the meter runs."""
    ALIVE = "alive"
    """Still up, a multiple of 60 s after the start."""
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Half-open, [start, end), aware, UTC."""

    start: datetime
    end: datetime

    @classmethod
    def hour(cls, start: datetime) -> "Window":
        """Raises: `ValueError` where `start` isn't the start of an hour."""
        start = start.astimezone(UTC)
        if start != hour_of(start):
            raise ValueError(f"{start.isoformat()} is not the start of an hour")
        return cls(start=start, end=start + HOUR)


@dataclass(frozen=True, kw_only=True)
class Span:
    """One task's use of its GPUs, from its `started` event to its last event."""

    run_id: str
    rank: int
    organisation_id: str
    tier: str
    gpu_type: str
    gpus: int
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """GPU seconds of one run on one GPU type in one hour, exact to the microsecond."""

    hour: datetime
    run_id: str
    organisation_id: str
    tier: str
    gpu_type: str
    gpu_seconds: Decimal


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
