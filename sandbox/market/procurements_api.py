"""/procurements: automation that keeps a pool at its target."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.paging import Paging, page
from sandbox.market.refusals import Refusal
from sandbox.market.resources import Procurement, new_id
from sandbox.market.wire import Body, Name, Price, per_minute
from sandbox.market.world import World

router = APIRouter()

Window = Annotated[int, Field(ge=1, le=129_600)]


class CreateProcurement(Body):
    pool: str
    instance_sku: str
    target: Annotated[int, Field(ge=0)] | Literal["node_count"]
    min_sell_price_dollars_per_node_hour: Price
    max_buy_price_dollars_per_node_hour: Price
    managed_window_minutes: Window
    enabled: bool = True
    name: Name | None = None


class PatchProcurement(Body):
    name: Name | None = None
    instance_sku: str | None = None
    min_sell_price_dollars_per_node_hour: Price | None = None
    max_buy_price_dollars_per_node_hour: Price | None = None
    managed_window_minutes: Window | None = None
    enabled: bool | None = None


@router.post("/procurements", status_code=201)
def create_procurement(body: CreateProcurement, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        pool = lookups.pool(world, caller, body.pool)
        sku = lookups.sku(world, body.instance_sku).id
        if any((one.pool, one.sku) == (pool.id, sku) for one in world.shelves.procurements):
            raise Refusal(409, "this pool has a procurement of that instance SKU already")
        procurement_id = new_id("proc")
        asked = body.name or procurement_id.replace("_", "-")
        name = lookups.free_name(asked, world.shelves.procurements, pool.workspace)
        made = Procurement(
            id=procurement_id,
            customer=caller.customer,
            pool=pool.id,
            workspace=pool.workspace,
            name=name,
            sku=sku,
            target=None if body.target == "node_count" else body.target,
            min_sell=per_minute(body.min_sell_price_dollars_per_node_hour),
            max_buy=per_minute(body.max_buy_price_dollars_per_node_hour),
            window_minutes=body.managed_window_minutes,
            enabled=body.enabled,
            created_at=int(now),
            updated_at=int(now),
        )
        return rendering.procurement(world, world.shelves.procurements.put(made))


@router.get("/procurements")
def list_procurements(
    world: TheWorld, caller: Caller, paging: Paging, workspace: str | None = None, pool: str | None = None
) -> Any:
    with world.turn():
        place = lookups.workspace(world, caller, workspace).id if workspace else None
        pool_id = lookups.pool(world, caller, pool).id if pool else None
        rows = [
            one
            for one in world.shelves.procurements
            if one.customer == caller.customer and place in {None, one.workspace} and pool_id in {None, one.pool}
        ]
        found = page(rows, paging, prefix="procc", key=lambda one: (one.created_at, one.id))
        return found.rendered(lambda one: rendering.procurement(world, one))


@router.get("/procurements/{id}")
def get_procurement(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        return rendering.procurement(world, lookups.procurement(world, caller, id))


@router.patch("/procurements/{id}")
def patch_procurement(id: str, body: PatchProcurement, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        before = lookups.procurement(world, caller, id)
        after = replace(_patched(world, before, body), updated_at=int(now))
        if not after.enabled or after.sku != before.sku:
            world.automation.stop(before, now)
        return rendering.procurement(world, world.shelves.procurements.put(after))


@router.delete("/procurements/{id}", status_code=204)
def delete_procurement(id: str, world: TheWorld, caller: Caller) -> None:
    with world.turn() as now:
        found = lookups.procurement(world, caller, id)
        world.automation.stop(found, now)
        world.shelves.procurements.remove(found.id)


def _patched(world: World, one: Procurement, body: PatchProcurement) -> Procurement:
    if body.name is not None and body.name != one.name:
        one = replace(one, name=lookups.free_name(body.name, world.shelves.procurements, one.workspace))
    if body.instance_sku is not None:
        one = replace(one, sku=lookups.sku(world, body.instance_sku).id)
    if body.min_sell_price_dollars_per_node_hour is not None:
        one = replace(one, min_sell=per_minute(body.min_sell_price_dollars_per_node_hour))
    if body.max_buy_price_dollars_per_node_hour is not None:
        one = replace(one, max_buy=per_minute(body.max_buy_price_dollars_per_node_hour))
    if body.managed_window_minutes is not None:
        one = replace(one, window_minutes=body.managed_window_minutes)
    return one if body.enabled is None else replace(one, enabled=body.enabled)
