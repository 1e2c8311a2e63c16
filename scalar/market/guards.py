"""What stands between a wish to buy and the money: one pure rule, asked for every order.

1. The stop switch, and a reconciliation that found something, stop every purchase.
2. A limit price above the platform's own, or too far above what the hours of late really cost, is refused: it is a
   slip of the hand or a broken quote.
3. What this order may cost at worst, with what was spent and what is still open, stays within the caps: per order, per
   hour, per day and in all.
4. Above a threshold an operator approves it first. So too a sale far below the usual price.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from scalar.market.model import OrderRequest, Side, usd


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Dollars; prices in dollars per node-hour."""

    per_order: Decimal
    per_hour: Decimal
    per_day: Decimal
    in_all: Decimal
    approval_above: Decimal
    highest_price: Decimal
    highest_price_ratio: Decimal
    """To the usual price: the median of the last week's hours."""
    lowest_sale_ratio: Decimal = Decimal("0.25")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Dollars paid, and what open orders may yet cost at their limits."""

    last_hour: Decimal
    last_day: Decimal
    ever: Decimal


@dataclass(frozen=True, kw_only=True)
class Controls:
    buying_stopped_at: datetime | None = None
    stopped_by: str | None = None
    stop_reason: str | None = None
    pool_id: str | None = None


class Answer(Enum):
    ALLOWED = "allowed"
    NEEDS_APPROVAL = "needs_approval"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    answer: Answer
    reason: str = ""


_ALLOWED = Verdict(answer=Answer.ALLOWED)


def judge(
    request: OrderRequest,
    *,
    caps: Caps,
    spent: Spent,
    usual_price: Decimal | None,
    controls: Controls,
    disagreement: str | None,
) -> Verdict:
    """`disagreement`: what the last reconciliation found, if anything. `spent`: without this order."""
    if request.side is Side.SELL:
        return _judge_sale(request, caps, usual_price)
    reason = (
        _stopped(controls, disagreement)
        or _too_dear(request, caps, usual_price)
        or _over_a_cap(request.worst_case, caps, spent)
    )
    if reason:
        return Verdict(answer=Answer.REFUSED, reason=reason)
    if request.worst_case > caps.approval_above:
        return Verdict(
            answer=Answer.NEEDS_APPROVAL,
            reason=f"It may cost {usd(request.worst_case)}; above {usd(caps.approval_above)} an operator approves.",
        )
    return _ALLOWED


def stopped(controls: Controls, disagreement: str | None) -> str | None:
    """Why nothing may be bought now, if so: asked once more before an order is sent."""
    return _stopped(controls, disagreement)


def _judge_sale(request: OrderRequest, caps: Caps, usual_price: Decimal | None) -> Verdict:
    floor = usual_price * caps.lowest_sale_ratio if usual_price else None
    if floor is not None and request.limit_price < floor:
        return Verdict(
            answer=Answer.NEEDS_APPROVAL,
            reason=f"It may be sold for {usd(request.limit_price)} per node-hour, less than"
            f" {caps.lowest_sale_ratio:.0%} of the usual {usd(usual_price or Decimal(0))}.",
        )
    return _ALLOWED


def _stopped(controls: Controls, disagreement: str | None) -> str | None:
    if controls.buying_stopped_at is not None:
        return (
            f"Buying is stopped since {controls.buying_stopped_at:%Y-%m-%d %H:%M} UTC by {controls.stopped_by}:"
            f" {controls.stop_reason}. Resume it with `scalar market resume`."
        )
    if disagreement:
        return f"Buying is stopped until our books and the market's agree: {disagreement}"
    return None


def _too_dear(request: OrderRequest, caps: Caps, usual_price: Decimal | None) -> str | None:
    price = request.limit_price
    if price > caps.highest_price:
        return f"A limit of {usd(price)} per node-hour is above the platform's own, {usd(caps.highest_price)}."
    if usual_price is not None and price > usual_price * caps.highest_price_ratio:
        return (
            f"A limit of {usd(price)} per node-hour is more than {caps.highest_price_ratio} times the usual"
            f" {usd(usual_price)} (the median of the last week's hours)."
        )
    return None


def _over_a_cap(worst_case: Decimal, caps: Caps, spent: Spent) -> str | None:
    for name, before, cap in (
        ("per order", Decimal(0), caps.per_order),
        ("per hour", spent.last_hour, caps.per_hour),
        ("per day", spent.last_day, caps.per_day),
        ("in all", spent.ever, caps.in_all),
    ):
        if before + worst_case > cap:
            already = f" on top of {usd(before)}" if before else ""
            return f"It may cost {usd(worst_case)}{already}: the cap {name} is {usd(cap)}."
    return None
