"""Supplies, uses and reservations with defaults. Hours count from noon."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from scalar.capacity.holds import FOREVER, Outlook, Supply, Use
from scalar.capacity.model import Reservation
from tests.made_up import NOON


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def a_supply(node_id: str | None = "node_1", gpus: int = 8, *, end: float | None = None, **changes: Any) -> Supply:
    fields = {"gpu_type": "H100", "gpus": gpus, "start": NOON, "end": FOREVER if end is None else at(end), **changes}
    return Supply(node_id=node_id, **fields)


def a_use(gpus: int = 1, *, until: float | None = None, node_id: str = "node_1", of: str = "org_2") -> Use:
    return Use(node_id=node_id, organisation_id=of, gpus=gpus, until=FOREVER if until is None else at(until))


def a_reservation(gpus: int = 8, start: float = 1, end: float = 2, *, of: str = "org_1", **changes: Any) -> Reservation:
    fields = {"id": "res_1", "gpu_type": "H100", "created_at": NOON, "released_at": None, **changes}
    return Reservation(organisation_id=of, gpus=gpus, start=at(start), end=at(end), **fields)


def an_outlook(
    *reservations: Reservation, supplies: Sequence[Supply] = (a_supply(),), uses: Sequence[Use] = (), now: float = 0
) -> Outlook:
    return Outlook(now=at(now), supplies=supplies, uses=uses, reservations=reservations)
