"""What the market writes on the wire, with defaults."""

from typing import Any

NOON = 1_795_262_400
"""2026-11-21 12:00 UTC"""
SKU = {"object": "instance_sku", "id": "isku_1", "alias": "sea-3-h100"}


def a_range(start: int = NOON, hours: int = 2, nodes: int = 4) -> dict[str, int]:
    return {"start_at": start, "end_at": start + hours * 3600, "node_count": nodes}


def a_fill(**changes: Any) -> dict[str, Any]:
    return {
        "contract": "cont_1",
        "filled_at": NOON - 60,
        "allocation_schedule_delta": [a_range()],
        "price_dollars_per_node_hour": "11.200020",
        **changes,
    }


def an_order(**changes: Any) -> dict[str, Any]:
    """Pending."""
    return {
        "object": "order",
        "id": "ordr_1",
        "capacity": {"id": "cap_1", "name": "main"},
        "pool": {"id": "pool_1", "name": "main"},
        "side": "buy",
        "allow_standing": False,
        "allow_partial": False,
        "instance_sku": SKU,
        "allocation_schedule_delta": [a_range()],
        "filled_allocation_schedule_delta": [],
        "limit_price_dollars_per_node_hour": "12.340000",
        "status": "pending",
        "created_at": NOON - 120,
        "created_by": None,
        **changes,
    }


def an_instance(**changes: Any) -> dict[str, Any]:
    return {
        "object": "instance",
        "id": "inst_1",
        "resource_path": "sfc:instance:acme:default:alpha",
        "owner": "acme",
        "workspace": "default",
        "workspace_id": "wksp_1",
        "name": "alpha",
        "status": "running",
        "instance_sku": SKU,
        "capacity": {"id": "cap_1", "name": "main"},
        "pool": {"id": "pool_1", "name": "main"},
        "created_at": NOON,
        "updated_at": NOON,
        "image": {"id": "image_1", "name": "ubuntu"},
        "managed_by": None,
        "cloud_init_user_data_used": True,
        "tags": {"scalar": "ins_1"},
        "priority_level": "normal",
        **changes,
    }


def a_pool(**changes: Any) -> dict[str, Any]:
    return {
        "object": "pool",
        "id": "pool_1",
        "resource_path": "sfc:pool:acme:default:main",
        "owner": "acme",
        "workspace": "default",
        "workspace_id": "wksp_1",
        "name": "main",
        "kind": "market",
        "allocation_schedule": {"total": [a_range()], "by_instance_sku": {"isku_1": [a_range()]}},
        "created_at": NOON,
        **changes,
    }


def a_procurement(**changes: Any) -> dict[str, Any]:
    return {
        "object": "procurement",
        "id": "proc_1",
        "name": "keep",
        "target": 3,
        "pool": {"id": "pool_1", "name": "main"},
        "instance_sku": SKU,
        "min_sell_price_dollars_per_node_hour": "8.000000",
        "max_buy_price_dollars_per_node_hour": "16.000000",
        "managed_window_minutes": 60,
        "enabled": True,
        "status": {"state": "info", "message": "running"},
        "created_at": NOON,
        "updated_at": NOON,
        **changes,
    }


def a_page(*rows: Any, cursor: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(rows), "has_more": cursor is not None, "cursor": cursor, **changes}


def an_error(type: str, message: str = "no", **changes: Any) -> dict[str, Any]:
    return {"error": {"type": type, "message": message, **changes}}
