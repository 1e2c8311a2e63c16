"""/orders and /order_preview."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.desk import OrderView
from sandbox.market.once import IdempotencyKey, once
from sandbox.market.paging import Key, Paging, page
from sandbox.market.refusals import invalid
from sandbox.market.resources import OrderRecord, Token, new_id
from sandbox.market.skus import matching
from sandbox.market.values import Preview, Side
from sandbox.market.wire import MINUTE, Body, Name, Price, Span, dollars, per_minute, rectangle
from sandbox.market.world import World

router = APIRouter()

_PLACEHOLDER = "pool_replace_me"
Status = Literal["pending", "filled", "partially_filled", "rejected", "cancelled", "standing"]


class CreateOrder(Body):
    pool: str
    side: Literal["buy", "sell"]
    instance_sku: str
    allocation_schedule_delta: list[Span]
    limit_price_dollars_per_node_hour: Price
    allow_standing: bool = False
    allow_partial: bool | None = None


class PreviewOrder(Body):
    side: Literal["buy", "sell"]
    requirements: dict[str, list[Name]]
    start_at: int
    duration_seconds: int
    node_count: int
    pool: str | None = None


@router.post("/orders", status_code=201)
def create_order(body: CreateOrder, world: TheWorld, caller: Caller, idempotency_key: IdempotencyKey = None) -> Any:
    with world.turn() as now:
        made: list[OrderRecord] = []

        def place() -> str:
            made.append(world.desk.place(_record(world, caller, body), now))
            return made[0].id

        order_id = once(world, caller, "orders", idempotency_key, body, place)
        # A repeat is told what has become of the order; the first answer only that it came in.
        return rendering.pending(world, made[0]) if made else _shown(world, world.shelves.orders[order_id])


@router.get("/orders")
def list_orders(
    world: TheWorld,
    caller: Caller,
    paging: Paging,
    id: Annotated[list[str] | None, Query()] = None,
    pool: str | None = None,
    workspace: str | None = None,
    side: Literal["buy", "sell"] | None = None,
    status: Annotated[list[Status] | None, Query()] = None,
    created_after: int | None = None,
    created_before: int | None = None,
    procurement: str | None = None,
    sort_by: Literal["created_at", "-created_at", "start_at", "-start_at"] = "-created_at",
) -> Any:
    with world.turn():
        pools = _pools_asked(world, caller, pool, workspace)
        automation = lookups.procurement(world, caller, procurement).id if procurement else None
        views = [
            world.desk.view(order)
            for order in world.shelves.orders
            if order.customer == caller.customer
            and order.procurement == automation
            and (pools is None or order.pool in pools)
            and side in {None, order.side}
            and (not id or order.id in id)
            and (created_after is None or order.created_at >= created_after)
            and (created_before is None or order.created_at <= created_before)
        ]
        wanted = [view for view in views if not status or view.status in status]
        key = _by_start if sort_by.endswith("start_at") else _by_age
        found = page(wanted, paging, prefix="ordrc", key=key, newest_first=sort_by.startswith("-"))
        return found.rendered(lambda view: rendering.order(world, view))


@router.get("/orders/{id}")
def get_order(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        return _shown(world, lookups.order(world, caller, id))


@router.delete("/orders/{id}", status_code=204)
def cancel_order(id: str, world: TheWorld, caller: Caller) -> None:
    with world.turn() as now:
        world.desk.cancel(lookups.order(world, caller, id), now)


@router.post("/order_preview")
def preview_order(body: PreviewOrder, world: TheWorld, caller: Caller) -> Any:
    _check(body)
    with world.turn() as now:
        pool = lookups.pool(world, caller, body.pool).id if body.pool else _PLACEHOLDER
        skus = matching(world.skus.values(), body.requirements)
        if not skus:
            return {"type": "unavailable", "reason": "no_matching_instance_skus"}
        found = _previewed(world, caller.customer, body, [sku.id for sku in skus], now)
        fee = fee_policy(world)
        if found is None:
            return {"type": "unavailable", "reason": "no_availability", "fee": fee, "notices": []}
        return {"type": "quoted", "post_order_body": _order_body(body, pool, found), "fee": fee, "notices": []}


def fee_policy(world: World) -> dict[str, Any]:
    rules = world.engine.rules
    return {"flat_dollars_per_node_hour": dollars(rules.fee_flat), "percentage_bps": rules.fee_bps}


def _previewed(world: World, customer: str, body: PreviewOrder, skus: list[str], now: float) -> Preview | None:
    side, start, seconds, nodes = Side(body.side), body.start_at, body.duration_seconds, body.node_count
    return world.previews.answer(
        (customer, side, *skus, start, seconds, nodes),
        now,
        world.rules.preview_seconds,
        lambda: world.engine.preview(side, skus, start, seconds, nodes, now=int(now), account_id=customer),
    )


def _record(world: World, caller: Token, body: CreateOrder) -> OrderRecord:
    start, end, nodes = rectangle(body.allocation_schedule_delta, "allocation_schedule_delta")
    partial = world.engine.rules.allow_partial_default if body.allow_partial is None else body.allow_partial
    return OrderRecord(
        id=new_id("ordr"),
        seq=0,
        customer=caller.customer,
        pool=lookups.pool(world, caller, body.pool).id,
        side=body.side,
        sku=lookups.sku(world, body.instance_sku).id,
        start=start,
        end=end,
        nodes=nodes,
        asked_end=end,
        asked_nodes=nodes,
        limit=per_minute(body.limit_price_dollars_per_node_hour),
        allow_standing=body.allow_standing,
        allow_partial=partial,
        created_at=int(world.now),
        created_by=caller.token_id,
        created_by_name=caller.name,
    )


def _shown(world: World, order: OrderRecord) -> dict[str, Any]:
    return rendering.order(world, world.desk.view(order))


def _pools_asked(world: World, caller: Token, pool: str | None, workspace: str | None) -> set[str] | None:
    if pool is not None:
        return {lookups.pool(world, caller, pool).id}
    if workspace is not None:
        place = lookups.workspace(world, caller, workspace)
        return {one.id for one in world.shelves.pools if one.workspace == place.id}
    return None


def _check(body: PreviewOrder) -> None:
    if body.start_at % MINUTE:
        raise invalid("start_at", "start_at is a whole minute")
    if body.duration_seconds <= 0 or body.duration_seconds % MINUTE:
        raise invalid("duration_seconds", "duration_seconds is a positive number of whole minutes")
    if body.node_count <= 0:
        raise invalid("node_count", "node_count must be positive")


def _order_body(body: PreviewOrder, pool: str, found: Preview) -> dict[str, Any]:
    delta = {"start_at": body.start_at, "end_at": body.start_at + body.duration_seconds, "node_count": body.node_count}
    return {
        "pool": pool,
        "side": body.side,
        "allow_standing": False,
        "allow_partial": False,
        "instance_sku": found.sku,
        "allocation_schedule_delta": [delta],
        "limit_price_dollars_per_node_hour": dollars(found.price),
    }


def _by_age(view: OrderView) -> Key:
    return (view.record.created_at, view.record.seq)


def _by_start(view: OrderView) -> Key:
    return (view.record.start, view.record.seq)
