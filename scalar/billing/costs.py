"""What the nodes of an hour cost, and who bears it. Pure; in whole micro-dollars that add up.

    blocks, uses, hour ─► costs_in ─► node costs: direct + idle = cost
                                  └─► run costs: direct, and a share of the idle time

What a run used of a node is the run's: `direct`, by GPU-seconds of the node's. The rest is idle, from the block's start
on. Idle time of a GPU type is shared by GPU-seconds among the hour's users of that type; where there are none, the
company bears it. Nodes that were not bought cost nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from math import lcm

from scalar.billing.block_prices import Bought, overlap
from scalar.billing.money import apportion
from scalar.metering.model import Window
from scalar.metering.usage import seconds


@dataclass(frozen=True, kw_only=True)
class Use:
    """A run's task on one of a block's nodes: `gpus` of the node's `of`, for a while."""

    run_id: str
    job_id: str
    organisation_id: str
    block_id: str
    gpus: int
    of: int
    window: Window


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """What a run bears of a block's cost, in micro-dollars."""

    run_id: str
    job_id: str
    organisation_id: str
    block_id: str
    gpu_seconds: Decimal
    cost: int
    idle_cost: int


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """What a block's nodes cost in a window, and who bears it, in micro-dollars."""

    block_id: str
    gpu_type: str
    gpu_seconds: Decimal
    used_gpu_seconds: Decimal
    cost: int
    direct: int
    idle_shared: int
    idle_unshared: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    nodes: tuple[NodeCost, ...]
    runs: tuple[RunCost, ...]

    @property
    def total(self) -> int:
        return sum(each.cost for each in self.nodes)


def costs_in(blocks: Iterable[Bought], uses: Iterable[Use], window: Window) -> Costs:
    """What the window's node-seconds cost, and who bears it; blocks of which nothing was ours in it are left out."""
    of_block: dict[str, list[Use]] = defaultdict(list)
    for use in uses:
        of_block[use.block_id].append(use)
    ours = [each for each in sorted(blocks, key=lambda each: each.id) if each.kept(window.start, window.end)]
    shared = [_Shared(each, of_block[each.id], window) for each in ours]
    idle = _idle_shares(shared)
    return Costs(
        nodes=tuple(each.node_cost() for each in shared),
        runs=tuple(each.run_cost(run_id, idle[each.block.id, run_id]) for each in shared for run_id in each.used),
    )


class _Shared:
    """A block in a window: who had what of it."""

    def __init__(self, block: Bought, uses: Sequence[Use], window: Window) -> None:
        self.block, self.window = block, window
        self.whose = {each.run_id: each for each in uses}
        used: dict[str, int] = defaultdict(int)
        for each in uses:
            used[each.run_id] += each.gpus * overlap(each.window, window)
        self.used = {run_id: used[run_id] for run_id in sorted(used) if used[run_id]}
        """GPU-microseconds by run."""
        self.direct = dict.fromkeys(self.used, 0)
        self.idle, self.idle_is_shared = 0, False
        for cell in _cells(block, window):
            self._share(cell, uses)

    def node_cost(self) -> NodeCost:
        direct = sum(self.direct.values())
        return NodeCost(
            block_id=self.block.id,
            gpu_type=self.block.gpu_type,
            gpu_seconds=seconds(self.block.gpus * self.block.kept(self.window.start, self.window.end)),
            used_gpu_seconds=seconds(sum(self.used.values())),
            cost=direct + self.idle,
            direct=direct,
            idle_shared=self.idle if self.idle_is_shared else 0,
            idle_unshared=0 if self.idle_is_shared else self.idle,
        )

    def run_cost(self, run_id: str, idle_cost: int) -> RunCost:
        use = self.whose[run_id]
        return RunCost(
            run_id=run_id,
            job_id=use.job_id,
            organisation_id=use.organisation_id,
            block_id=self.block.id,
            gpu_seconds=seconds(self.used[run_id]),
            cost=self.direct[run_id],
            idle_cost=idle_cost,
        )

    def _share(self, cell: Window, uses: Sequence[Use]) -> None:
        """Every node-second of the cell costs the same: shared by the part of a node that each had, and nobody had."""
        cost = self.block.cost_until(cell.end) - self.block.cost_until(cell.start)
        unit = lcm(*(each.of for each in uses))
        parts = dict.fromkeys(self.used, 0)
        for each in uses:
            if each.run_id in parts:
                parts[each.run_id] += unit // each.of * each.gpus * overlap(each.window, cell)
        rest = max(unit * self.block.kept(cell.start, cell.end) - sum(parts.values()), 0)
        if not cost:
            return
        *whose, idle = apportion(cost, [*parts.values(), rest])
        for run_id, share in zip(parts, whose, strict=True):
            self.direct[run_id] += share
        self.idle += idle


def _idle_shares(shared: Sequence[_Shared]) -> dict[tuple[str, str], int]:
    """By block and run: its share of what was idle of the same GPU type."""
    shares: dict[tuple[str, str], int] = {}
    for gpu_type in sorted({each.block.gpu_type for each in shared}):
        alike = [each for each in shared if each.block.gpu_type == gpu_type]
        users = [((each.block.id, run_id), used) for each in alike for run_id, used in each.used.items()]
        if users:
            parts = apportion(sum(each.idle for each in alike), [used for _, used in users])
            shares.update({who: part for (who, _), part in zip(users, parts, strict=True)})
            for each in alike:
                each.idle_is_shared = True
    return shares


def _cells(block: Bought, window: Window) -> list[Window]:
    """The window, cut where the price changes."""
    start, end = max(window.start, block.window.start), min(window.end, block.window.end)
    moments = sorted({start, end, *(each.start for each in block.steps if start < each.start < end)})
    return [Window(start=before, end=after) for before, after in pairwise(moments)]
