"""What the market would take, or give, for a window now; and the limit price that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.market import store
from scalar.market.answers import Fee, Quoted
from scalar.market.desk import Desk
from scalar.market.model import TICK, Rectangle, Side, Sku, on_tick

BID_UP, SELL_DOWN = Decimal("1.05"), Decimal("0.95")
"""How far beyond the quote a limit goes when nobody says: the book moves between looking and ordering."""
_WEEK = timedelta(days=7)
_FOUR_PLACES = Decimal("0.0001")


@dataclass(frozen=True, kw_only=True)
class Quote:
    """`price`: dollars per node-hour; None: it would not fill now, and `reason` says why in the market's word.

    `skus`: the kinds of machine that were asked about; of a quote with a price, the one that it is for.
    """

    side: Side
    skus: tuple[Sku, ...]
    window: Rectangle
    price: Decimal | None
    reason: str | None
    fee: Decimal | None
    """Dollars that the market takes of a sale at this price."""
    notices: tuple[str, ...]
    usual_price: Decimal | None = None
    """The median of the last week's hours."""

    @property
    def total(self) -> Decimal | None:
        return None if self.price is None else self.window.cost_at(self.price)

    @property
    def limit_price(self) -> Decimal | None:
        """A little worse for us than the quote, so that it still fills when the book has moved a little."""
        if self.price is None:
            return None
        return on_tick_for(self.side, self.price * (BID_UP if self.side is Side.BUY else SELL_DOWN))

    @property
    def to_usual(self) -> Decimal | None:
        """How many times the usual price."""
        if self.price is None or not self.usual_price:
            return None
        return (self.price / self.usual_price).quantize(_FOUR_PLACES)


def quote(desk: Desk, side: Side, skus: Sequence[Sku], window: Rectangle) -> Quote:
    """Nothing is ordered. Of several kinds of machine, the market names the best."""
    preview = desk.market.preview_order(
        side=side,
        requirements={"id": [each.id for each in skus]},
        start=window.start,
        seconds=int((window.end - window.start).total_seconds()),
        nodes=window.nodes,
        pool=desk.pool() if side is Side.SELL else None,
    )
    blank = Quote(
        side=side,
        skus=tuple(skus),
        window=window,
        price=None,
        reason=None,
        fee=None,
        notices=tuple(f"{each.title}: {each.description}" for each in preview.notices),
    )
    if not isinstance(preview, Quoted):
        return replace(blank, reason=preview.reason.value)
    found = tuple(each for each in skus if each.id == preview.sku) or blank.skus
    fee = fee_of(preview.fee, window, preview.price) if side is Side.SELL else None
    return replace(blank, skus=found, price=preview.price, fee=fee, usual_price=_usual(desk, preview.sku))


def fee_of(fee: Fee, window: Rectangle, price: Decimal) -> Decimal:
    """Dollars: so much per node-hour, and a share of what it brings."""
    return window.cost_at(fee.flat) + (window.cost_at(price) * fee.bps / 10_000).quantize(Decimal("0.000001"))


def on_tick_for(side: Side, price: Decimal) -> Decimal:
    """The nearest price of the market's that is no worse for us: the market itself would round to the nearest."""
    floor = on_tick(price)
    return floor + TICK if side is Side.SELL and floor < price else floor


def next_minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _usual(desk: Desk, sku: str) -> Decimal | None:
    with desk.transact() as tx:
        return store.usual_price(tx, sku, desk.clock() - _WEEK)
