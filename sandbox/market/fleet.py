"""Instances and the node time they live on.

    awaiting_allocation ─► running ─► terminated   (asked, or its pool's node time ran out)
            └────────────────┴──────► failed       (a fault)

A pool's nodes go to those who wait by priority, then age. Nobody who has a node is turned out for a better priority;
when there are fewer nodes than machines, the lowest priority goes first, and of those the newest.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from sandbox.market.faults import Faults
from sandbox.market.machines import Machine, Machines
from sandbox.market.records import Shelf
from sandbox.market.refusals import Detail, Refusal, invalid
from sandbox.market.resources import PRIORITIES, Instance, Priority, new_id
from sandbox.market.schedules import Schedule
from sandbox.market.settings import ServerRules
from sandbox.market.skus import Sku

_NEVER = float("inf")
_DAY = 86_400

Owned = Callable[[str, str], Schedule]
"""The node time of a pool and SKU."""


class Fleet:
    def __init__(
        self,
        *,
        shelf: Shelf[Instance],
        owned: Owned,
        skus: dict[str, Sku],
        machines: Machines,
        faults: Faults,
        rules: Callable[[], ServerRules],
    ) -> None:
        self._shelf = shelf
        self._owned = owned
        self._skus = skus
        self._machines = machines
        self._faults = faults
        self._rules = rules
        # Most of the time nothing lives, or nothing changes: asked at every step, this must cost little.
        self._live = {instance.id for instance in shelf if instance.live}

    def boot_again(self) -> None:
        """After a restart of the sandbox: what ran, runs."""
        for instance in self._alive():
            if instance.status == "running":
                self._boot(instance)

    def create(self, instance: Instance, now: float) -> Instance:
        """Raises: `Refusal` at the customer's limit."""
        mine = sum(1 for other in self._alive() if other.customer == instance.customer)
        if mine >= self._rules().instance_limit:
            detail = Detail(field=None, code="capacity_limit", message=f"{mine} instances are live")
            raise Refusal(422, "the limit of instances is reached", detail)
        return self._admit(instance, now)

    def terminate(self, instance: Instance, now: float) -> Instance:
        """Raises: `Refusal` 404 for one that has ended."""
        if not instance.live:
            raise Refusal(404, f"{instance.id} is {instance.status}")
        ended = self._end(instance, "terminated", now)
        self.settle(now)
        return ended

    def replace(self, old: Instance, new: Instance, now: float) -> Instance:
        """The new one takes the old one's node at once. Raises: `Refusal` where the old one has ended."""
        if not old.live:
            raise invalid("id", f"{old.id} is {old.status}")
        self._end(old, "terminated", now)
        made = self._admit(new, now, settle=False)
        if old.holds_node:
            made = self._give_node(made, now)
        self.settle(now)
        return self._shelf[made.id]

    def change(self, instance: Instance, now: float) -> Instance:
        return self._shelf.put(replace(instance, updated_at=now))

    def set_priorities(self, levels: dict[str, Priority], now: float) -> list[Instance]:
        return [self.change(replace(self._shelf[one], priority=level), now) for one, level in levels.items()]

    def fail(self, id: str | None, now: float) -> Instance | None:
        """The hardware under an instance breaks: the named one, or the oldest that runs."""
        running = [one for one in self._alive() if one.status == "running" and id in {None, one.id}]
        if not running:
            return None
        broken = min(running, key=lambda one: (one.created_at, one.id))
        self._machines.kill(broken.id)
        return self._end(broken, "failed", now)

    def next_due(self, now: float) -> float:
        """When the next instance boots, or the node time of one that lives changes."""
        due = _NEVER
        for instance in self._alive():
            due = min(due, instance.boot_due if instance.boot_due is not None else _NEVER)
        for pool, sku in self._places():
            later = (time for time in self._owned(pool, sku).times if time > now)
            due = min(due, next(later, _NEVER))
        return due

    def settle(self, now: float) -> None:
        """Make instances agree with the node time of their pools, and boot what is due."""
        for pool, sku in self._places():
            self._settle_place(pool, sku, now)
        for instance in self._alive():
            if instance.boot_due is not None and instance.boot_due <= now:
                self._run(instance, now)

    def forget(self, now: float) -> None:
        """Drop what ended long ago."""
        days = self._rules().keep_closed_days
        for instance in self._shelf if days else ():
            if not instance.live and instance.updated_at < now - days * _DAY:
                self._shelf.remove(instance.id)

    def _alive(self) -> list[Instance]:
        return [self._shelf[one] for one in sorted(self._live)]

    def _places(self) -> Iterable[tuple[str, str]]:
        return {(instance.pool, instance.sku) for instance in self._alive()}

    def _settle_place(self, pool: str, sku: str, now: float) -> None:
        here = [one for one in self._alive() if (one.pool, one.sku) == (pool, sku)]
        nodes = self._owned(pool, sku).at(int(now))
        holding = sorted((one for one in here if one.holds_node), key=_precedence)
        for instance in holding[nodes:]:
            self._lose_node(instance, now)
        waiting = sorted((one for one in here if not one.holds_node), key=_precedence)
        for instance in waiting[: max(0, nodes - len(holding))]:
            self._give_node(instance, now)

    def _give_node(self, instance: Instance, now: float) -> Instance:
        boot = None if instance.stuck else now + self._rules().boot_seconds
        return self._shelf.put(replace(instance, allocated_at=now, boot_due=boot, updated_at=now))

    def _lose_node(self, instance: Instance, now: float) -> None:
        if instance.status == "running":
            self._end(instance, "terminated", now)
        else:
            self._shelf.put(replace(instance, allocated_at=None, boot_due=None, updated_at=now))

    def _admit(self, instance: Instance, now: float, *, settle: bool = True) -> Instance:
        faults = self._faults.hitting(("never_boots", "silent"), now, method="POST", path="/preview/v2/instances")
        kinds = {fault.kind for fault in faults}
        admitted = replace(instance, stuck="never_boots" in kinds, silent="silent" in kinds)
        self._shelf.put(admitted)
        self._live.add(admitted.id)
        if settle:
            self.settle(now)
        return self._shelf[admitted.id]

    def _run(self, instance: Instance, now: float) -> None:
        running = replace(instance, status="running", boot_due=None, running_at=now, updated_at=now)
        self._shelf.put(running)
        self._boot(running)

    def _boot(self, instance: Instance) -> None:
        if instance.silent:
            return
        sku = self._skus[instance.sku]
        self._machines.boot(
            Machine(
                id=instance.id,
                user_data=instance.user_data,
                gpus=sku.num_accelerators,
                gpu_type=sku.accelerator,
            )
        )

    def _end(self, instance: Instance, status: str, now: float) -> Instance:
        self._live.discard(instance.id)
        self._machines.halt(instance.id)
        ended = replace(instance, status=status, allocated_at=None, boot_due=None, updated_at=now)  # type: ignore[arg-type]
        return self._shelf.put(ended)


def a_name() -> str:
    return "instance-" + new_id("x")[2:10].lower()


def _precedence(instance: Instance) -> tuple[int, float, str]:
    """Who keeps a node, and who gets one, first."""
    return (-PRIORITIES.index(instance.priority), instance.created_at, instance.id)
