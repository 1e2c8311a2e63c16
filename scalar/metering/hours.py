"""Which hours are to be built, or built again. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scalar.metering.model import HOUR, hour_of
from scalar.metering.store import NewUsage
from scalar.metering.usage import hours_of


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """How far the events have been looked at, and the hours that were touched and are not over yet."""

    event_id: int = 0
    open_hours: frozenset[datetime] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {"event_id": self.event_id, "open_hours": sorted(hour.isoformat() for hour in self.open_hours)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Backlog":
        hours = frozenset(datetime.fromisoformat(hour) for hour in data["open_hours"])
        return cls(event_id=int(data["event_id"]), open_hours=hours)


def due(
    backlog: Backlog, fresh: Iterable[NewUsage], *, watermark: int, now: datetime
) -> tuple[list[datetime], Backlog]:
    """The hours to build now, oldest first, and what is left.

    An hour is due once it is over and some event has touched it since it was last asked for; the hour that runs is
    kept for later.
    """
    touched = set(backlog.open_hours)
    for usage in fresh:
        touched.update(hours_of(usage.start, usage.end))
    over = {hour for hour in touched if hour + HOUR <= hour_of(now)}
    return sorted(over), Backlog(event_id=watermark, open_hours=frozenset(touched - over))
