"""The market of a simulation: prices of single hours as they were, and blocks at a ratio of them. Pure."""

from bisect import bisect_right
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.market.model import Rectangle, Side, on_tick
from scalar.planning.model import Question, Quote
from scalar.replay.model import HOUR, History, Setup

_WEEK = timedelta(days=7)


class Tape:
    def __init__(self, history: History, setup: Setup) -> None:
        ordered = sorted(history.prices.items())
        self._hours = [hour for hour, _ in ordered]
        self._prices = [price for _, price in ordered]
        self._setup = setup
        self._lengths = sorted(setup.block_ratios)

    def hourly(self, at: datetime) -> Decimal:
        """What a node-hour costs then, bought singly."""
        return self._prices[max(0, bisect_right(self._hours, at) - 1)]

    def usual(self, at: datetime) -> Decimal:
        """The mean of the week before."""
        first, last = bisect_right(self._hours, at - _WEEK), bisect_right(self._hours, at)
        known = self._prices[first:last] or [self.hourly(at)]
        return sum(known, Decimal(0)) / len(known)

    def ask(self, now: datetime, window: Rectangle) -> Decimal:
        """By what an hour costs now: nobody sells by what it will cost."""
        hours = (window.end - window.start) / HOUR
        longest = max((length for length in self._lengths if length <= hours), default=self._lengths[0])
        return on_tick(self.hourly(now) * self._setup.block_ratios[longest])

    def bid(self, now: datetime, window: Rectangle) -> Decimal:
        return on_tick(self.ask(now, window) * self._setup.bid_ratio)

    def quote(self, now: datetime, question: Question) -> Quote:
        to_be_had = question.window.nodes <= self._setup.depth
        price = self.ask(now, question.window) if question.side is Side.BUY else self.bid(now, question.window)
        return Quote(question=question, price=price if to_be_had else None)
