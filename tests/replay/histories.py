"""Histories with defaults, for tests to name only what matters to them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from scalar.jobs.model import Tier
from scalar.replay.model import Arrival, History, Setup

START = datetime(2026, 9, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def an_arrival(id: str, hours: float, *, runs: float = 1.0, gpus: int = 8, **changes: Any) -> Arrival:
    return Arrival(**{"id": id, "at": at(hours), "seconds": runs * 3600, "gpus": gpus, "tier": Tier.FAST, **changes})


def a_history(*arrivals: Arrival, hours: float = 24, price: str = "16.8", **changes: Any) -> History:
    ordered = tuple(sorted(arrivals, key=lambda each: (each.at, each.id)))
    return History(
        **{"start": START, "end": at(hours), "arrivals": ordered, "prices": {START: Decimal(price)}, **changes}
    )


def steady(nodes: int, hours: int, *, each_runs: float = 2.0) -> list[Arrival]:
    """So many nodes' worth of jobs, one after the other."""
    starts = [n * each_runs for n in range(int(hours / each_runs))]
    return [an_arrival(f"job_{n:02}_{start:06.1f}", start, runs=each_runs) for n in range(nodes) for start in starts]


SETUP = Setup()
