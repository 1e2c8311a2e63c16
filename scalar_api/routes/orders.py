"""Orders at the market, for operators: place, list, look, approve, cancel. The sensor sends what is written here."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from scalar.accounts.trail import trail
from scalar.errors import Conflict, NotFound, SpendRefused
from scalar.market import order_entry, store
from scalar.market.catalogue import known
from scalar.market.desk import Desk
from scalar.market.holdings import HoldingFilter, holdings
from scalar.market.model import OrderRequest, OrderState, Side
from scalar.market.order_entry import Wish
from scalar.market.orders import By, call_off, existing
from scalar.market.quoting import quote
from scalar.market.store import OrderFilter
from scalar_api.dependencies import Db, MarketConfig, MarketDesk, Now, Operator
from scalar_api.market import answered
from scalar_api.market_views import OrderBody, OrderDetail, OrderPage, OrderView, block_of, detail_of, view_of
from scalar_api.problems import responses
from scalar_api.routes.blocks import ENDS_SOON

router = APIRouter(prefix="/v1/orders", tags=["market"])
_OF_AN_ORDER = responses(NotFound, Conflict)
_OF_A_NEW_ORDER = responses(SpendRefused)


@router.post("", status_code=201, responses={200: {"model": OrderView}, **_OF_A_NEW_ORDER})
def place_order(
    body: OrderBody,
    caller: Operator,
    database: Db,
    desk: MarketDesk,
    now: Now,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> OrderView:
    """Buy or sell. The order is written down, if the guards let it, and sent within seconds.

    It answers 409 `spend-refused` with the guard's reason; above a threshold the order is `proposed` and waits for an
    approval. Send an `Idempotency-Key`, and a request that is sent twice is one order: the second answer is 200.
    """
    wish, by = body.wish(), By(actor=caller.actor, key=_key_of(caller.key_id, idempotency_key))
    with database.transaction() as tx:
        before = order_entry.entered(tx, wish, by)
    if before is None:
        request = _request(desk, wish, now)
        with database.transaction() as tx:
            entered = order_entry.enter(tx, wish, request, by=by, caps=desk.settings.caps, now=now)
    order, created = (before, False) if before is not None else (entered.order, entered.created)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/orders/{order.id}"
    return view_of(order)


@router.get("", responses=_OF_AN_ORDER)
def list_orders(
    _: Operator,
    database: Db,
    state: Annotated[list[OrderState] | None, Query(description="Any of these states.")] = None,
    side: Side | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
) -> OrderPage:
    """Newest first."""
    which = OrderFilter(states=state or (), side=side, before=cursor, limit=limit + 1)
    with database.transaction() as tx:
        found = store.orders(tx, which)
    page = [view_of(order) for order in found[:limit]]
    return OrderPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.get("/{order_id}", responses=_OF_AN_ORDER)
def get_order(order_id: str, _: Operator, database: Db, now: Now) -> OrderDetail:
    """One order, with its fills, the blocks that came of them, and who did what."""
    with database.transaction() as tx:
        order = existing(store.order(tx, order_id))
        kept_free, fills = store.kept_free(tx, order_id), store.fills(tx, order_id)
        blocks = holdings(tx, HoldingFilter(order_id=order_id))
        deeds = trail(tx, order_id)
    views = [block_of(each, now=now, soon=ENDS_SOON) for each in blocks]
    return detail_of(order, kept_free=kept_free, fills=fills, blocks=views, trail=deeds)


@router.post("/{order_id}/approve", responses=_OF_AN_ORDER)
def approve_order(order_id: str, caller: Operator, database: Db, settings: MarketConfig, now: Now) -> OrderView:
    """Let a proposed order go out; every other guard still holds. Approving twice is the same as once."""
    with database.transaction() as tx:
        return view_of(order_entry.approve(tx, order_id, actor=caller.actor, caps=settings.caps, now=now))


@router.post("/{order_id}/cancel", responses=_OF_AN_ORDER)
def cancel_order(order_id: str, caller: Operator, database: Db, now: Now) -> OrderView:
    """Call it off: what has filled stays. One that was sent ends as `cancelled` once the market says so."""
    with database.transaction() as tx:
        return view_of(call_off(tx, order_id, actor=caller.actor, now=now))


def _request(desk: Desk, wish: Wish, now: Now) -> OrderRequest:
    window = order_entry.window_of(wish, now)
    with answered():
        skus = known(desk, sku=wish.sku, gpu_type=wish.gpu_type)
        asked = quote(desk, wish.side, skus, window) if order_entry.needs_quote(wish, skus) else None
    return order_entry.request_of(wish, window, skus, asked)


def _key_of(key_id: str, idempotency_key: str | None) -> str | None:
    """Two callers may choose the same."""
    return f"{key_id}:{idempotency_key}" if idempotency_key else None
