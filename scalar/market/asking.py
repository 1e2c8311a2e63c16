"""The ways in which the market is asked: for one thing, for a list whole or in pages, or to do something."""

from collections.abc import Iterator
from typing import TypeVar

from scalar.market.answers import Listed, Page, nothing, reader
from scalar.market.calls import Calls, Query, Request
from scalar.market.errors import MarketAnswerMalformed

V2 = "/preview/v2"
_PAGE = 200
"""The most rows of most lists that the market gives at once."""

Item = TypeVar("Item")
Value = TypeVar("Value")


class Asking(Calls):
    """What every method of the client is made of."""

    def _get(self, operation: str, path: str, kind: type[Value], query: Query | None = None, root: str = V2) -> Value:
        request = Request(operation=operation, method="GET", path=root + path, query=query or {}, repeatable=True)
        return self._read(request, kind)

    def _post(
        self,
        operation: str,
        path: str,
        kind: type[Value],
        body: object,
        *,
        idempotency_key: str | None = None,
        once: bool = False,
        repeatable: bool = False,
        secrets: tuple[str, ...] = (),
    ) -> Value:
        request = Request(
            operation=operation,
            method="POST",
            path=V2 + path,
            body=body,
            idempotency_key=idempotency_key,
            repeatable=repeatable or (idempotency_key is not None and not once),
            secrets=secrets,
        )
        return self._read(request, kind)

    def _do(self, operation: str, method: str, path: str, *, removes: bool = False) -> None:
        request = Request(operation=operation, method=method, path=V2 + path, repeatable=True, removes=removes)
        self.ask(request, nothing)

    def _whole(
        self, operation: str, method: str, path: str, kind: type[Item], body: object = None, query: Query | None = None
    ) -> tuple[Item, ...]:
        """A list that has no pages."""
        request = Request(
            operation=operation, method=method, path=V2 + path, body=body, query=query or {}, repeatable=True
        )
        answer: Listed[Item] = self._read(request, Listed[kind])  # type: ignore[valid-type]
        if answer.has_more:
            raise MarketAnswerMalformed(f"{operation}: more of a list that has no pages", path="has_more")
        return answer.data

    def _pages(
        self, operation: str, path: str, kind: type[Item], query: Query | None = None, limit: int = _PAGE
    ) -> Iterator[Item]:
        seen: set[str] = set()
        asked = {**(query or {}), "limit": limit}
        while True:
            page: Page[Item] = self._get(operation, path, Page[kind], asked)  # type: ignore[valid-type]
            yield from page.data
            if not page.has_more:
                return
            asked["starting_after"] = another(page.cursor, seen, operation, "cursor")

    def _read(self, request: Request, kind: type[Value]) -> Value:
        return self.ask(request, reader(kind))


def another(cursor: str | None, seen: set[str], operation: str, path: str) -> str:
    """A cursor that has not been there, or the list would never end."""
    if cursor is None or cursor in seen:
        raise MarketAnswerMalformed(f"{operation}: the list goes on without another cursor", path=path)
    seen.add(cursor)
    return cursor
