"""What is owned, used, reserved and free, now and by hour; and reservations of it."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from scalar.capacity import reservations, reservations_store
from scalar.capacity.calendar import Hour, Level, calendar, present
from scalar.capacity.model import Reservation
from scalar.capacity.reservations import ReservationRequest
from scalar.errors import Conflict, NotFound
from scalar_api.dependencies import Db, Now, Person
from scalar_api.problems import responses
from scalar_api.views import Text

router = APIRouter(prefix="/v1", tags=["capacity"])
_OF_CAPACITY = responses()
_OF_A_RESERVATION = responses(NotFound, Conflict)
GpuType = Annotated[Text, Field(min_length=1, max_length=64, description="As `GET /v1/nodes` spells it.")]


class MachinesView(BaseModel):
    """A part of the GPUs: those of one kind of machine."""

    sku: str | None = Field(description="The market's id of the kind; null: machines that were not bought there.")
    nodes: int
    owned: int
    used: int
    unavailable: int


class LevelView(BaseModel):
    """GPUs of one type: at a moment, or at the worst moments of an hour."""

    gpu_type: str
    nodes: int
    owned: int
    used: int = Field(description="By runs; later: by those that may still run then.")
    reserved: int = Field(description="Kept for organisations, beyond what they use themselves.")
    unavailable: int = Field(description="Of machines that drain or are silent, as far as nothing runs on them.")
    free: int = Field(description="What is left.")
    overcommitted: int = Field(description="GPUs that are promised, and were lost since.")
    machines: list[MachinesView]

    @classmethod
    def of(cls, level: Level) -> Self:
        names = ("gpu_type", "nodes", "owned", "used", "reserved", "unavailable", "free", "overcommitted")
        machines = [MachinesView(**vars(each)) for each in level.machines]
        return cls(**{name: getattr(level, name) for name in names}, machines=machines)


class HourView(BaseModel):
    start: datetime
    end: datetime
    gpu_types: list[LevelView]

    @classmethod
    def of(cls, hour: Hour) -> Self:
        return cls(start=hour.start, end=hour.end, gpu_types=[LevelView.of(level) for level in hour.levels])


class ReservationView(BaseModel):
    id: str
    organisation_id: str
    gpu_type: str
    gpus: int
    start: datetime
    end: datetime
    created_at: datetime
    released_at: datetime | None

    @classmethod
    def of(cls, reservation: Reservation) -> Self:
        return cls(**vars(reservation))


class CapacityView(BaseModel):
    at: datetime
    now: list[LevelView]
    hours: list[HourView] = Field(description="UTC hours, the one that has begun first.")
    reservations: list[ReservationView] = Field(description="Those that hold: your own; an operator sees everybody's.")


class ReservationPage(BaseModel):
    data: list[ReservationView]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null: this was the last.")


class ReservationBody(BaseModel):
    """GPUs to be kept."""

    model_config = ConfigDict(extra="forbid")

    gpu_type: GpuType
    gpus: int = Field(ge=1, le=100_000)
    start: AwareDatetime
    end: AwareDatetime
    organisation: Annotated[Text, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="For operators: whose it is, by id or name."
    )


@router.get("/capacity", responses=_OF_CAPACITY)
def get_capacity(
    caller: Person,
    database: Db,
    now: Now,
    hours: Annotated[int, Query(ge=1, le=336)] = 24,
    gpu_type: Annotated[str | None, Query(min_length=1, max_length=64, description="Only this one.")] = None,
) -> CapacityView:
    """How many GPUs are owned, used, reserved and free, now and in the next hours."""
    with database.transaction() as tx:
        seen = reservations.outlook(tx, now)
        shown = reservations_store.held(tx, now, organisation_id=caller.organisation_id)
    return CapacityView(
        at=now,
        now=[LevelView.of(level) for level in present(seen, gpu_type)],
        hours=[HourView.of(hour) for hour in calendar(seen, hours, gpu_type)],
        reservations=[ReservationView.of(each) for each in shown if gpu_type in (None, each.gpu_type)],
    )


@router.post("/reservations", status_code=201, responses={200: {"model": ReservationView}, **_OF_A_RESERVATION})
def create_reservation(
    body: ReservationBody,
    caller: Person,
    database: Db,
    now: Now,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ReservationView:
    """Have GPUs kept for an organisation: all of them for the whole time, or a 409 that says when how many are free.

    Send an `Idempotency-Key`, and a request that is sent twice is one reservation: the second answer is 200.
    """
    with database.transaction() as tx:
        made = reservations.reserve(tx, ReservationRequest(**body.model_dump()), caller, idempotency_key, now)
    response.status_code = 201 if made.created else 200
    return ReservationView.of(made.reservation)


@router.get("/reservations", responses=_OF_CAPACITY)
def list_reservations(
    caller: Person,
    database: Db,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
) -> ReservationPage:
    """Your organisation's reservations, newest first, those that are over too; an operator sees everybody's."""
    with database.transaction() as tx:
        found = reservations_store.reservations(
            tx, organisation_id=caller.organisation_id, before=cursor, limit=limit + 1
        )
    page = [ReservationView.of(each) for each in found[:limit]]
    return ReservationPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.delete("/reservations/{reservation_id}", responses=_OF_A_RESERVATION)
def release_reservation(reservation_id: str, caller: Person, database: Db, now: Now) -> ReservationView:
    """Let others have what was kept. What your jobs use of it they keep. Releasing twice is the same as once."""
    with database.transaction() as tx:
        released = reservations.release(
            tx, reservation_id, organisation_id=caller.organisation_id, actor=caller.actor, now=now
        )
    return ReservationView.of(released)
