"""The order book, and the trades that everybody sees. Participants are anonymous."""

from pydantic import Field

from scalar.market.answers.fields import Answer, BoundedSchedule, Count, Moment, Price, Schedule


class PriceLevel(Answer):
    """All that is on offer, or asked for, at one price and of one kind of machine."""

    sku: str = Field(validation_alias="instance_sku")
    price: Price = Field(validation_alias="dollars_per_node_hour")
    schedule: Schedule = Field(validation_alias="allocation_schedule_delta")


class _Book(Answer):
    start: Moment = Field(validation_alias="start_at")
    end: Moment = Field(validation_alias="end_at")
    requested_at: Moment


class BookQuote(_Book):
    """The best of either side for exactly this window; None: nobody there."""

    best_bid: PriceLevel | None = None
    best_ask: PriceLevel | None = None


class BookDepth(_Book):
    bids: tuple[PriceLevel, ...]
    """Highest first."""
    asks: tuple[PriceLevel, ...]
    """Lowest first."""


class BookWindow(Answer):
    """A window and a kind of machine for which somebody bids or asks."""

    sku: str = Field(validation_alias="instance_sku")
    start: Moment = Field(validation_alias="start_at")
    end: Moment = Field(validation_alias="end_at")
    bid_orders: Count = Field(validation_alias="total_bid_order_count")
    ask_orders: Count = Field(validation_alias="total_ask_order_count")
    best_bid: PriceLevel | None = None
    best_ask: PriceLevel | None = None


class PublicFill(Answer):
    """A trade between two participants that are not named."""

    sku: str = Field(validation_alias="instance_sku")
    price: Price = Field(validation_alias="dollars_per_node_hour")
    schedule: BoundedSchedule = Field(validation_alias="allocation_schedule_delta")
    filled_at: Moment
