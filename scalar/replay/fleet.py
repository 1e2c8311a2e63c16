"""The machines of a simulation, what was bought for them, and what runs on them."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from scalar.billing.block_prices import Bought, Sale
from scalar.billing.money import micros
from scalar.capacity.model import FreeNode, Share
from scalar.market.model import Rectangle
from scalar.metering.model import Window
from scalar.replay.model import Setup


class Sat(NamedTuple):
    """A stretch of a block's time that a machine has."""

    block: str
    start: datetime
    end: datetime


@dataclass(kw_only=True)
class Machine:
    id: str
    free: FreeNode
    start: datetime
    until: datetime
    ready: bool = False
    idle_since: datetime | None = None
    order: str
    sits: list[Sat]
    work: dict[str, Share] = field(default_factory=dict)
    """By job."""


class Fleet:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.machines: dict[str, Machine] = {}
        self._bought: dict[str, Bought] = {}
        self._sales: dict[str, list[Sale]] = defaultdict(list)
        self.orders = 0

    def buy(self, window: Rectangle, price: Decimal, now: datetime) -> list[Machine]:
        order = self._block(window, price)
        found = []
        for number in range(window.nodes):
            name = f"{order}/{number:04}"
            machine = Machine(
                id=name,
                free=self._empty(name, window.end),
                start=max(now, window.start),
                until=window.end,
                order=order,
                sits=[Sat(order, window.start, window.end)],
            )
            self.machines[name] = machine
            found.append(machine)
        return found

    def extend(self, window: Rectangle, price: Decimal) -> list[Machine]:
        """Those whose time is up when the window begins; machines that work come first."""
        ending = [each for each in self.machines.values() if each.until == window.start]
        chosen = sorted(ending, key=lambda each: (not each.work, each.id))[: window.nodes]
        if chosen:
            block = self._block(replace(window, nodes=len(chosen)), price)
            for each in chosen:
                each.until = window.end
                each.free = replace(each.free, available_until=window.end)
                each.sits.append(Sat(block, window.start, window.end))
        return chosen

    def sell(self, window: Rectangle, price: Decimal, now: datetime) -> list[Machine]:
        """Idle ones that last to the window's end."""
        idle = [each for each in self.machines.values() if each.until == window.end and each.ready and not each.work]
        chosen = sorted(idle, key=lambda each: each.id)[: window.nodes]
        for each in chosen:
            for sat in each.sits:
                part = Window(start=max(sat.start, window.start), end=sat.end)
                if part.start < part.end:
                    net = micros(Rectangle(start=part.start, end=part.end, nodes=1).cost_at(price))
                    sale = Sale(order_id=f"sale/{each.id}", fill=0, at=now, net=net, parts=(part,))
                    self._sales[sat.block].append(sale)
            del self.machines[each.id]
        self.orders += bool(chosen)
        return chosen

    def take(self, job: str, share: Share) -> None:
        machine = self.machines[share.node_id]
        free = machine.free
        machine.work[job] = share
        machine.idle_since = None
        machine.free = replace(
            free,
            free_gpus=tuple(each for each in free.free_gpus if each not in share.gpus),
            free_cpus=free.free_cpus - share.cpus,
            free_memory=free.free_memory - share.memory_bytes,
        )

    def give_back(self, job: str, share: Share, now: datetime) -> None:
        machine = self.machines.get(share.node_id)
        if machine is None:
            return
        free = machine.free
        del machine.work[job]
        machine.idle_since = now if not machine.work else None
        machine.free = replace(
            free,
            free_gpus=tuple(sorted((*free.free_gpus, *share.gpus))),
            free_cpus=free.free_cpus + share.cpus,
            free_memory=free.free_memory + share.memory_bytes,
        )

    def blocks(self) -> list[Bought]:
        """All that was ever bought, with what was sold of it."""
        return [replace(each, sales=tuple(self._sales.get(each.id, ()))) for each in self._bought.values()]

    def _block(self, window: Rectangle, price: Decimal) -> str:
        self.orders += 1
        block = f"block_{self.orders:06}"
        self._bought[block] = Bought(
            id=block,
            gpu_type=self._setup.sku.gpu_type,
            gpus=self._setup.sku.gpus_per_node,
            nodes=window.nodes,
            window=Window(start=window.start, end=window.end),
            paid=micros(window.cost_at(price)),
        )
        return block

    def _empty(self, id: str, until: datetime) -> FreeNode:
        gpus = self._setup.sku.gpus_per_node
        return FreeNode(
            id=id,
            gpu_type=self._setup.sku.gpu_type,
            gpus_total=gpus,
            free_gpus=tuple(range(gpus)),
            cpus_total=self._setup.node_cpus,
            free_cpus=self._setup.node_cpus,
            memory_total=self._setup.node_memory,
            free_memory=self._setup.node_memory,
            available_until=until,
        )
