"""A server that has a market, and what its operators and loops do there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from scalar.market import instances, machines
from scalar.market.desk import Desk
from scalar.market.trading import trade
from tests.api.calls import NodeAgent
from tests.made_up import facts
from tests.sandbox_process import SandboxMarket

if TYPE_CHECKING:
    from tests.api.conftest import Api

H100, H200 = "isku_sea3h100", "isku_iad12h200"


@dataclass
class Trading:
    api: "Api"
    desk: Desk
    sandbox: SandboxMarket

    def __post_init__(self) -> None:
        self.operator = self.api.operator()

    def place(self, *, key: str | None = None, client: httpx.Client | None = None, **changes: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return (client or self.operator).post("/v1/orders", json=an_order(**changes), headers=headers)

    def placed(self, **changes: Any) -> dict[str, Any]:
        answer = self.place(**changes)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def order(self, order_id: str) -> dict[str, Any]:
        return dict(self.operator.get(f"/v1/orders/{order_id}").raise_for_status().json())

    def tick(self) -> None:
        """The sensor sends and follows."""
        assert trade(self.desk).problems == []

    def bought(self, **changes: Any) -> dict[str, Any]:
        """An order that has filled."""
        order_id = self.placed(**changes)["id"]
        self.tick()
        order = self.order(order_id)
        assert order["state"] == "filled", order
        return order

    def machines_join(self) -> list[NodeAgent]:
        """Every open seat gets a machine, and its agent joins and listens."""
        now = datetime.now(UTC)
        with self.api.database.transaction() as tx:
            machines.take_seats(tx, now)
            waiting = [each for each in instances.live_instances(tx) if each.node_id is None]
            tokens = {each.id: machines.new_join_token(tx, each, now).get_secret_value() for each in waiting}
        return [self._joins(name, token) for name, token in tokens.items()]

    def _joins(self, name: str, token: str) -> NodeAgent:
        body = {"facts": facts(name, 8).model_dump(mode="json")}
        reply = self.api.client(token).post("/v1/nodes/join", json=body).raise_for_status().json()
        agent = NodeAgent(reply["node_id"], self.api.client(reply["credential"]))
        agent.desired()
        return agent


def an_order(**changes: Any) -> dict[str, Any]:
    """Two hours of one H100 machine; what is None is left out."""
    body = {"side": "buy", "sku": H100, "nodes": 1, "duration_minutes": 120, **changes}
    return {name: value for name, value in body.items() if value is not None}


def a_minute(offset: timedelta = timedelta(0)) -> datetime:
    """A whole minute, so far from now."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + offset
