"""Between the market's numbers and the wire's: prices as strings, schedules as lists, money as cents."""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from sandbox.market.refusals import invalid
from sandbox.market.schedules import Schedule

MINUTE = 60
_PRICE = re.compile(r"\d+\.\d+")
_CENT = 10_000


class Body(BaseModel):
    """A request's body: types are not guessed, unknown fields are not minded."""

    model_config = ConfigDict(strict=True, extra="ignore")


def _is_price(text: str) -> str:
    if not _PRICE.fullmatch(text):
        raise ValueError("a price is a string of digits with a decimal point, like 1.500000")
    return text


def _is_name(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}", text):
        raise ValueError("a name is 1 to 255 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
    return text


def _are_tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > 50:
        raise ValueError("there can be 50 tags")
    for key, value in tags.items():
        if not re.fullmatch(r"[^_,= ][^,= ]{0,127}", key) or not re.fullmatch(r"[^,=]{0,256}", value):
            raise ValueError(
                f"{key!r} is not a tag: no comma or equals, no space in keys, at most 128 and 256 characters"
            )
    return tags


Price = Annotated[str, AfterValidator(_is_price)]
Name = Annotated[str, AfterValidator(_is_name)]
Tags = Annotated[dict[str, str], AfterValidator(_are_tags)]


class Span(Body):
    """One entry of a schedule on the wire."""

    start_at: int
    end_at: int | None = None
    node_count: int


def per_minute(price: str) -> int:
    """Dollars per node-hour to µ$ per node-minute, rounded to the nearest."""
    return int((Decimal(price) * 1_000_000 / MINUTE).quantize(Decimal(1), ROUND_HALF_UP))


def dollars(per_node_minute: int) -> str:
    """µ$ per node-minute to dollars per node-hour: exact, with six places."""
    whole, part = divmod(per_node_minute * MINUTE, 1_000_000)
    return f"{whole}.{part:06d}"


def average(value: int, node_minutes: int) -> str:
    """The mean price of a value in µ$, in dollars per node-hour with six places."""
    micros = (Decimal(value * MINUTE) / node_minutes).quantize(Decimal(1), ROUND_HALF_UP)
    whole, part = divmod(int(micros), 1_000_000)
    return f"{whole}.{part:06d}"


def cents(micros: int, rounding: str) -> int:
    mode = ROUND_HALF_EVEN if rounding == "half_even" else ROUND_HALF_UP
    return int((Decimal(micros) / _CENT).quantize(Decimal(1), mode))


def spans(schedule: Schedule) -> list[dict[str, Any]]:
    return [{"start_at": start, "end_at": end, "node_count": nodes} for start, end, nodes in schedule.steps()]


def rectangle(entries: Sequence[Span], field: str) -> tuple[int, int, int]:
    """The one range of an order. Raises: `Refusal`."""
    if len(entries) != 1 or entries[0].end_at is None:
        raise invalid(field, "exactly one range with start_at and end_at is needed")
    only = entries[0]
    end = entries[0].end_at
    if only.node_count <= 0:
        raise invalid(field, "node_count must be positive")
    if only.start_at % MINUTE or end % MINUTE or end <= only.start_at:
        raise invalid(field, "start_at and end_at are whole minutes, and end_at comes later")
    return only.start_at, end, only.node_count


def steps(entries: Sequence[Span], field: str) -> tuple[tuple[int, int, int], ...]:
    """A whole schedule: an end that is left out is the next one's start. Raises: `Refusal`."""
    found = []
    for entry, following in zip(entries, [*entries[1:], None], strict=True):
        end = entry.end_at if entry.end_at is not None or following is None else following.start_at
        if end is None:
            if entry.node_count:
                raise invalid(field, "the last range has no end_at")
            continue
        if entry.node_count < 0 or entry.start_at % MINUTE or end % MINUTE or end <= entry.start_at:
            raise invalid(field, "ranges are whole minutes with a node_count of 0 or more")
        if entry.node_count:
            found.append((entry.start_at, end, entry.node_count))
    if not found:
        raise invalid(field, "the schedule is empty")
    return tuple(found)
