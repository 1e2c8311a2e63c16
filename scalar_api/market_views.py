"""What goes over the wire about the market: orders, blocks, quotes. Money is decimal strings, in dollars."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from scalar.accounts.trail import Deed
from scalar.market.holdings import Holding, Sitting
from scalar.market.model import Fill, InstanceState, Order, OrderState, Rectangle, Side
from scalar.market.order_entry import Wish
from scalar.market.quoting import Quote
from scalar_api.views import Text

MOST_NODES = 1024
MOST_MINUTES = 3 * 365 * 24 * 60
_TENTH = Decimal("0.1")
Name = Annotated[Text, Field(min_length=1, max_length=255)]


class OrderBody(BaseModel):
    """Something to buy or sell."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"side": "buy", "gpu_type": "H100", "nodes": 1, "duration_minutes": 120}]},
    )

    side: Side
    sku: Name | None = Field(default=None, description="A kind of machine, by id or alias; or say `gpu_type`.")
    gpu_type: Name | None = Field(default=None, description="Such as `H100`: the kind with such GPUs that quotes best.")
    nodes: int = Field(ge=1, le=MOST_NODES)
    start: AwareDatetime | None = Field(default=None, description="A whole minute; the next one, if left out.")
    end: AwareDatetime | None = Field(default=None, description="A whole minute; or say `duration_minutes`.")
    duration_minutes: int | None = Field(default=None, ge=1, le=MOST_MINUTES)
    limit_price: Decimal | None = Field(
        default=None,
        gt=0,
        le=100_000,
        max_digits=12,
        decimal_places=6,
        description="Dollars per node-hour: at most this is paid, or at least this taken. If left out, the market's"
        " quote and 5 % of room.",
    )
    allow_standing: bool = Field(default=False, description="Wait in the book for what is not there now.")
    allow_partial: bool = Field(default=False, description="Fewer nodes, or a part of the time, will do.")
    purpose: Annotated[Text, Field(min_length=1, max_length=500)] = Field(default="by hand", description="Why.")

    @model_validator(mode="after")
    def _says_one_of_each(self) -> "OrderBody":
        if (self.sku is None) == (self.gpu_type is None):
            raise ValueError("say one of sku and gpu_type")
        if (self.end is None) == (self.duration_minutes is None):
            raise ValueError("say one of end and duration_minutes")
        return self

    def wish(self) -> Wish:
        return Wish(
            side=self.side,
            nodes=self.nodes,
            sku=self.sku,
            gpu_type=self.gpu_type,
            start=self.start,
            end=self.end,
            minutes=self.duration_minutes,
            limit_price=self.limit_price,
            allow_standing=self.allow_standing,
            allow_partial=self.allow_partial,
            purpose=self.purpose,
        )


class OrderView(BaseModel):
    id: str
    side: Side
    state: OrderState
    sku: str
    nodes: int
    start: datetime
    end: datetime
    limit_price: Decimal = Field(description="Dollars per node-hour.")
    worst_case: Decimal = Field(description="Dollars that it costs, or brings, if all of it fills at its limit.")
    amount: Decimal = Field(description="Dollars paid for, or brought by, what has filled.")
    allow_standing: bool
    allow_partial: bool
    purpose: str
    message: str | None = Field(description="Why it waits, or why it ended as it did.")
    requested_by: str
    plan_id: str | None
    approved_by: str | None
    market_id: str | None
    created_at: datetime
    sent_at: datetime | None
    cancel_asked_at: datetime | None
    filled_at: datetime | None
    ended_at: datetime | None


class WindowView(BaseModel):
    start: datetime
    end: datetime
    nodes: int


class FillView(BaseModel):
    contract: str | None
    filled_at: datetime
    price: Decimal = Field(description="Dollars per node-hour.")
    amount: Decimal
    parts: list[WindowView]


class SittingView(BaseModel):
    """A machine on a node of a block."""

    instance_id: str
    seat: int
    start: datetime
    end: datetime
    state: InstanceState
    node_id: str | None
    node: str | None = Field(description="The node's name.")
    until: datetime = Field(description="The end of the machine's last seat: it may move on to another block.")


class BlockView(BaseModel):
    """Nodes that were bought for a window, at one price."""

    id: str
    order_id: str
    sku: str
    sku_alias: str
    gpu_type: str | None
    gpus_per_node: int | None
    nodes: int
    start: datetime
    end: datetime
    price: Decimal = Field(description="Dollars per node-hour.")
    cost: Decimal
    sold_node_hours: Decimal = Field(description="What of it was sold back.")
    proceeds: Decimal = Field(description="Dollars that this brought, before the market's fees.")
    hours_left: Decimal
    ends_soon: bool
    machines: list[SittingView]


class DeedView(BaseModel):
    at: datetime
    actor: str
    action: str
    details: dict[str, Any]


