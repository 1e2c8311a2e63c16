"""What every answer is made of: moments, prices, schedules, words that may be new, and lists."""

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import from_json

from scalar.market.errors import MarketAnswerMalformed
from scalar.market.model import Rectangle

FOREVER = datetime.max.replace(tzinfo=UTC)
"""The end of a rectangle that the market gives none."""

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
"""Made once a kind: that takes milliseconds."""
_DOLLARS = re.compile(r"\d{1,15}(\.\d{1,15})?")

Item = TypeVar("Item")
Value = TypeVar("Value")
Read = Callable[[bytes], Value]
"""From the body of an answer to what it says; raises `MarketAnswerMalformed`."""


class Answer(BaseModel):
    """Frozen. The names are ours; where the market's are others, either will do to make one."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, validate_by_name=True, validate_by_alias=True)


class Page(Answer, Generic[Item]):
    """A part of a list; `cursor` asks for the next, where there `has_more`."""

    data: tuple[Item, ...]
    has_more: bool
    cursor: str | None = None


class Listed(Answer, Generic[Item]):
    """A list that comes whole."""

    data: tuple[Item, ...]
    has_more: bool = False


class Open(StrEnum):
    """An enum that the market may extend: a word it has not heard of becomes a member that says just that."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    @property
    def known(self) -> bool:
        return self._name_ in type(self).__members__


def reader(kind: type[Value]) -> Read[Value]:
    """Reads a body as this model."""
    adapter: TypeAdapter[Value] = _ADAPTERS.get(kind) or _ADAPTERS.setdefault(kind, TypeAdapter(kind))

    def read(body: bytes) -> Value:
        try:
            return adapter.validate_json(body)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Here, not above: the validation error quotes its input, and would stay with ours as its context.
        path = ".".join(str(part) for part in fault["loc"])
        raise MarketAnswerMalformed(f"{path}: {fault['msg']}" if path else fault["msg"], path=path)

    return read


def nothing(body: bytes) -> None:
    """Reads an answer that says nothing but "done"; a page of HTML doesn't say it."""
    try:
        from_json(body or b"null")
    except ValueError:
        said = False
    else:
        said = True
    if not said:
        raise MarketAnswerMalformed("neither empty nor JSON")


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is no count of seconds")  # noqa: TRY004 - pydantic takes no TypeError
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError("is no moment in seconds") from None


def _price(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _DOLLARS.fullmatch(value):
        raise ValueError("is no price: digits with a decimal point, in a string")
    return Decimal(value)


def _rectangles(value: object) -> tuple[Rectangle, ...]:
    """Ascending, apart from each other, without the empty ones. What has no end lasts until the next begins."""
    if not isinstance(value, list | tuple):
        raise ValueError("is no schedule: a list of ranges")  # noqa: TRY004 - pydantic takes no TypeError
    if all(isinstance(entry, Rectangle) for entry in value):
        return tuple(value)
    entries = sorted((_entry(entry) for entry in value), key=lambda entry: entry[0])
    nexts = [*(start for start, _, _ in entries[1:]), FOREVER]
    ranges = [(start, end or after, nodes) for (start, end, nodes), after in zip(entries, nexts, strict=True)]
    if any(end <= start for start, end, _ in ranges):
        raise ValueError("has a range that ends before it starts")
    if any(before[1] > after[0] for before, after in pairwise(ranges)):
        raise ValueError("has ranges that overlap")
    return tuple(Rectangle(start=start, end=end, nodes=nodes) for start, end, nodes in ranges if nodes)


def _entry(entry: object) -> tuple[datetime, datetime | None, int]:
    if not isinstance(entry, dict):
        raise ValueError("has an entry that is no range")  # noqa: TRY004 - pydantic takes no TypeError
    end, nodes = entry.get("end_at"), entry.get("node_count")
    if not isinstance(nodes, int) or isinstance(nodes, bool) or nodes < 0:
        raise ValueError("has a node_count that is no number of nodes")
    return _moment(entry.get("start_at")), None if end is None else _moment(end), nodes


def _bounded(value: object) -> tuple[Rectangle, ...]:
    rectangles = _rectangles(value)
    if rectangles and rectangles[-1].end == FOREVER:
        raise ValueError("has a range without an end")
    return rectangles


def _count(value: object) -> object:
    if isinstance(value, int) and value < 0:
        raise ValueError("is below 0")
    return value


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("is no base64")  # noqa: TRY004 - pydantic takes no TypeError
    return b64decode(value, validate=True)


Moment = Annotated[datetime, PlainValidator(_moment)]
"""Epoch seconds on the wire."""
Price = Annotated[Decimal, PlainValidator(_price)]
"""Dollars per node-hour: a string on the wire."""
Count = Annotated[int, BeforeValidator(_count)]
Schedule = Annotated[tuple[Rectangle, ...], PlainValidator(_rectangles)]
"""Node counts over time; the last may go on for ever."""
BoundedSchedule = Annotated[tuple[Rectangle, ...], PlainValidator(_bounded)]
"""Node counts over time, all of which end."""
Base64 = Annotated[bytes, PlainValidator(_bytes)]
Tags = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]
