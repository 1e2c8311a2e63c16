"""How our values are written to the market: dollars as strings, moments as epoch seconds, ids in paths."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil

from scalar.errors import InvalidRequest
from scalar.market.model import Rectangle

Requirements = Mapping[str, Sequence[str]]
"""Property of a machine → the values that will do; empty: any machine."""

_MILLIONTH = Decimal("0.000001")
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.:-]+")


def dollars(price: Decimal) -> str:
    """Dollars per node-hour, as `12.340000`; never rounded."""
    if not price.is_finite() or price < 0 or price % _MILLIONTH:
        raise InvalidRequest("A price is a number of millionths of a dollar, from 0 on.")
    return f"{price:.6f}"


def second(moment: datetime) -> int:
    """Of a moment that must be met exactly."""
    if moment.tzinfo is None or moment.microsecond:
        raise InvalidRequest("A moment on the market is a whole second and has a time zone.")
    return int(moment.timestamp())


def since(moment: datetime | None) -> int | None:
    """Of a moment from which on something is asked for: the second that it falls in."""
    return None if moment is None else second(moment.replace(microsecond=0))


def until(moment: datetime | None) -> int | None:
    """Of a moment up to which something is asked for: the first whole second that isn't before it."""
    return None if moment is None else second(moment.replace(microsecond=0)) + ceil(moment.microsecond / 1e6)


def seconds(length: timedelta) -> int:
    if length % timedelta(seconds=1):
        raise InvalidRequest("A length of time on the market is in whole seconds.")
    return length // timedelta(seconds=1)


def schedule(rectangle: Rectangle) -> list[dict[str, int]]:
    start, end = second(rectangle.start), second(rectangle.end)
    return [{"start_at": start, "end_at": end, "node_count": rectangle.nodes}]


def requirements(wanted: Requirements | None) -> str | None:
    """For a query: `accelerator:H100;region:us-east,us-west`."""
    return ";".join(f"{key}:{','.join(values)}" for key, values in (wanted or {}).items()) or None


def tags(wanted: Mapping[str, str] | None) -> list[str]:
    """For a query: machines that have all of them."""
    return [f"{key}={value}" for key, value in (wanted or {}).items()]


def cloud_init(user_data: str) -> str:
    return b64encode(user_data.encode()).decode()


def identifier(id: str) -> str:
    """An id or resource path that may stand in a URL: nothing that would make it another URL."""
    if not _ID.fullmatch(id):
        raise InvalidRequest("That is no id of the market's.")
    return id