class OrderDetail(OrderView):
    kept_free: list[str] = Field(description="Of a sale: the nodes that take no work until it is decided.")
    fills: list[FillView]
    blocks: list[BlockView]
    trail: list[DeedView] = Field(description="Who did what, oldest first.")


class OrderPage(BaseModel):
    data: list[OrderView]
    next_cursor: str | None


class BlockPage(BaseModel):
    data: list[BlockView]
    next_cursor: str | None


class QuoteView(BaseModel):
    """What the market would take, or give, now."""

    side: Side
    sku: str | None = Field(description="The kind of machine that it is for.")
    sku_alias: str | None
    gpu_type: str | None
    nodes: int
    start: datetime
    end: datetime
    available: bool
    reason: str | None = Field(description="Why it would not fill now, in the market's word.")
    price: Decimal | None = Field(description="Dollars per node-hour.")
    total: Decimal | None
    fee: Decimal | None = Field(description="Dollars that the market takes of a sale.")
    usual_price: Decimal | None = Field(description="The median of the last week's hours; null with less than a day.")
    to_usual: Decimal | None = Field(description="The price by the usual price.")
    limit_price: Decimal | None = Field(description="The limit of an order that names none: 5 % of room.")
    worst_case: Decimal | None = Field(description="Dollars at that limit.")
    notices: list[str] = Field(description="Maintenance that overlaps the window.")


def view_of(order: Order) -> OrderView:
    return OrderView.model_validate(_fields(order))


def detail_of(
    order: Order, *, kept_free: list[str], fills: Sequence[Fill], blocks: list[BlockView], trail: Sequence[Deed]
) -> OrderDetail:
    return OrderDetail(
        **_fields(order),
        kept_free=kept_free,
        fills=[
            FillView(
                contract=fill.contract,
                filled_at=fill.filled_at,
                price=fill.price,
                amount=fill.amount,
                parts=[_window(part) for part in fill.parts],
            )
            for fill in fills
        ],
        blocks=blocks,
        trail=[DeedView(at=deed.at, actor=deed.actor, action=deed.action, details=deed.details) for deed in trail],
    )


def block_of(holding: Holding, *, now: datetime, soon: timedelta) -> BlockView:
    block, window = holding.block, holding.block.window
    left = max(window.end - max(now, window.start), timedelta(0))
    return BlockView(
        id=block.id,
        order_id=block.order_id,
        sku=block.sku,
        sku_alias=holding.sku_alias,
        gpu_type=holding.gpu_type,
        gpus_per_node=holding.gpus_per_node,
        nodes=window.nodes,
        start=window.start,
        end=window.end,
        price=block.price,
        cost=block.cost,
        sold_node_hours=(Decimal(holding.sold_node_minutes) / 60).quantize(Decimal("0.001")),
        proceeds=holding.proceeds,
        hours_left=(Decimal(left // timedelta(seconds=1)) / 3600).quantize(_TENTH),
        ends_soon=now < window.end <= now + soon,
        machines=[_sitting(each) for each in holding.sittings],
    )


def quote_of(quote: Quote) -> QuoteView:
    sku = quote.skus[0] if quote.price is not None or len(quote.skus) == 1 else None
    limit = quote.limit_price
    return QuoteView(
        side=quote.side,
        sku=sku.id if sku else None,
        sku_alias=sku.alias if sku else None,
        gpu_type=quote.skus[0].gpu_type,
        nodes=quote.window.nodes,
        start=quote.window.start,
        end=quote.window.end,
        available=quote.price is not None,
        reason=quote.reason,
        price=quote.price,
        total=quote.total,
        fee=quote.fee,
        usual_price=quote.usual_price,
        to_usual=quote.to_usual,
        limit_price=limit,
        worst_case=quote.window.cost_at(limit) if limit is not None else None,
        notices=list(quote.notices),
    )


def _fields(order: Order) -> dict[str, Any]:
    request = order.request
    own = {name: getattr(order, name) for name in OrderView.model_fields if name in Order.__dataclass_fields__}
    return {
        **own,
        "side": request.side,
        "sku": request.sku,
        "nodes": request.window.nodes,
        "start": request.window.start,
        "end": request.window.end,
        "limit_price": request.limit_price,
        "worst_case": request.worst_case,
        "allow_standing": request.allow_standing,
        "allow_partial": request.allow_partial,
        "purpose": request.purpose,
    }


def _window(part: Rectangle) -> WindowView:
    return WindowView(start=part.start, end=part.end, nodes=part.nodes)


def _sitting(each: Sitting) -> SittingView:
    return SittingView(
        instance_id=each.instance_id,
        seat=each.seat,
        start=each.start,
        end=each.end,
        state=each.state,
        node_id=each.node_id,
        node=each.node_name,
        until=each.until,
    )
