"""One kind of machine, looked at ahead: its question to the programme, and what the answer means. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import numpy as np

from scalar.market.model import Rectangle, Side, usd
from scalar.planning.blocks_ahead import (
    HOUR,
    MOST_AT_ONCE,
    Block,
    ends_of,
    lengths_of,
    of_length,
    or_any,
    owned_nodes,
    rungs,
    served,
)
from scalar.planning.highs import Floats
from scalar.planning.model import Action, ActionKind, Kind, Policy, Situation
from scalar.planning.outlook import Ahead, Outlook, at_once
from scalar.planning.patience import Waiting
from scalar.planning.prices import Quotes, bid, soon
from scalar.planning.programme import Answer, Offer, Question, Tail
from scalar.planning.wants import Wants

_RUNS_ALREADY = 0.999
_LATER_EVERY = 6
"""Hours between the moments at which a block may begin later."""
_OF_A_BID = 0.85
"""Half of a usual spread is the price of selling: where more comes than was foreseen, it is bought back at the ask."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What was planned for one kind, by hour, in nodes: for pictures and for reasons."""

    owned: Floats
    planned: Floats
    """Owned, once the plan's orders have filled, and what it would begin later."""
    fast: Floats
    hourly: Floats
    prices: Floats
    """Equally likely values of an hour's price, by hour; of one column where it is taken as known."""
    expected: float
    without: float


