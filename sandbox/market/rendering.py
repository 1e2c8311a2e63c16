"""Resources as the market shows them (its schema of July 2026)."""

from collections.abc import Iterable
from typing import Any

from sandbox.market.desk import OrderView
from sandbox.market.resources import (
    Image,
    Instance,
    OrderRecord,
    PoolRecord,
    Procurement,
    Transfer,
    Workspace,
)
from sandbox.market.schedules import Schedule
from sandbox.market.skus import Sku
from sandbox.market.values import Fill, OpenWindow, OrderStatus, PriceLevel, Trade
from sandbox.market.wire import average, dollars, spans
from sandbox.market.world import World


def order(world: World, view: OrderView) -> dict[str, Any]:
    record = view.record
    fills = [_fill(one) for one in view.fills] * (2 if world.rules.repeat_fills else 1)
    shown = {
        "object": "order",
        "id": record.id,
        **_pool_summaries(world, record.pool),
        "side": record.side,
        "allow_standing": record.allow_standing,
        "allow_partial": record.allow_partial,
        "instance_sku": sku_summary(world, record.sku),
        "allocation_schedule_delta": _asked(record),
        "filled_allocation_schedule_delta": spans(view.filled),
        "limit_price_dollars_per_node_hour": dollars(record.limit),
        "status": view.status.value,
        "created_at": record.created_at,
        "created_by": _principal(record),
        "filled_at": view.filled_at,
        "cancelled_at": view.cancelled_at,
        "fills": fills,
        "filled_average_price_dollars_per_node_hour": None,
    }
    if view.filled:
        shown["filled_average_price_dollars_per_node_hour"] = average(view.spent, view.filled.node_minutes)
    return shown


def pending(world: World, record: OrderRecord) -> dict[str, Any]:
    """An order as its 201 shows it, whatever has become of it since."""
    return order(world, OrderView(record=record, status=OrderStatus.PENDING))


def pool(world: World, record: PoolRecord, *, since: float) -> dict[str, Any]:
    owned = world.engine.pool(record.id).owned
    by_sku = {sku: schedule.clip(int(since) - int(since) % 60) for sku, schedule in owned.items()}
    total = Schedule.of(step for schedule in by_sku.values() for step in schedule.steps())
    return {
        "object": "pool",
        **_scope(world, "pool", record.id, record.workspace, record.name),
        "kind": "market",
        "allocation_schedule": {
            "total": spans(total),
            "by_instance_sku": {sku: spans(schedule) for sku, schedule in by_sku.items() if schedule},
        },
        "procurements": [
            {"id": one.id, "name": one.name} for one in world.shelves.procurements if one.pool == record.id
        ],
        "deployments": [],
        "created_at": record.created_at,
        "tags": record.tags,
    }


def transfer(world: World, one: Transfer) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "object": "pool_transfer",
        "id": one.id,
        "status": one.status,
        "created_at": one.created_at,
        "from_pool": one.from_pool,
        "to_pool": one.to_pool,
        "instance_sku": sku_summary(world, one.sku),
        "allocation_schedule_delta": _with_tail(one.steps),
    }
    return shown if one.rejected_reason is None else {**shown, "rejected_reason": one.rejected_reason}


def instance(world: World, one: Instance, *, with_user_data: bool = False) -> dict[str, Any]:
    image_name = world.shelves.images.get(one.image)
    shown: dict[str, Any] = {
        "object": "instance",
        **_scope(world, "instance", one.id, one.workspace, one.name),
        "status": one.status,
        "instance_sku": sku_summary(world, one.sku),
        **_pool_summaries(world, one.pool),
        "created_at": int(one.created_at),
        "updated_at": int(one.updated_at),
        "image": {"id": one.image, "name": image_name.name if image_name else "deleted"},
        "managed_by": None,
        "cloud_init_user_data_used": one.user_data is not None,
        "enable_public_ipv4": False,
        "tags": one.tags,
        "expected_shutdown_at": None,
        "priority_level": one.priority,
    }
    if with_user_data and one.user_data is not None:
        shown["cloud_init_user_data"] = one.user_data
    return shown


def procurement(world: World, one: Procurement) -> dict[str, Any]:
    return {
        "object": "procurement",
        **_scope(world, "procurement", one.id, one.workspace, one.name),
        "target": "node_count" if one.target is None else one.target,
        **_pool_summaries(world, one.pool),
        "instance_sku": sku_summary(world, one.sku),
        "min_sell_price_dollars_per_node_hour": dollars(one.min_sell),
        "max_buy_price_dollars_per_node_hour": dollars(one.max_buy),
        "managed_window_minutes": one.window_minutes,
        "enabled": one.enabled,
        "status": {"state": one.state, "message": one.message},
        "created_at": one.created_at,
        "updated_at": one.updated_at,
    }


