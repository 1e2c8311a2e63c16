"""/instance_skus and the catalog of their properties."""

from typing import Any

from fastapi import APIRouter, Request

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.paging import Paging, page
from sandbox.market.skus import PROPERTIES, Sku, catalog, matching
from sandbox.market.wire import spans
from sandbox.market.world import World

router = APIRouter()


@router.get("/instance_skus")
def list_skus(world: TheWorld, _caller: Caller, paging: Paging) -> Any:
    found = page(list(world.skus.values()), paging, prefix="iskuc", key=lambda sku: (sku.id,))
    return found.rendered(rendering.sku)


@router.get("/instance_skus/availability")
def list_availability(request: Request, world: TheWorld, _caller: Caller, paging: Paging) -> Any:
    query = request.query_params
    wanted = {key: query.getlist(key) for key in ("id", *PROPERTIES) if key in query}
    with world.turn():
        rows = matching(world.skus.values(), wanted)
        found = page(rows, paging, prefix="iskuc", key=lambda sku: (sku.id,))
        return found.rendered(lambda sku: _availability(world, sku))


@router.get("/instance_skus/{id}")
def get_sku(id: str, world: TheWorld, _caller: Caller) -> Any:
    return rendering.sku(lookups.sku(world, id))


@router.get("/instance_skus/{id}/availability")
def get_availability(id: str, world: TheWorld, _caller: Caller) -> Any:
    with world.turn():
        return _availability(world, lookups.sku(world, id))


@router.get("/instance_sku_property_catalog")
def property_catalog(world: TheWorld, _caller: Caller, paging: Paging) -> Any:
    since = int(world.clock.anchor.market)
    found = page(catalog(world.skus.values()), paging, prefix="propc", key=lambda entry: (entry[0],))
    return found.rendered(lambda entry: _definition(*entry, since))


def _availability(world: World, sku: Sku) -> dict[str, Any]:
    return {
        "object": "instance_sku_availability",
        "instance_sku": rendering.sku_summary(world, sku.id),
        "schedule": spans(world.engine.purchasable(sku.id, int(world.now))),
    }


def _definition(key: str, title: str, values: list[str], since: int) -> dict[str, Any]:
    def named(name: str, description: str) -> dict[str, Any]:
        return {"name": name, "display_name": name, "description": description, "stable_at": since}

    return {
        "type": "enumeration",
        "key": named(key, title),
        "values": [named(value, f"{title}: {value}") for value in values],
    }
