"""/pools and /pool_transfers: owned node time."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.errors import InsufficientCapacity
from sandbox.market.once import IdempotencyKey, once
from sandbox.market.paging import Paging, page
from sandbox.market.refusals import Detail, Refusal, invalid
from sandbox.market.resources import PoolRecord, Token, Transfer, new_id
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import OrderStatus
from sandbox.market.wire import Body, Name, Span, Tags, steps
from sandbox.market.world import World

router = APIRouter()

History = Annotated[int, Query(ge=0, le=1440)]


class CreatePool(Body):
    workspace: str
    name: Name | None = None
    tags: Tags | None = None


class PatchPool(Body):
    name: Name | None = None
    tags: Tags | None = None


class CreateTransfer(Body):
    from_pool: str
    to_pool: str
    instance_sku: str
    allocation_schedule_delta: list[Span]


@router.post("/pools", status_code=201)
def create_pool(body: CreatePool, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        place = lookups.workspace(world, caller, body.workspace)
        pool_id = new_id("pool")
        name = lookups.free_name(body.name or pool_id.replace("_", "-"), world.shelves.pools, place.id)
        world.engine.open_pool(pool_id, caller.customer)
        made = world.shelves.pools.put(
            PoolRecord(
                id=pool_id,
                customer=caller.customer,
                workspace=place.id,
                name=name,
                created_at=int(now),
                tags=body.tags,
            )
        )
        return rendering.pool(world, made, since=now)


@router.get("/pools")
def list_pools(
    world: TheWorld,
    caller: Caller,
    paging: Paging,
    workspace: str | None = None,
    id: Annotated[list[str] | None, Query()] = None,
    schedule_history_minutes: History = 0,
    tag: Annotated[list[str] | None, Query()] = None,
    tag_key: Annotated[list[str] | None, Query()] = None,
) -> Any:
    with world.turn() as now:
        place = lookups.workspace(world, caller, workspace).id if workspace else None
        ids = {lookups.pool(world, caller, one).id for one in id} if id else None
        rows = [
            one
            for one in world.shelves.pools
            if one.customer == caller.customer
            and place in {None, one.workspace}
            and (ids is None or one.id in ids)
            and tagged(one.tags, tag or (), tag_key or ())
        ]
        found = page(rows, paging, prefix="poolc", key=lambda one: (one.created_at, one.id))
        since = now - schedule_history_minutes * 60
        return found.rendered(lambda one: rendering.pool(world, one, since=since))


@router.get("/pools/{id}")
def get_pool(id: str, world: TheWorld, caller: Caller, schedule_history_minutes: History = 0) -> Any:
    with world.turn() as now:
        found = lookups.pool(world, caller, id)
        return rendering.pool(world, found, since=now - schedule_history_minutes * 60)


@router.patch("/pools/{id}")
def patch_pool(id: str, body: PatchPool, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        pool = lookups.pool(world, caller, id)
        if body.name is not None and body.name != pool.name:
            pool = replace(pool, name=lookups.free_name(body.name, world.shelves.pools, pool.workspace))
        if "tags" in body.model_fields_set:
            pool = replace(pool, tags=body.tags)
        return rendering.pool(world, world.shelves.pools.put(pool), since=now)


@router.delete("/pools/{id}", status_code=204)
def delete_pool(id: str, world: TheWorld, caller: Caller) -> None:
    with world.turn() as now:
        pool = lookups.pool(world, caller, id)
        busy = _busy_with(world, pool, now)
        if busy:
            raise Refusal(422, f"the pool still has {busy}", Detail(field="id", code="pool_in_use", message=busy))
        world.shelves.pools.remove(pool.id)


@router.post("/pool_transfers", status_code=202)
def create_transfer(
    body: CreateTransfer, world: TheWorld, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Any:
    with world.turn():
        made = once(world, caller, "pool_transfers", idempotency_key, body, lambda: _transfer(world, caller, body).id)
        return rendering.transfer(world, world.shelves.transfers[made])


@router.get("/pool_transfers")
def list_transfers(
    world: TheWorld,
    caller: Caller,
    paging: Paging,
    pool: Annotated[list[str] | None, Query()] = None,
    status: Literal["pending", "executed", "rejected"] | None = None,
) -> Any:
    with world.turn():
        pools = {lookups.pool(world, caller, one).id for one in pool} if pool else None
        rows = [
            one
            for one in world.shelves.transfers
            if one.customer == caller.customer
            and (pools is None or pools & {one.from_pool, one.to_pool})
            and status in {None, one.status}
        ]
        found = page(rows, paging, prefix="ptfrc", key=lambda one: (one.created_at, one.id), newest_first=True)
        return found.rendered(lambda one: rendering.transfer(world, one))


@router.get("/pool_transfers/{id}")
def get_transfer(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = world.shelves.transfers.get(lookups.canonical(id))
        if found is None or found.customer != caller.customer:
            raise Refusal(404, f"no such pool transfer: {id}")
        return rendering.transfer(world, found)


def tagged(tags: Mapping[str, str] | None, pairs: Iterable[str], keys: Iterable[str]) -> bool:
    """Whether something has all these `key=value` tags, and a tag of each of these keys."""
    own = tags or {}
    wanted = [pair.partition("=") for pair in pairs]
    return all(own.get(key) == value for key, _, value in wanted) and all(key in own for key in keys)


def _transfer(world: World, caller: Token, body: CreateTransfer) -> Transfer:
    delta = steps(body.allocation_schedule_delta, "allocation_schedule_delta")
    source, target = lookups.pool(world, caller, body.from_pool), lookups.pool(world, caller, body.to_pool)
    if source.id == target.id:
        raise invalid("to_pool", "a pool cannot give to itself")
    sku = lookups.sku(world, body.instance_sku)
    refused = _move(world, source, target, sku.id, delta)
    return world.shelves.transfers.put(
        Transfer(
            id=new_id("pxfr"),
            customer=caller.customer,
            from_pool=source.id,
            to_pool=target.id,
            sku=sku.id,
            steps=delta,
            status="rejected" if refused else "executed",
            created_at=int(world.now),
            rejected_reason=refused,
        )
    )


def _move(
    world: World, source: PoolRecord, target: PoolRecord, sku: str, delta: tuple[tuple[int, int, int], ...]
) -> str | None:
    """All of it or nothing; why not."""
    pool = world.engine.pool(source.id)
    free = pool.owned.get(sku, EMPTY).minus(pool.offered.get(sku, EMPTY))
    if not free.covers(Schedule.of(delta)):
        return "the pool doesn't have that much free node time"
    try:
        for start, end, nodes in Schedule.of(delta).steps():
            world.engine.transfer(source.id, target.id, sku, start, end, nodes)
    except InsufficientCapacity as error:
        return str(error)
    return None


def _busy_with(world: World, pool: PoolRecord, now: float) -> str | None:
    views = (world.desk.view(order) for order in world.shelves.orders if order.pool == pool.id)
    if any(view.status.live or view.status is OrderStatus.PENDING for view in views):
        return "active orders"
    if any(schedule.clip(int(now)) for schedule in world.engine.pool(pool.id).owned.values()):
        return "node time to come"
    if any(one.pool == pool.id and one.live for one in world.shelves.instances):
        return "active instances"
    if any(one.pool == pool.id for one in world.shelves.procurements):
        return "procurements"
    return None
