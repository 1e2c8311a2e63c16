"""A market, our books, and the desk between them; and a machine's agent, played by the real functions of the API."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import yaml

from scalar.database import Database, Transaction
from scalar.market import instances, joining, orders, store
from scalar.market.answers import Sku as MarketSku
from scalar.market.desk import Desk
from scalar.market.model import Order, OrderRequest, Rectangle, Side, Sku, minute_of
from scalar.market.orders import By
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from scalar.tls import trusted
from tests.made_up import facts
from tests.sandbox_process import SandboxMarket

Before = Callable[[httpx.Request], httpx.Response | None]
After = Callable[[httpx.Request, httpx.Response], httpx.Response | None]
Transact = Callable[[], AbstractContextManager[Transaction]]


class Floor:
    def __init__(self, market: SandboxMarket, database: Database, **settings: Any) -> None:
        self.sandbox = market
        self.database = database
        self.settings = MarketSettings(
            url=market.url,
            token_file=market.token_file,
            process_runtime=True,
            dry_run=False,
            _env_file=None,
            **settings,
        )
        self.client = SfCompute(market.url, self.settings.read_token, sleep=lambda _: None)
        self.desk = self.desk_with(self.client)
        self.learn_skus()

    def desk_with(self, client: SfCompute, transact: Transact | None = None) -> Desk:
        return Desk(
            market=client, settings=self.settings, transact=transact or self.database.transaction, clock=self.now
        )

    @contextmanager
    def over(self, wire: httpx.BaseTransport, transact: Transact | None = None) -> Iterator[Desk]:
        """A desk with a wire to the market of its own."""
        with SfCompute(self.sandbox.url, self.settings.read_token, transport=wire, sleep=lambda _: None) as client:
            yield self.desk_with(client, transact)

    def meddled(self, *, before: Before | None = None, after: After | None = None) -> AbstractContextManager[Desk]:
        """A desk whose wire to the market somebody meddles with."""
        return self.over(MeddledTransport(before, after))

    def dying(self, steps: "Steps") -> AbstractContextManager[Desk]:
        """A desk whose process dies at one of its steps: around a transaction, or a request."""

        @contextmanager
        def transact() -> Iterator[Transaction]:
            steps.pass_by("before a transaction")
            with self.database.transaction() as tx:
                yield tx
                steps.pass_by("before a commit")
            steps.pass_by("after a commit")

        return self.over(DyingTransport(steps), transact)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.sandbox.now, UTC)

    def learn_skus(self) -> None:
        skus = [_sku(each) for each in self.client.skus()]
        with self.database.transaction() as tx:
            store.upsert_skus(tx, skus, self.now())
        self.sku = next(each for each in skus if each.gpu_type == "H100")

    def want(
        self,
        *,
        side: Side = Side.BUY,
        nodes: int = 1,
        minutes: int = 60,
        start: datetime | None = None,
        price: str = "30",
        key: str | None = None,
        keep_free: Sequence[str] = (),
        **more: Any,
    ) -> Order:
        """Write an order down; `place` decides whether it may be."""
        begin = start or minute_of(self.now(), up=True)
        request = OrderRequest(
            side=side,
            sku=self.sku.id,
            window=Rectangle(start=begin, end=begin + timedelta(minutes=minutes), nodes=nodes),
            limit_price=Decimal(price),
            purpose="test",
            **more,
        )
        with self.database.transaction() as tx:
            by = By(actor="test", key=key)
            return orders.place(tx, request, by=by, caps=self.settings.caps, now=self.now(), keep_free=keep_free)

    def sell(self, **wanted: Any) -> Order:
        return self.want(side=Side.SELL, **{"price": "0.06", **wanted})

    def order(self, order_id: str) -> Order:
        with self.database.transaction() as tx:
            return orders.existing(store.order(tx, order_id))

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.database.transaction() as tx:
            return tx.execute(query.encode()).fetchall()

    def market_orders(self) -> list[dict[str, Any]]:
        """All of ours, as the market has them."""
        return list(self.sandbox.behind("/orders?limit=200")["data"])

    def machines(self) -> list[dict[str, Any]]:
        """Those that run or will, as the market has them."""
        rows = self.sandbox.behind("/instances?limit=200&include=cloud_init_user_data")["data"]
        return [row for row in rows if row["status"] in ("running", "awaiting_allocation")]

    def boot_agents(self, **changes: Any) -> list[str]:
        """Each machine that runs and has not joined does what its user data says; the ids of the new nodes."""
        with self.database.transaction() as tx:
            waiting = {each.market_id: each.id for each in instances.live_instances(tx) if each.node_id is None}
        up = [machine for machine in self.machines() if machine["status"] == "running"]
        return [self.boot(machine, **changes) for machine in up if machine["id"] in waiting]

    def boot(self, machine: dict[str, Any], **changes: Any) -> str:
        environment = agent_environment(machine["cloud_init_user_data"])
        with self.database.transaction() as tx:
            node, _ = joining.join(
                tx,
                environment["SCALAR_AGENT_JOIN_TOKEN"],
                facts(environment["SCALAR_AGENT_NAME"], **{"gpus": 8, "gpu_type": "H100", **changes}),
                self.now(),
                process_runtime=True,
            )
        with self.database.transaction() as tx:
            joining.heard(tx, node.id, self.now())
        return node.id


def agent_environment(user_data: str) -> dict[str, str]:
    """What the machine's agent is started with."""
    config = yaml.safe_load(base64.b64decode(user_data))
    (file,) = [each for each in config["write_files"] if each["path"] == "/etc/scalar/agent.env"]
    return dict(line.split("=", 1) for line in file["content"].splitlines())


def _sku(told: MarketSku) -> Sku:
    return Sku(id=told.id, alias=told.alias, gpu_type=str(told.accelerator), gpus_per_node=told.num_accelerators or 8)


class Killed(BaseException):
    """The process is no more: nothing below may catch it."""


class DyingTransport(httpx.BaseTransport):
    """Dies at the nth step: before a request is sent, or after the market has done what it asked."""

    def __init__(self, steps: "Steps") -> None:
        self._steps = steps
        self._wire = httpx.HTTPTransport(verify=trusted())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._steps.pass_by(f"before {request.method} {request.url.path}")
        response = self._wire.handle_request(request)
        response.read()
        self._steps.pass_by(f"after {request.method} {request.url.path}")
        return response

    def close(self) -> None:
        self._wire.close()


class MeddledTransport(httpx.BaseTransport):
    """The wire, and somebody on it: `before` may answer or raise instead, `after` may answer otherwise, or raise."""

    def __init__(self, before: Before | None, after: After | None) -> None:
        self._before, self._after = before, after
        self._wire = httpx.HTTPTransport(verify=trusted())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        instead = self._before(request) if self._before else None
        if instead is not None:
            return instead
        response = self._wire.handle_request(request)
        response.read()
        return (self._after(request, response) if self._after else None) or response

    def close(self) -> None:
        self._wire.close()


def creates(request: httpx.Request) -> bool:
    """An order is sent."""
    return request.method == "POST" and request.url.path.endswith("/orders")


def a_refusal(status: int) -> httpx.Response:
    return httpx.Response(status, json={"error": {"type": "conflict", "message": "in progress"}})


class Steps:
    """Counts the steps of a process, and ends it at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.passed: list[str] = []
        self._die_at = die_at

    def pass_by(self, step: str) -> None:
        self.passed.append(step)
        if self._die_at is not None and len(self.passed) > self._die_at:
            raise Killed(step)


def shown(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=1, default=str)