def image(one: Image) -> dict[str, Any]:
    return {
        "object": "image",
        "id": one.id,
        "resource_path": f"sfc:image:{one.owner}:{one.workspace_name}:{one.name}",
        "owner": one.owner,
        "workspace": one.workspace_name,
        "workspace_id": one.workspace,
        "name": one.name,
        "is_public": one.public,
        "upload_status": one.status,
        "created_at": one.created_at,
        "sha256": one.sha256,
    }


def workspace(world: World, one: Workspace) -> dict[str, Any]:
    owner = world.shelves.customers[one.customer].name
    return {
        "object": "workspace",
        "id": one.id,
        "resource_path": f"sfc:workspace:{owner}:{one.name}",
        "owner": owner,
        "name": one.name,
        "created_at": one.created_at,
    }


def sku(one: Sku) -> dict[str, Any]:
    shown = {key: {"value": value, "display_value": _displayed(key, value)} for key, value in one.properties().items()}
    return {"object": "instance_sku", "id": one.id, "alias": one.alias, **shown, "audience_hint": None}


def sku_summary(world: World, id: str) -> dict[str, Any]:
    return {"object": "instance_sku", "id": id, "alias": world.skus[id].alias}


def level(one: PriceLevel) -> dict[str, Any]:
    return {
        "instance_sku": one.sku,
        "dollars_per_node_hour": dollars(one.price),
        "allocation_schedule_delta": spans(one.schedule),
    }


def window(one: OpenWindow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "instance_sku": one.sku,
        "start_at": one.start,
        "end_at": one.end,
        "duration_hours": (one.end - one.start) // 3600,
        "total_bid_order_count": one.bid_count,
        "total_ask_order_count": one.ask_count,
    }
    bests = {"best_bid": one.best_bid, "best_ask": one.best_ask}
    return shown | {name: level(best) for name, best in bests.items() if best is not None}


def trade(one: Trade) -> dict[str, Any]:
    return {
        "instance_sku": one.sku,
        "dollars_per_node_hour": dollars(one.price),
        "allocation_schedule_delta": spans(one.delta),
        "filled_at": one.at,
    }


def _fill(one: Fill) -> dict[str, Any]:
    return {
        "contract": f"cont_{one.seq}",
        "filled_at": one.at,
        "allocation_schedule_delta": spans(one.delta),
        "price_dollars_per_node_hour": dollars(one.price),
    }


def _asked(record: OrderRecord) -> list[dict[str, Any]]:
    return [{"start_at": record.start, "end_at": record.asked_end, "node_count": record.asked_nodes}]


def _principal(record: OrderRecord) -> dict[str, Any] | None:
    if record.created_by is None:
        return None
    return {"id": record.created_by, "type": "token", "name": record.created_by_name}


def _pool_summaries(world: World, id: str) -> dict[str, Any]:
    found = world.shelves.pools.get(id)
    name = found.name if found else "deleted"
    # `capacity` is what pools were called before; its ids had a prefix of their own.
    return {
        "pool": {"id": id, "name": name},
        "capacity": {"id": "cap_" + id.removeprefix("pool_"), "name": name},
    }


def _scope(world: World, type: str, id: str, workspace_id: str, name: str) -> dict[str, Any]:
    place = world.shelves.workspaces[workspace_id]
    owner = world.shelves.customers[place.customer].name
    return {
        "id": id,
        "resource_path": f"sfc:{type}:{owner}:{place.name}:{name}",
        "owner": owner,
        "workspace": place.name,
        "workspace_id": place.id,
        "name": name,
    }


def _with_tail(steps: Iterable[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Gaps as ranges of no nodes, and an unbounded end of none."""
    shown: list[dict[str, Any]] = []
    for start, end, nodes in steps:
        if shown and shown[-1]["end_at"] < start:
            shown.append({"start_at": shown[-1]["end_at"], "end_at": start, "node_count": 0})
        shown.append({"start_at": start, "end_at": end, "node_count": nodes})
    return [*shown, {"start_at": shown[-1]["end_at"], "end_at": None, "node_count": 0}]


def _displayed(key: str, value: object) -> str:
    if key in {"memory", "local_storage"} and isinstance(value, int):
        return f"{value // 1024**3} GiB"
    return "NVIDIA " + str(value) if key == "accelerator" else str(value)
