"""The first node: bought before anybody asks, watched from the plan to the moment that it takes work."""

import time
from collections.abc import Callable
from typing import Any

from scalar_api.cli.client import Client
from scalar_api.up.errors import UpError
from scalar_api.up.platform import Platform, Step

_WITHIN_SECONDS = 150
_LOOK_SECONDS = 0.2


def watch_purchase(platform: Platform, tell: Callable[[Step], None]) -> dict[str, Any]:
    """A node that takes work. Raises: `UpError` with how far it came where there is none in time."""
    client = Client(platform.api_url, platform.credentials.operator_key)
    told: set[Step] = set()
    deadline = time.monotonic() + _WITHIN_SECONDS
    while True:
        steps, node = _look(client)
        for step in steps:
            if step not in told:
                told.add(step)
                tell(step)
        if node is not None:
            return node
        if time.monotonic() > deadline:
            raise UpError(_why_none(client, platform))
        time.sleep(_LOOK_SECONDS)


def block_of(platform: Platform, node: str) -> dict[str, Any] | None:
    """The block that the node of this name was bought with; None where it was not bought."""
    client = Client(platform.api_url, platform.credentials.operator_key)
    for block in client.get("/v1/blocks?all=true")["data"]:
        if any(machine["node"] == node for machine in block["machines"]):
            return dict(block)
    return None


def _look(client: Client) -> tuple[list[Step], dict[str, Any] | None]:
    nodes = [node for node in client.get("/v1/nodes")["data"] if not node["silent"]]
    ready = [node for node in nodes if node["state"] == "ready" and node["available_until"]]
    if ready:
        return _bought(client), dict(ready[-1])
    return [*_bought(client), *(Step("node", f"{node['name']} has joined") for node in nodes)], None


def _bought(client: Client) -> list[Step]:
    orders = [order for order in client.get("/v1/orders?limit=5")["data"] if order["side"] == "buy"]
    return [
        Step(f"order {order['state']}", _described(order))
        for order in reversed(orders)
        if order["state"] not in ("withdrawn", "rejected")
    ]


def _described(order: dict[str, Any]) -> str:
    paid = f", ${float(order['amount']):.2f}" if order["state"] == "filled" else ""
    return f"{order['nodes']} x {order['sku']} until {order['end'][11:16]} UTC{paid}"


def _why_none(client: Client, platform: Platform) -> str:
    orders = client.get("/v1/orders?limit=1")["data"]
    last = (
        f"The last order is {orders[0]['state']}: {orders[0]['message'] or 'nothing more is known'}."
        if orders
        else ("No order was made: look at the sensors plan_needed and plan_orders in Dagster.")
    )
    return f"No node was bought within {_WITHIN_SECONDS} s. {last} Logs: {platform.folder.logs}/."
