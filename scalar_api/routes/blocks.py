"""What is owned: the blocks that were bought, and when they end."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from scalar.market.holdings import HoldingFilter, holdings
from scalar_api.dependencies import Db, Now, Operator
from scalar_api.market_views import BlockPage, block_of
from scalar_api.problems import responses

router = APIRouter(prefix="/v1/blocks", tags=["market"])
ENDS_SOON = timedelta(days=3)


@router.get("", responses=responses())
def list_blocks(
    _: Operator,
    database: Db,
    now: Now,
    all: Annotated[bool, Query(description="Those that have ended, too.")] = False,
    soon_hours: Annotated[int, Query(ge=1, le=8760, description="`ends_soon`: within so many hours.")] = ENDS_SOON
    // timedelta(hours=1),
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
) -> BlockPage:
    """What is ours now or later, what ends first first: with what of it was sold, and the machines on it."""
    which = HoldingFilter(ending_after=None if all else now, after=cursor, limit=limit + 1)
    with database.transaction() as tx:
        found = holdings(tx, which)
    soon = timedelta(hours=soon_hours)
    page = [block_of(each, now=now, soon=soon) for each in found[:limit]]
    return BlockPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)
