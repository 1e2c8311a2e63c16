"""The market itself, for operators: quotes, prices, what stands between us and the money, and the stop switch."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from scalar.accounts.store import audit
from scalar.database import Transaction
from scalar.errors import Conflict, InvalidRequest, NotFound, ScalarError
from scalar.market import figures, order_entry, reconciliations, statement, store
from scalar.market.catalogue import known, named
from scalar.market.desk import Desk
from scalar.market.figures import PriceHour
from scalar.market.guards import Controls, stopped
from scalar.market.model import Side, Sku
from scalar.market.order_entry import Wish
from scalar.market.quoting import quote
from scalar.market.settings import MarketSettings
from scalar_api.dependencies import Db, MarketConfig, MarketDesk, Now, OpenMarket, Operator
from scalar_api.market import answered
from scalar_api.market_views import MOST_MINUTES, MOST_NODES, Name, QuoteView, quote_of
from scalar_api.problems import responses
from scalar_api.views import Text

router = APIRouter(prefix="/v1/market", tags=["market"])
_OF_THE_MARKET = responses(Conflict)
_A_CENT = Decimal("0.01")


class SpendingCapView(BaseModel):
    name: str
    cap: Decimal
    used: Decimal = Field(description="Dollars paid, and what open orders may yet cost at their limits.")
    left: Decimal


class ReconciliationView(BaseModel):
    at: datetime
    agrees: bool
    findings: list[dict[str, str]] = Field(description="Each with its `kind`, `what` doesn't agree, what to `do`.")
    figures: dict[str, Any]


class MarketBalanceView(BaseModel):
    available: Decimal = Field(description="Dollars that no open order has reserved.")
    current: Decimal
    updated_at: datetime


class MarketStatus(BaseModel):
    """Whether and how much may be bought."""

    configured: bool
    url: str | None
    pool_id: str | None
    dry_run: bool = Field(description="Plans are made and shown, and nothing is bought for them.")
    may_buy: bool
    why_not: str | None
    buying_stopped_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None
    caps: list[SpendingCapView]
    approval_above: Decimal = Field(description="Dollars: above it an order waits for an operator.")
    highest_price: Decimal = Field(description="Highest limit, in dollars per node-hour.")
    highest_price_ratio: Decimal = Field(description="Highest limit, by the usual price.")
    last_reconciliation: ReconciliationView | None
    balance: MarketBalanceView | None
    balance_problem: str | None = Field(description="Why there is no balance.")


class PriceHourView(BaseModel):
    hour: datetime
    trades: int
    node_hours: Decimal
    low: Decimal | None
    average: Decimal | None
    high: Decimal | None
    quotes: dict[str, Any]
    depth: dict[str, Any]
    available_nodes: int | None


class Prices(BaseModel):
    """Hours, oldest first: dollars per node-hour. An hour that nobody looked at is not there."""

    sku: str
    sku_alias: str
    gpu_type: str
    gpus_per_node: int
    usual_price: Decimal | None = Field(description="The median of the last week's hours; null with less than a day.")
    data: list[PriceHourView]


class StopRequest(BaseModel):
    reason: Annotated[Text, Field(min_length=1, max_length=500)]


class AcceptRequest(BaseModel):
    why: Annotated[Text, Field(min_length=1, max_length=500, description="What it is for.")]


class Accepted(BaseModel):
    """A line of the market's statement that is of no order of ours, and who answers for it."""

    number: int
    accepted_by: str
    why: str


class Switch(BaseModel):
    buying_stopped_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None


@router.get("/quote", responses=_OF_THE_MARKET)
def get_quote(
    _: Operator,
    desk: MarketDesk,
    now: Now,
    sku: Annotated[Name | None, Query(description="A kind of machine, by id or alias; or say `gpu_type`.")] = None,
    gpu_type: Annotated[Name | None, Query(description="Such as `H100`.")] = None,
    nodes: Annotated[int, Query(ge=1, le=MOST_NODES)] = 1,
    start: Annotated[AwareDatetime | None, Query(description="A whole minute; the next one, if left out.")] = None,
    duration_minutes: Annotated[int, Query(ge=1, le=MOST_MINUTES)] = 60,
    side: Side = Side.BUY,
) -> QuoteView:
    """What the market would take, or give, now, for this window. Nothing is ordered."""
    _one_of(sku, gpu_type)
    wish = Wish(side=side, nodes=nodes, start=start, minutes=duration_minutes, purpose="a quote")
    window = order_entry.window_of(wish, now)
    with answered():
        return quote_of(quote(desk, side, known(desk, sku=sku, gpu_type=gpu_type), window))


