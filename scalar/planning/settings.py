"""How capacity is planned, from the environment (`SCALAR_PLAN_*`) and `.env`."""

from decimal import Decimal
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from scalar.planning.model import Policy


class PlanSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SCALAR_PLAN_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    fast_buffer_gpus: dict[str, int] = Field(
        default_factory=dict, description='Idle GPUs that are kept for who comes next, by type: {"H100": 8}.'
    )
    block_minutes: int = Field(default=60, ge=15, le=10_080, description="How long a node is bought for, at least.")
    order_seconds: int = Field(
        default=15, ge=0, le=600, description="From a plan to its order at the market: no purchase begins sooner."
    )
    boot_minutes: int = Field(default=15, ge=0, le=120, description="What a machine may take from purchase to work.")
    horizon_minutes: int = Field(default=10_080, ge=60, description="No purchase lasts longer than so.")
    extend_before_minutes: int = Field(default=15, ge=5, description="Busy nodes get more time so long before the end.")
    sell_after_idle_minutes: int = Field(default=30, ge=1, description="Nodes idle for so long are offered.")
    min_sell_remaining_minutes: int = Field(default=30, ge=5, description="What a node must have left to be offered.")
    bid_up: Decimal = Field(default=Decimal("1.03"), ge=1, description="A purchase's limit, by its quote.")
    sell_down: Decimal = Field(default=Decimal("0.97"), gt=0, le=1, description="A sale's limit, by its quote.")
    flex_price_ratio: Decimal = Field(
        default=Decimal(1), gt=0, description="Flex jobs without a limit: at most so much, by the usual price."
    )
    flex_wait_minutes: int = Field(
        default=1440,
        ge=0,
        description="So long a flex job may wait for a cheaper hour, from its submission.",
    )
    service_level: float = Field(
        default=0.8,
        ge=0,
        lt=1,
        description="Of hours, in so many Fast demand is to find its nodes there, instead of waiting for them to boot.",
    )
    max_nodes: int = Field(default=16, ge=0, description="Nodes owned and ordered at one time, at most.")

    which: Literal["reactive", "optimal", "auto"] = Field(
        default="auto",
        alias="SCALAR_PLAN_POLICY",
        description="The policy; `auto`: the one that looks ahead, once its replay of a month was the better one.",
    )

    @property
    def policy(self) -> Policy:
        return Policy(**self.model_dump(exclude={"which"}))
