"""/v0/quote, the oldest way to ask for a price, as an adapter: total cents for a block of 8-GPU nodes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from sandbox.market.access import Caller, TheWorld
from sandbox.market.refusals import Refusal
from sandbox.market.skus import Sku
from sandbox.market.values import Preview, Side
from sandbox.market.wire import MINUTE, cents
from sandbox.market.world import World

router = APIRouter(prefix="/v0")

_HOUR = 3600
_LONGEST = 94_608_000
_SLACK = 59 * MINUTE
_INSTANCE_TYPES = {"h100i": "H100", "h100v": "H100", "h200ki": "H200"}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    side: Side
    nodes: int
    first: int
    """The start: a whole minute, or an hour where it isn't now."""
    shortest: int
    longest: int
    now: int

    @property
    def immediate(self) -> bool:
        return self.first < self.now + MINUTE

    def seconds(self) -> int | None:
        """The shortest length whose end is on the hour, as this generation of the API has it."""
        end = -(-(self.first + self.shortest) // _HOUR) * _HOUR
        return end - self.first if end - self.first <= self.longest else None


@router.get("/quote")
def quote(
    world: TheWorld,
    caller: Caller,
    side: Literal["buy", "sell"],
    quantity: Annotated[int, Query(ge=1, le=1024)],
    duration: Annotated[int | None, Query(ge=_HOUR, le=_LONGEST)] = None,
    min_duration: Annotated[int | None, Query(ge=_HOUR, le=_LONGEST)] = None,
    max_duration: Annotated[int | None, Query(ge=_HOUR, le=_LONGEST)] = None,
    min_start_date: str = "NOW",
    instance_type: str | None = None,
    cluster: str | None = None,
) -> Any:
    with world.turn() as now:
        shortest, longest = _lengths(duration, min_duration, max_duration)
        asked = _Asked(
            side=Side(side),
            nodes=quantity,
            first=_start(min_start_date, int(now)),
            shortest=shortest,
            longest=longest,
            now=int(now),
        )
        skus = [sku for sku in world.skus.values() if _is_asked(sku, instance_type, cluster)]
        found = _preview(world, caller.customer, asked, skus)
        answer: dict[str, Any] = {"object": "quote", "side": side, "quote": None}
        if found is None:
            return answer | {"no_quote_reason": "no_availability" if skus else "no_matching_clusters"}
        return answer | {"quote": _quoted(world, asked, found)}


def _preview(world: World, customer: str, asked: _Asked, skus: list[Sku]) -> Preview | None:
    seconds = asked.seconds()
    if seconds is None or not skus:
        return None
    ids = [sku.id for sku in skus]
    return world.engine.preview(asked.side, ids, asked.first, seconds, asked.nodes, now=asked.now, account_id=customer)


def _quoted(world: World, asked: _Asked, found: Preview) -> dict[str, Any]:
    sku = world.skus[found.sku]
    end = asked.first + (asked.seconds() or 0)
    return {
        "price": cents(found.value, world.rules.cents),
        "quantity": asked.nodes,
        "start_at": "NOW" if asked.immediate else _iso(asked.first),
        "end_at": _iso(end),
        "instance_type": next(name for name, model in _INSTANCE_TYPES.items() if model == sku.accelerator),
        "zone": sku.alias,
    }


def _lengths(duration: int | None, shortest: int | None, longest: int | None) -> tuple[int, int]:
    """Raises: `Refusal` 400."""
    if duration is not None:
        return duration, duration + _SLACK
    if shortest is None or longest is None or longest < shortest:
        raise Refusal(400, "either duration, or min_duration and a max_duration that is no less")
    return shortest, longest


def _start(text: str, now: int) -> int:
    """Raises: `Refusal` 400."""
    if text.upper() == "NOW":
        return now - now % MINUTE + MINUTE
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(400, f"{text!r} is neither NOW nor a time in ISO 8601") from error
    start = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    if abs(start - now) <= MINUTE:
        return now - now % MINUTE + MINUTE
    if start % _HOUR or start < now:
        raise Refusal(400, "a start is NOW or an hour to come")
    return start


def _is_asked(sku: Sku, instance_type: str | None, cluster: str | None) -> bool:
    if cluster is not None:
        return sku.alias == cluster
    return instance_type is None or _INSTANCE_TYPES.get(instance_type) == sku.accelerator


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
