"""/orderbook: what everybody may see of the books."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query

from sandbox.market import rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.paging import PageQuery, page
from sandbox.market.refusals import invalid
from sandbox.market.skus import matching, parsed_requirements
from sandbox.market.values import Trade
from sandbox.market.wire import MINUTE
from sandbox.market.world import World

router = APIRouter(prefix="/orderbook")

_DAY = 86_400
_FILLS_DAYS = 7
_FILLS_MOST_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class _Asked:
    requirements: dict[str, list[str]]
    skus: list[str]

    def echo(self, **more: Any) -> dict[str, Any]:
        return {"requirements": self.requirements, **more}


@router.get("/quote")
def quote(world: TheWorld, _caller: Caller, start_at: int, end_at: int, requirements: str | None = None) -> Any:
    asked = _asked(world, requirements, start_at, end_at)
    with world.turn() as now:
        found = world.engine.quote(asked.skus, start_at, end_at, int(now))
        answer = asked.echo(start_at=start_at, end_at=end_at, requested_at=int(now))
        bests = {"best_bid": found.best_bid, "best_ask": found.best_ask}
        return answer | {name: rendering.level(best) for name, best in bests.items() if best is not None}


@router.get("/depth")
def depth(
    world: TheWorld,
    _caller: Caller,
    start_at: int,
    end_at: int,
    requirements: str | None = None,
    depth: int = 20,
) -> Any:
    asked = _asked(world, requirements, start_at, end_at)
    most = min(max(depth, 1), 100)
    with world.turn() as now:
        books = [world.engine.depth(sku, start_at, end_at, most, int(now)) for sku in asked.skus]
        bids = sorted((level for book in books for level in book.bids), key=lambda level: (-level.price, level.sku))
        asks = sorted((level for book in books for level in book.asks), key=lambda level: (level.price, level.sku))
        return asked.echo(
            start_at=start_at,
            end_at=end_at,
            requested_at=int(now),
            bids=[rendering.level(level) for level in bids[:most]],
            asks=[rendering.level(level) for level in asks[:most]],
        )


@router.get("/windows")
def windows(
    world: TheWorld,
    _caller: Caller,
    range_start_at: int,
    range_end_at: int,
    requirements: str | None = None,
    limit: int = 50,
    starting_after: str | None = None,
) -> Any:
    asked = _asked(world, requirements, range_start_at, range_end_at)
    with world.turn() as now:
        rows = world.engine.windows(asked.skus, range_start_at, range_end_at, int(now))
        query = PageQuery(limit=min(max(limit, 1), 200), starting_after=starting_after, ending_before=None)
        found = page(rows, query, prefix="mwin", key=lambda row: (row.start, row.end, row.sku))
        echo = asked.echo(range_start_at=range_start_at, range_end_at=range_end_at)
        return found.rendered(rendering.window) | echo


@router.get("/fills")
def fills(
    world: TheWorld,
    _caller: Caller,
    start_at: int,
    end_at: int,
    requirements: str | None = None,
    since_at: int | None = None,
    limit: Annotated[int, Query()] = 50,
    starting_after: str | None = None,
) -> Any:
    asked = _asked(world, requirements, start_at, end_at)
    with world.turn() as now:
        since = int(now) - _FILLS_DAYS * _DAY if since_at is None else since_at
        if since < now - _FILLS_MOST_DAYS * _DAY:
            raise invalid("since_at", f"since_at is more than {_FILLS_MOST_DAYS} days ago")
        rows = [
            trade
            for trade in world.engine.trades(since=since)
            if trade.sku in asked.skus and _belongs(trade, start_at, end_at, world.rules.fills_window)
        ]
        query = PageQuery(limit=min(max(limit, 1), 200), starting_after=starting_after, ending_before=None)
        found = page(rows, query, prefix="mfilc", key=lambda row: (row.at, row.seq), newest_first=True)
        echo = asked.echo(start_at=start_at, end_at=end_at, requested_at=int(now))
        return found.rendered(rendering.trade) | echo


def _asked(world: World, requirements: str | None, start: int, end: int) -> _Asked:
    if start % MINUTE or end % MINUTE or end <= start:
        raise invalid("end_at", "the window is of whole minutes, and its end comes later than its start")
    wanted = parsed_requirements(requirements)
    return _Asked(requirements=wanted, skus=[sku.id for sku in matching(world.skus.values(), wanted)])


def _belongs(trade: Trade, start: int, end: int, how: str) -> bool:
    """Whether a trade's delivery is what the rule calls one `for` the window."""
    first, last = trade.delta.start, trade.delta.end
    if how == "overlap":
        return first < end and start < last
    return (first, last) == (start, end) if how == "exact" else start <= first and last <= end
