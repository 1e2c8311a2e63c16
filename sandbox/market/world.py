"""The whole market: engine, customers, machines and traders, under one clock and one lock.

Whoever wants something takes a turn. A turn first does everything that has become due since the last one, in the
order of time; then it is the caller's; then all that changed is committed, and only then may anybody be answered: a
sandbox that is killed has lost nothing that it has told.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from sandbox.market.automation import Automation
from sandbox.market.clock import Anchor, Clock
from sandbox.market.desk import Desk
from sandbox.market.faults import Faults
from sandbox.market.fleet import Fleet
from sandbox.market.machines import AgentMachines, Machines, NoMachines
from sandbox.market.opening import price_sources
from sandbox.market.options import Options
from sandbox.market.previews import Previews
from sandbox.market.resources import (
    PUBLIC_OWNER,
    PUBLIC_WORKSPACE,
    Archived,
    Customer,
    Image,
    Token,
    Workspace,
    new_id,
)
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.settings import ServerRules, read
from sandbox.market.shelves import Shelves
from sandbox.market.skus import DEFAULT_SKUS, Sku
from sandbox.market.store import Store
from sandbox.market.traders import Traders
from sandbox.market.values import Order
from sandbox.starting import only_one

CUSTOMER = "acct_customer"
DEFAULT_IMAGE = "image_scalarubuntu"
_DAY = 86_400
_PULSE_SECONDS = 0.25

_log = logging.getLogger("sandbox.market")


class World:
    """Open it, `start` it, `close` it. Raises at opening: `UnknownRule`, OSError, ValueError."""

    def __init__(self, options: Options) -> None:
        self.options = options
        options.data.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._only = only_one(options.data / "lock", "market")
        self._store = Store(options.data / "market.sqlite3")
        engine_rules, given = read(options.rules, options.rule)
        self.engine = self._store.load(engine_rules)
        self.shelves = Shelves(self._store.connection)
        self.shelves.rules.put(given)
        self.faults = Faults(options.seed)
        self.previews = Previews()
        self.skus: dict[str, Sku] = {sku.id: sku for sku in DEFAULT_SKUS}
        self.clock = Clock(self._anchor())
        self.now = self.clock.anchor.market
        self._found_market()
        self.machines = self._machines()
        self._people(options)
        self._next_tick = self._tick_after(self.now)
        self._next_trim = self.now + _DAY

    @property
    def rules(self) -> ServerRules:
        return self.shelves.rules["server"]

    def owned(self, pool: str, sku: str) -> Schedule:
        return self.engine.pool(pool).owned.get(sku, EMPTY)

    def start(self) -> None:
        with self.turn():
            self.traders.open_books(self.now)
            self.fleet.boot_again()
        if not self.clock.stopped:
            threading.Thread(target=self._pulse, name="pulse", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            self.machines.close()
            self._keep_time()
            self._commit()
            self._store.close()
            self._only.close()

    @contextmanager
    def turn(self) -> Iterator[float]:
        """The market at its present time, all of it one's own. Gives that time."""
        with self._lock:
            self._advance_to(self.clock.now())
            try:
                yield self.now
            finally:
                self.fleet.settle(self.now)
                self._commit()

    def move_clock(self, seconds: float) -> float:
        """Forward, all that falls due on the way included. Raises: ValueError."""
        with self._lock:
            self.clock.move(seconds)
            self._advance_to(self.clock.now())
            self._keep_time()
            self._commit()
            return self.now

    def new_token(self, customer: str, secret: str, name: str, expires_at: int | None) -> Token:
        """Only its hash is kept."""
        return self.shelves.tokens.put(
            Token(
                id=sha256(secret.encode()).hexdigest(),
                token_id=new_id("tok"),
                customer=customer,
                name=name,
                created_at=int(self.now),
                expires_at=expires_at,
            )
        )

    def new_customer(self, id: str, name: str, cash: int) -> Customer:
        """With a workspace `default`, and money if `cash` µ$ is more than none."""
        self.engine.open_account(id, cash=cash, now=int(self.now))
        created_at = int(self.now)
        self.shelves.workspaces.put(Workspace(id=new_id("wksp"), customer=id, name="default", created_at=created_at))
        return self.shelves.customers.put(Customer(id=id, name=name, created_at=created_at))

    # What is due

    def _advance_to(self, target: float) -> None:
        while True:
            due = min(self._next_tick, self._orders_due(), self.fleet.next_due(self.now))
            if due > target:
                break
            self.now = max(self.now, due)
            self._step()
        self.now = max(self.now, target)

    def _orders_due(self) -> float:
        """While trading is halted they wait for the tick that finds it going on."""
        return math.inf if self.faults.halt_trading(self.now) else self.desk.next_due()

    def _step(self) -> None:
        self.engine.expire(int(self.now))
        halted = self.faults.halt_trading(self.now)
        if not halted:
            self.desk.run_due(self.now)
        if self.now >= self._next_tick:
            if not halted:
                self.automation.tick(self.now)
                self.traders.tick(self.now)
            self._next_tick = self._tick_after(self.now)
        self.fleet.settle(self.now)
        if self.now >= self._next_trim:
            self._trim()

    def _tick_after(self, now: float) -> float:
        return (now // self.options.tick + 1) * self.options.tick

    def _trim(self) -> None:
        """Forget what is long over, but for the customers' own orders and transactions."""
        self._next_trim = self.now + _DAY
        customers = {customer.id for customer in self.shelves.customers}
        orders = self._ended_orders_of(customers)
        rows = [row for one in customers for row in self.engine.transactions(one)]
        self.engine.trim(int(self.now))
        kept_orders = self._ended_orders_of(customers).keys()
        self.desk.keep({one: order for one, order in orders.items() if one not in kept_orders})
        kept = {row.seq for one in customers for row in self.engine.transactions(one)}
        for row in rows:
            if row.seq not in kept:
                self.shelves.archive.put(Archived(id=str(row.seq), row=row))
        self.fleet.forget(self.now)

    def _ended_orders_of(self, customers: set[str]) -> dict[str, Order]:
        known = (self.engine.orders(account_id=one, live=False) for one in customers)
        return {order.id: order for orders in known for order in orders}

    def _pulse(self) -> None:
        while not self._closing.wait(_PULSE_SECONDS):
            try:
                self._beat()
            except Exception:  # noqa: BLE001 - the next beat may well do
                _log.exception("the market's own turn broke")

    def _beat(self) -> None:
        # Closing takes the lock, too, and then there is nothing to write to any more.
        with self._lock:
            if not self._closing.is_set():
                with self.turn():
                    pass

    # Keeping

    def _commit(self) -> None:
        if not (self.engine.changes or self.shelves.are_changed):
            return
        connection = self._store.connection
        connection.execute("begin immediate")
        try:
            self._store.write(self.engine)
            self.shelves.write()
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise
        self.engine.take_changes()
        self.shelves.written()

    def _keep_time(self) -> None:
        self.shelves.clock.put(self.clock.anchor)

    def _anchor(self) -> Anchor:
        """Where the clock was left; it runs as this start says."""
        wall = time.time()
        kept = self.shelves.clock.get("clock")
        speed = self.options.speed
        if kept is None:
            start = wall if self.options.start is None else self.options.start
            return self.shelves.clock.put(Anchor(wall=wall, market=start, speed=speed))
        return self.shelves.clock.put(Anchor(wall=wall, market=kept.at(wall), speed=speed))

    # The first start

    def _found_market(self) -> None:
        if self.shelves.customers.get(CUSTOMER) is not None:
            return
        self.new_customer(CUSTOMER, "customer", self.options.balance)
        self.shelves.images.put(
            Image(
                id=DEFAULT_IMAGE,
                workspace=PUBLIC_WORKSPACE,
                owner=PUBLIC_OWNER,
                workspace_name="public",
                name="scalar-ubuntu",
                created_at=int(self.now),
                public=True,
                status="completed",
                sha256=sha256(b"scalar-ubuntu").hexdigest(),
            )
        )

    def _machines(self) -> Machines:
        if self.options.machines == "none":
            return NoMachines()
        return AgentMachines(
            self.options.data / "machines",
            runtime=self.options.machine_runtime,
            cpus=self.options.machine_cpus,
            memory_gib=self.options.machine_memory_gib,
            api_url=self.options.machine_api,
        )

    def _people(self, options: Options) -> None:
        """Those who act in the market: the desk, the fleet, the automation, the traders."""
        shelves, engine = self.shelves, self.engine
        self.desk = Desk(engine=engine, orders=shelves.orders, faults=self.faults, rules=lambda: self.rules)
        self.fleet = Fleet(
            shelf=shelves.instances,
            owned=self.owned,
            skus=self.skus,
            machines=self.machines,
            faults=self.faults,
            rules=lambda: self.rules,
        )
        self.automation = Automation(
            engine=engine,
            desk=self.desk,
            orders=shelves.orders,
            procurements=shelves.procurements,
            node_count=lambda pool: sum(one.live and one.pool == pool for one in shelves.instances),
        )
        self.traders = Traders(
            engine=engine,
            skus=self.skus,
            prices=price_sources(self.skus, options),
            state=shelves.traders,
            seed=options.seed,
            tick=options.tick,
            enabled=options.traders,
        )
