"""What the real market's papers leave open, each as a setting with our best guess as its default."""

from dataclasses import dataclass
from typing import Literal

MINUTE = 60
DAY = 24 * 60 * MINUTE


@dataclass(frozen=True, kw_only=True)
class Rules:
    # May an order match one whose window only overlaps its own ("cover"), or must both be the same ("exact")?
    windows: Literal["cover", "exact"] = "cover"
    # Does the public depth of a window count orders whose window is wider?
    depth: Literal["cover", "exact"] = "exact"
    # A trade's price: the resting order's limit, half-way between the two (rounded down), or the newcomer's own limit.
    execution: Literal["resting", "midpoint", "own"] = "resting"
    # "price_size_time": at one price the order of more node-minutes, as it was placed, goes first.
    priority: Literal["price_time", "price_size_time"] = "price_time"
    # What a newcomer does on meeting a resting order of its own account.
    self_trade: Literal["skip", "cancel_resting"] = "skip"
    # The fee on a resale: taken from the seller, never from originating providers, and never more than the proceeds.
    fee_flat: int = 0  # µ$ per node-minute
    fee_bps: int = 100
    # What an immediate-or-cancel order with allow_partial ends as when it got something, but not everything.
    partial_ioc_end: Literal["cancelled", "filled"] = "cancelled"
    allow_partial_default: bool = False
    min_seconds: int = MINUTE
    max_range_days: int = 1095
    # How long `trim` keeps what is over: the public fills go back 30 days, a pool's schedule one.
    history_days: int = 30
    pool_history_days: int = 1

    def price(self, *, own: int, resting: int) -> int:
        """What both sides trade at, when an order limited at `own` meets one resting at `resting`."""
        if self.execution == "resting":
            return resting
        return own if self.execution == "own" else (own + resting) // 2

    def resale_fee(self, *, value: int, node_minutes: int) -> int:
        """µ$ taken from a resale that brought `value`."""
        return min(value, self.fee_flat * node_minutes + self.fee_bps * value // 10_000)