@router.get("/prices", responses=_OF_THE_MARKET)
def get_prices(
    _: Operator,
    database: Db,
    now: Now,
    sku: Annotated[Name | None, Query(description="A kind of machine, by id or alias; or say `gpu_type`.")] = None,
    gpu_type: Annotated[Name | None, Query(description="The first kind with such GPUs.")] = None,
    hours: Annotated[int, Query(ge=1, le=24 * 366)] = 168,
) -> Prices:
    """What was traded in each hour, and how the book stood."""
    _one_of(sku, gpu_type)
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    with database.transaction() as tx:
        found = _known_to_us(tx, sku, gpu_type)
        rows = figures.price_hours(tx, found.id, since)
        usual = store.usual_price(tx, found.id, now - timedelta(days=7))
    return Prices(
        sku=found.id,
        sku_alias=found.alias,
        gpu_type=found.gpu_type,
        gpus_per_node=found.gpus_per_node,
        usual_price=usual,
        data=[_price_hour(row) for row in rows],
    )


@router.get("/status", responses=responses())
def get_status(_: Operator, database: Db, settings: MarketConfig, desk: OpenMarket, now: Now) -> MarketStatus:
    """Whether anything may be bought, what was spent of each cap, whether the books agree, and the balance."""
    with database.transaction() as tx:
        controls, last = store.controls(tx), reconciliations.last(tx)
        disagreement = reconciliations.disagreement(tx)
        caps = _caps(tx, settings, now)
    balance, problem = _balance(desk)
    why_not = stopped(controls, disagreement) if desk else "No market is configured."
    return MarketStatus(
        configured=desk is not None,
        url=settings.url,
        pool_id=controls.pool_id,
        dry_run=settings.dry_run,
        may_buy=why_not is None,
        why_not=why_not,
        **_switch(controls).model_dump(),
        caps=caps,
        approval_above=settings.approval_above,
        highest_price=settings.max_price,
        highest_price_ratio=settings.max_price_ratio,
        last_reconciliation=ReconciliationView(**last) if last else None,
        balance=balance,
        balance_problem=problem,
    )


@router.post("/stop", responses=responses())
def stop_buying(body: StopRequest, caller: Operator, database: Db, now: Now) -> Switch:
    """No order to buy goes out from now on; what the market has already is not cancelled. The first reason stays."""
    with database.transaction() as tx:
        store.stop_buying(tx, caller.actor, body.reason, now)
        audit(tx, caller.actor, "market.stop", "market", reason=body.reason)
        return _switch(store.controls(tx))


@router.post("/resume", responses=responses())
def resume_buying(caller: Operator, database: Db) -> Switch:
    """Let orders go out again. Where the books don't agree, buying stays stopped until they do."""
    with database.transaction() as tx:
        store.resume_buying(tx)
        audit(tx, caller.actor, "market.resume", "market")
        return _switch(store.controls(tx))


@router.post("/statement/{number}/accept", responses=responses(NotFound))
def accept_charge(number: int, body: AcceptRequest, caller: Operator, database: Db) -> Accepted:
    """A charge of no order of ours is right all the same: the next comparison of the books says no more of it."""
    with database.transaction() as tx:
        if not statement.accept(tx, number, by=caller.actor, why=body.why):
            raise NotFound("The statement has no such line that is of no order of ours.")
        audit(tx, caller.actor, "market.accept", f"statement/{number}", why=body.why)
    return Accepted(number=number, accepted_by=caller.actor, why=body.why)


def _one_of(sku: str | None, gpu_type: str | None) -> None:
    if (sku is None) == (gpu_type is None):
        raise InvalidRequest("Say one of sku and gpu_type.")


def _known_to_us(tx: Transaction, sku: str | None, gpu_type: str | None) -> Sku:
    skus = store.skus(tx)
    if not skus:
        raise InvalidRequest("No prices have been collected yet.")
    return named(skus, sku=sku, gpu_type=gpu_type)[0]


def _price_hour(row: PriceHour) -> PriceHourView:
    return PriceHourView.model_validate(row, from_attributes=True)


def _caps(tx: Transaction, settings: MarketSettings, now: datetime) -> list[SpendingCapView]:
    since = {"hour": now - timedelta(hours=1), "day": now - timedelta(days=1), "in all": None}
    caps = {"hour": settings.max_hour, "day": settings.max_day, "in all": settings.max_total}
    used = {name: store.spent_since(tx, moment).quantize(_A_CENT) for name, moment in since.items()}
    return [SpendingCapView(name="order", cap=settings.max_order, used=Decimal(0), left=settings.max_order)] + [
        SpendingCapView(name=name, cap=caps[name], used=used[name], left=max(Decimal(0), caps[name] - used[name]))
        for name in caps
    ]


def _balance(desk: Desk | None) -> tuple[MarketBalanceView | None, str | None]:
    """A market that doesn't answer must not hide the rest: that is when somebody looks."""
    if desk is None:
        return None, "No market is configured."
    try:
        with answered():
            told = desk.market.balances()
    except ScalarError as error:
        return None, error.message
    dollars = [(Decimal(cents) / 100).quantize(_A_CENT) for cents in (told.available_cents, told.current_cents)]
    return MarketBalanceView(available=dollars[0], current=dollars[1], updated_at=told.updated_at), None


def _switch(controls: Controls) -> Switch:
    return Switch(
        buying_stopped_at=controls.buying_stopped_at,
        stopped_by=controls.stopped_by,
        stop_reason=controls.stop_reason,
    )