class KindAhead:
    """`asked` first, then what was answered: `actions`, `seen`."""

    def __init__(self, situation: Situation, policy: Policy, outlook: Outlook, wants: Wants, kind: Kind) -> None:
        self._situation, self._policy, self._outlook, self._kind = situation, policy, outlook, kind
        self._ahead: Ahead = outlook.kinds[kind.sku.id]
        self._hours = self._ahead.hours
        self._start = soon(situation.now, policy)
        self._fast = at_once(self._ahead.fast[: self._hours]) / kind.gpus
        self._hourly = np.array(self._ahead.hourly[: self._hours])
        self._owned = owned_nodes(situation, kind, self._start, self._hours, policy.extend_before)
        self._quotes = Quotes(situation.quotes)
        self._spare = [each for each in wants.spare if each.sku == kind.sku.id]
        self._blocks, self._offers = self._ladders(wants)
        self._asked: Question | None = None

    @property
    def tails(self) -> int:
        return len(self._spare)

    @property
    def waiting(self) -> Waiting:
        return Waiting(kind=self._kind, ahead=self._ahead, owned=self._owned)

    def asked(self, room: float, budget: float) -> Question:
        later = [] if not self._offers else self._later()
        come, due = self._flex()
        self._asked = Question(
            owned=self._owned,
            fast=self._fast,
            recourse=self._recourse(),
            offers=[*self._offers, *later],
            tails=self._tails(),
            flex_come=come,
            flex_due=due,
            flex_pays=self._flex_pays(),
            budget=max(0.0, budget),
            room=max(0.0, room),
        )
        return self._asked

    def actions(self, found: Answer) -> list[Action]:
        made = []
        authority = self._ahead.authority
        for window in dict.fromkeys((b.window.start, b.window.end, b.kind) for b in self._blocks):
            rungs = [j for j, b in enumerate(self._blocks) if (b.window.start, b.window.end, b.kind) == window]
            nodes = int(sum(found.buy[j] for j in rungs) * float(authority.order_size) + 1e-9)
            action = self._action(rungs, nodes, found) if nodes else None
            made += [action] if action else []
        return made

    def seen(self, found: Answer) -> Seen:
        return Seen(
            owned=self._owned,
            planned=found.stock,
            fast=self._fast,
            hourly=self._hourly,
            prices=at_once(self._ahead.prices[: self._hours]) if self._ahead.prices else self._hourly[:, None],
            expected=found.expected,
            without=found.without,
        )

    def _action(self, rungs: Sequence[int], nodes: int, found: Answer) -> Action | None:
        block = next((self._blocks[j] for j in rungs if self._blocks[j].window.nodes >= nodes), self._blocks[rungs[-1]])
        window = replace(block.window, nodes=nodes)
        limit = self._limit(block.price, self._saves(block, nodes, found))
        if limit < block.price:
            return None
        return Action(
            kind=block.kind,
            sku=self._kind.sku.id,
            window=window,
            limit_price=limit,
            reason=self._why(block, nodes, found),
        )

    def _limit(self, price: Decimal, worth: float) -> Decimal:
        """A little above the quote; of what a node-hour is worth no more than skill allows, where it isn't all."""
        factor = self._ahead.authority.limit_price
        bounds = [] if self._ahead.value is None else [Decimal(str(self._ahead.value)) * factor]
        if factor < 1:
            bounds.append(Decimal(str(round(worth, 6))) * factor)
        return bid(price, min(bounds) if bounds else None, self._policy)

    def _saves(self, block: Block, nodes: int, found: Answer) -> float:
        """Dollars per node-hour that these nodes would cost by the hour, as far as somebody is expected on them."""
        hours = self._hours_of(block)
        used = self._used(hours, nodes, found)
        saved = float(used @ self._recourse()[hours]) + self._flex_more(hours, nodes, found) * self._flex_pays()
        return float(saved / (nodes * max(1, hours.stop - hours.start)))

    def _hours_of(self, block: Block) -> slice:
        first = self._hour_of(block.window.start)
        return slice(first, min(self._hours, first + round((block.window.end - block.window.start) / HOUR)))

    def _hour_of(self, start: datetime) -> int:
        """The hour in which it begins: until then the node that it extends is there."""
        return min(self._hours - 1, max(0, int((start - self._start) / HOUR)))

    def _used(self, hours: slice, nodes: int, found: Answer) -> Floats:
        without = found.stock[hours] - nodes
        return np.asarray(np.clip(self._fast[hours] - without[:, None], 0.0, nodes).mean(axis=1))

    def _why(self, block: Block, nodes: int, found: Answer) -> str:
        """The hours that it serves, what it is expected to save, and what it may lose."""
        hours = self._hours_of(block)
        used = self._used(hours, nodes, found)
        short = self._fast[hours] - (found.stock[hours] - nodes)[:, None]
        flex = self._flex_more(hours, nodes, found)
        saves = float(used @ self._recourse()[hours]) + flex * self._flex_pays()
        cost = float(block.price) * nodes * (hours.stop - hours.start)
        busy, all_of_it = float(used.sum()) + flex, nodes * (hours.stop - hours.start)
        chance = max(float((short > 0).mean()), busy / max(1, all_of_it))
        of_flex = f" ({flex:.0f} of them flex work)" if flex >= 1 else ""
        return (
            f"{nodes} node(s) of {self._kind.sku.alias} for {(block.window.end - block.window.start) / HOUR:g} h at"
            f" {usd(block.price)} per node-hour serve {busy:.0f} of {all_of_it} node-hours that are expected to want"
            f" them{of_flex}; by the hour these would cost ${saves:,.2f}, so ${saves - cost:,.2f} is saved. Risk: in"
            f" {1 - chance:.0%} of what may come an hour of it stands idle; if nobody comes, ${cost:,.2f} is lost."
        )

    def _ladders(self, wants: Wants) -> tuple[list[Block], list[Offer]]:
        blocks: list[Block] = []
        offers: list[Offer] = []
        starts = [(ActionKind.BUY, self._start, MOST_AT_ONCE)]
        starts += [(ActionKind.EXTEND, end, nodes) for end, nodes in ends_of(wants, self._kind).items()]
        for kind, start, most in starts:
            for hours in lengths_of(self._ahead, self._policy):
                before_nodes, before_cost = 0, Decimal(0)
                for nodes in rungs(most):
                    window = Rectangle(start=start, end=start + hours * HOUR, nodes=nodes)
                    price = self._quotes.price(Side.BUY, self._kind.sku.id, window)
                    if price is None:
                        break
                    per_node = (price * nodes - before_cost) / (nodes - before_nodes)
                    offers.append(self._offer(kind, start, hours, float(per_node), nodes - before_nodes))
                    blocks.append(Block(kind=kind, window=window, price=price))
                    before_nodes, before_cost = nodes, price * nodes
        return blocks, offers

    def _offer(self, kind: ActionKind, start: datetime, hours: int, price: float, most: float) -> Offer:
        first = self._hour_of(start)
        last = min(self._hours, first + hours)
        bill = price * hours * float(self._policy.bid_up)
        adds = kind is ActionKind.BUY
        # Where skill is small, it must be worth more than it costs by a margin.
        cost = price / float(self._ahead.authority.limit_price) * (last - first)
        # At one price, a machine that runs is better than one that boots.
        cost *= 1 if adds else _RUNS_ALREADY
        return Offer(start=first, end=last, cost=cost, most=most, bill=bill, adds=adds)

    def _later(self) -> list[Offer]:
        """The same lengths, from later hours on, at what an hour will cost then as dear, by today's ratio."""
        now = {offer.end - offer.start: offer.cost / (offer.end - offer.start) for offer in reversed(self._offers)}
        ratio = {length: price / max(self._hourly[0], 1e-9) for length, price in now.items() if length > 1}
        return [
            Offer(
                adds=False,
                start=t,
                end=min(self._hours, t + length),
                cost=each * self._hourly[t] * (min(self._hours, t + length) - t),
            )
            for length, each in ratio.items()
            for t in range(_LATER_EVERY, self._hours, _LATER_EVERY)
        ]

    def _tails(self) -> list[Tail]:
        tails = []
        for until in sorted({each.until for each in self._spare}):
            hours = min(self._hours, int((until - self._start) / HOUR))
            price = self._quotes.price(Side.SELL, self._kind.sku.id, Rectangle(start=self._start, end=until, nodes=1))
            if price is not None and hours > 0:
                nodes = sum(each.until == until for each in self._spare)
                # As with purchases, what lies beyond the hours that are looked at is worth what is paid for it.
                brings = float(price * self._policy.sell_down) * hours * _OF_A_BID
                tails.append(Tail(end=hours, nodes=nodes, brings=brings))
        return tails

    def _recourse(self) -> Floats:
        """By the hour, and never more than the work brings. Until a machine can be there, the service level rules."""
        cost = np.minimum(self._hourly, or_any(self._ahead.value))
        lead = min(self._outlook.lead_hours, self._hours)
        level = min(self._outlook.service_level, 0.999)
        cost[:lead] = np.maximum(cost[:lead], self._hourly[:lead] / (1 - level))
        return np.asarray(cost)

    def _flex_pays(self) -> float:
        """For a node-hour: what it costs by the hour, or what it is worth to who waits, if that is less."""
        return min(float(self._hourly.mean()), or_any(self._ahead.flex_price) * self._kind.gpus)

    def _flex_more(self, hours: slice, nodes: int, found: Answer) -> float:
        """Node-hours of flex work that these nodes do, on what fast work leaves idle."""
        come, _ = self._flex()
        if come is None:
            return 0.0
        without = found.stock.copy()
        without[hours] -= nodes
        return served(come, self._idle(found.stock)) - served(come, self._idle(without))

    def _idle(self, stock: Floats) -> Floats:
        return np.asarray(np.maximum(stock[:, None] - self._fast, 0.0).mean(axis=1))

    def _flex(self) -> tuple[Floats | None, Floats | None]:
        """What has come and what is due by each hour, cumulated, in node-hours."""
        if not any(self._ahead.flex):
            return None, None
        come = np.cumsum(of_length(self._ahead.flex, self._hours)) / self._kind.gpus
        slack = min(self._ahead.slack, self._hours)
        due = np.concatenate([np.zeros(slack), come[: self._hours - slack]])
        sooner = np.cumsum(of_length(self._ahead.flex_due, self._hours)) / self._kind.gpus
        return come, np.minimum(np.maximum(due, sooner), come)
