"""What a plan is decided from, in a simulation: the same `Situation` that it gets in earnest. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scalar.market.model import Seat
from scalar.planning.model import Claim, FleetNode, Kind, Situation, WaitingJob, Wish, Work
from scalar.planning.model import Machine as PlannedMachine
from scalar.planning.patience import presses
from scalar.replay.fleet import Fleet, Machine
from scalar.replay.model import Arrival, Setup
from scalar.replay.tape import Tape
from scalar.replay.waiting import Queue


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """All that changes is shared with the simulation, which changes it."""

    setup: Setup
    tape: Tape
    fleet: Fleet
    queue: Queue
    arrivals: Mapping[str, Arrival]
    claims: Mapping[str, Claim]

    def situation(self, now: datetime) -> Situation:
        machines = list(self.fleet.machines.values())
        sku = self.setup.sku
        waiting = self.queue.first(self.setup.most_looked_at)
        return Situation(
            now=now,
            kinds=(self._kind(now),),
            queue=tuple(self._waiting(self.arrivals[job.id], now) for job in waiting),
            nodes=tuple(self._node(each, now) for each in machines if each.ready),
            machines=tuple(_machine(each, sku.id) for each in machines),
            owned=tuple(
                Seat(block_id=each.id, number=0, sku=sku.id, start=each.start, end=each.until) for each in machines
            ),
            claims=tuple(self.claims.values()),
        )

    def _kind(self, now: datetime) -> Kind:
        setup = self.setup
        usual = self.tape.usual(now)
        return Kind(sku=setup.sku, usual_price=usual, cpus=setup.node_cpus, memory_bytes=setup.node_memory)

    def _node(self, machine: Machine, now: datetime) -> FleetNode:
        free = machine.free
        return FleetNode(
            id=machine.id,
            gpu_type=free.gpu_type,
            gpus=free.gpus_total,
            free_gpus=len(free.free_gpus),
            cpus=free.cpus_total,
            free_cpus=free.free_cpus,
            memory_bytes=free.memory_total,
            free_memory=free.free_memory,
            takes_work=True,
            until=machine.until,
            idle_since=machine.idle_since,
            work=tuple(self._work(self.arrivals[each], now) for each in machine.work),
        )

    def _work(self, arrival: Arrival, now: datetime) -> Work:
        return Work(job_id=arrival.id, wish=self._wish(arrival, now), gpus=arrival.gpus)

    def _waiting(self, arrival: Arrival, now: datetime) -> WaitingJob:
        """Nobody says how long it will run; by when it has to start, its customer does."""
        return WaitingJob(
            id=arrival.id,
            gpus=arrival.gpus,
            nodes=arrival.nodes,
            wish=self._wish(arrival, now),
            start_by=arrival.start_by,
        )

    def _wish(self, arrival: Arrival, now: datetime) -> Wish:
        """Of a running job, too: where its machine's time is up, it would have to start anew."""
        return Wish(
            tier=arrival.tier,
            price_limit=arrival.max_price_per_gpu_hour,
            pressing=presses(arrival.start_by, self.setup.boot, now),
        )


def _machine(machine: Machine, sku: str) -> PlannedMachine:
    return PlannedMachine(
        id=machine.id,
        sku=sku,
        until=machine.until,
        node_id=machine.id if machine.ready else None,
        order_id=machine.order,
    )
