"""The account, its workspaces, its pools of owned compute, and the market's own automation on them."""

from typing import Literal

from pydantic import AliasChoices, AliasPath, Field

from scalar.market.answers.fields import Answer, Count, Moment, Open, Price, Schedule, Tags


class Account(Answer):
    id: str = Field(validation_alias="account_id")
    created_at: Moment
    entity_type: str | None = None


class Workspace(Answer):
    id: str
    name: str
    created_at: Moment


class Pool(Answer):
    """Compute that we own over time: now and in the future, unless history was asked for."""

    id: str
    name: str
    workspace_id: str
    kind: str
    schedule_by_sku: dict[str, Schedule] = Field(validation_alias=AliasPath("allocation_schedule", "by_instance_sku"))
    created_at: Moment
    tags: Tags = Field(default_factory=dict)


class ProcurementState(Open):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Procurement(Answer):
    """Buys below the target and sells above it, within its prices, over the window of minutes to come."""

    id: str
    name: str
    pool_id: str = Field(validation_alias=AliasChoices(AliasPath("pool", "id"), AliasPath("capacity", "id")))
    sku: str = Field(validation_alias=AliasPath("instance_sku", "id"))
    target: Count | Literal["node_count"]
    """Nodes; `node_count`: as many as the pool has instances."""
    min_sell_price: Price = Field(validation_alias="min_sell_price_dollars_per_node_hour")
    max_buy_price: Price = Field(validation_alias="max_buy_price_dollars_per_node_hour")
    managed_window_minutes: int
    enabled: bool
    state: ProcurementState = Field(validation_alias=AliasPath("status", "state"))
    message: str = Field(validation_alias=AliasPath("status", "message"))
    created_at: Moment
    updated_at: Moment
