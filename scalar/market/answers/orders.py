"""Orders, what they fill at, and what one would cost."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, AliasPath, Field, RootModel

from scalar.market.answers.fields import Answer, BoundedSchedule, Moment, Open, Price
from scalar.market.model import Side


class OrderStatus(Open):
    """What has become of an order.

    pending ──► filled | rejected | cancelled | standing | partially_filled
    standing ──► partially_filled | filled | cancelled
    partially_filled ──► filled | cancelled
    """

    PENDING = "pending"
    STANDING = "standing"
    PARTIALLY_FILLED = "partially_filled"
    """Some of it has filled, the rest is still on offer."""
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    """By us or by the market; what had filled stays filled."""

    @property
    def ended(self) -> bool:
        """Nothing more of it will fill. A status that we don't know has not ended."""
        return self in (OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED)


class MarketFill(Answer):
    """One trade. Its node counts are positive whichever side the order is on."""

    contract: str | None = None
    filled_at: Moment
    schedule: BoundedSchedule = Field(validation_alias="allocation_schedule_delta")
    price: Price = Field(validation_alias="price_dollars_per_node_hour")


class MarketOrder(Answer):
    id: str
    pool_id: str = Field(validation_alias=AliasChoices(AliasPath("pool", "id"), AliasPath("capacity", "id")))
    side: Side
    sku: str = Field(validation_alias=AliasPath("instance_sku", "id"))
    schedule: BoundedSchedule = Field(validation_alias="allocation_schedule_delta")
    """What was asked for: one rectangle."""
    filled_schedule: BoundedSchedule = Field(validation_alias="filled_allocation_schedule_delta")
    limit_price: Price = Field(validation_alias="limit_price_dollars_per_node_hour")
    status: OrderStatus
    allow_standing: bool
    allow_partial: bool = False
    created_at: Moment
    filled_at: Moment | None = None
    cancelled_at: Moment | None = None
    average_price: Price | None = Field(default=None, validation_alias="filled_average_price_dollars_per_node_hour")
    fills: tuple[MarketFill, ...] = ()


class Fee(Answer):
    """What a sale costs the seller: flat, and a share of what it brings."""

    flat: Price = Field(validation_alias="flat_dollars_per_node_hour")
    bps: int = Field(validation_alias="percentage_bps")


class Notice(Answer):
    """Maintenance that overlaps the window."""

    start: Moment = Field(validation_alias="start_at")
    end: Moment = Field(validation_alias="end_at")
    maintenance_type: str
    title: str
    description: str
    action_message: str | None = None


class Quoted(Answer):
    """It would fill now. `body`: the order that the market suggests, in its own words."""

    type: Literal["quoted"] = "quoted"
    sku: str = Field(validation_alias=AliasPath("post_order_body", "instance_sku"))
    price: Price = Field(validation_alias=AliasPath("post_order_body", "limit_price_dollars_per_node_hour"))
    schedule: BoundedSchedule = Field(validation_alias=AliasPath("post_order_body", "allocation_schedule_delta"))
    body: dict[str, Any] = Field(validation_alias="post_order_body")
    fee: Fee
    notices: tuple[Notice, ...] = ()


class UnavailableReason(Open):
    NO_MATCHING_INSTANCE_SKUS = "no_matching_instance_skus"
    NO_AVAILABILITY = "no_availability"


class Unavailable(Answer):
    """It would not fill now."""

    type: Literal["unavailable"] = "unavailable"
    reason: UnavailableReason
    fee: Fee | None = None
    notices: tuple[Notice, ...] = ()


Preview = Annotated[Quoted | Unavailable, Field(discriminator="type")]


class Previewed(RootModel[Preview]):
    """Either."""
