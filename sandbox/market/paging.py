"""Lists in pages: `{object: "list", data, has_more, cursor}`.

A cursor says between which rows a page ended, not how many came before: rows that come and go in the meantime move
nothing to another page.
"""

import base64
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query

from sandbox.market.refusals import invalid

Row = TypeVar("Row")
Key = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    limit: int
    starting_after: str | None
    ending_before: str | None


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    has_more: bool
    cursor_of: Callable[[Row], str]

    @property
    def cursor(self) -> str | None:
        """Where this page ends; none of an empty one."""
        return self.cursor_of(self.rows[-1]) if self.rows else None

    def rendered(self, render: Callable[[Row], Any]) -> dict[str, Any]:
        rows = [render(row) for row in self.rows]
        return {"object": "list", "data": rows, "has_more": self.has_more, "cursor": self.cursor}


def _query(
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> PageQuery:
    return PageQuery(limit=limit, starting_after=starting_after, ending_before=ending_before)


Paging = Annotated[PageQuery, Depends(_query)]


def page(
    rows: Sequence[Row], query: PageQuery, *, prefix: str, key: Callable[[Row], Key], newest_first: bool = False
) -> Page[Row]:
    """`key` orders the rows and is unique. Raises: `Refusal` for a cursor that isn't one of this list's."""
    ordered = sorted(rows, key=key, reverse=newest_first)
    if query.ending_before is not None:
        end = _position(ordered, _key(query.ending_before, prefix), key, newest_first, after=False)
        shown, more = ordered[max(0, end - query.limit) : end], end > query.limit
    else:
        start = 0
        if query.starting_after is not None:
            start = _position(ordered, _key(query.starting_after, prefix), key, newest_first, after=True)
        shown, more = ordered[start : start + query.limit], start + query.limit < len(ordered)
    return Page(rows=shown, has_more=more, cursor_of=lambda row: _cursor(prefix, key(row)))


def _position(rows: Sequence[Row], at: Key, key: Callable[[Row], Key], newest_first: bool, *, after: bool) -> int:
    """How many rows stand before the place that a cursor names."""
    before: Callable[[Key, Key], bool] = operator.gt if newest_first else operator.lt
    try:
        return sum(1 for row in rows if before(key(row), at) or (after and key(row) == at))
    except TypeError as error:
        raise invalid("cursor", "the cursor belongs to another order of rows") from error


def _cursor(prefix: str, key: Key) -> str:
    text = base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")
    return f"{prefix}_{text}"


def _key(cursor: str, prefix: str) -> Key:
    text = cursor.removeprefix(f"{prefix}_")
    try:
        if text == cursor:
            raise ValueError(cursor)
        return tuple(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except (ValueError, TypeError) as error:
        raise invalid("cursor", f"not a cursor of this list: {cursor!r}") from error
