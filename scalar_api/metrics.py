"""Prometheus metrics: requests are counted as they come, the business is read from Postgres at each scrape."""

import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.database import Database, Transaction
from scalar.jobs import store as jobs
from scalar.jobs.model import JobState, Tier
from scalar.market import call_log, figures, reconciliations
from scalar.market import store as market
from scalar.market.call_log import UP_TO, Counted
from scalar.market.model import InstanceState, OrderState

CONTENT_TYPE = CONTENT_TYPE_LATEST
_WEEK = timedelta(days=7)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "scalar_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "scalar_http_request_seconds", "Time to the first byte of the answer.", ["route"], registry=self.registry
        )


class CountRequests:
    """ASGI middleware. Routes, not paths: ids would make a series each."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unmatched")
                self._metrics.requests.labels(scope["method"], route, str(message["status"])).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counting_send)


def render(metrics: Metrics, database: Database, *, listening: bool, now: datetime) -> bytes:
    """All metrics as text."""
    return generate_latest(metrics.registry) + generate_latest(_business(database, listening=listening, now=now))


def _business(database: Database, *, listening: bool, now: datetime) -> CollectorRegistry:
    registry = CollectorRegistry()
    with database.transaction() as tx:
        counts, oldest = jobs.counts_by_state(tx), jobs.oldest_queued(tx)
        nodes, in_use = capacity.nodes(tx), capacity.assigned_counts(tx)
        _market(tx, registry, now)
    by_state = Gauge("scalar_jobs", "Jobs by state and tier.", ["state", "tier"], registry=registry)
    for state in JobState:
        for tier in Tier:
            by_state.labels(state, tier).set(counts.get((state, tier), 0))
    age = Gauge("scalar_oldest_queued_job_seconds", "Age of the oldest job in the queue.", registry=registry)
    age.set((now - oldest).total_seconds() if oldest else 0)
    node_count = Gauge("scalar_nodes", "Nodes by state.", ["state"], registry=registry)
    for node_state in (NodeState.READY, NodeState.DRAINING):
        node_count.labels(node_state).set(sum(node.state is node_state for node in nodes))
    Gauge("scalar_nodes_silent", "Nodes that have not called for 90 s.", registry=registry).set(
        sum(node.silent(now) for node in nodes)
    )
    Gauge("scalar_gpus", "GPUs of all nodes.", registry=registry).set(sum(node.gpus for node in nodes))
    Gauge("scalar_gpus_in_use", "GPUs assigned to runs.", registry=registry).set(sum(in_use.values()))
    Gauge("scalar_listening", "1 while the API hears Postgres' notifications.", registry=registry).set(listening)
    return registry


def _market(tx: Transaction, registry: CollectorRegistry, now: datetime) -> None:
    _orders(tx, registry, now)
    instances = figures.live_instances_by_state(tx)
    machines = Gauge("scalar_market_instances", "Live bought machines by state.", ["state"], registry=registry)
    for state in InstanceState:
        if state is not InstanceState.ENDED:
            machines.labels(state).set(instances.get(state, 0))
    ready = Gauge(
        "scalar_market_ready_seconds",
        "From asking for a machine until its node takes work: the median of 7 days.",
        ["sku"],
        registry=registry,
    )
    for sku, seconds in figures.ready_seconds(tx, now - _WEEK).items():
        ready.labels(sku).set(seconds)
    _standing(tx, registry)
    registry.register(_Calls(call_log.counted(tx)))


class _Calls(Collector):
    """Attempts to ask the market, of all processes."""

    def __init__(self, counted: Sequence[Counted]) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "scalar_market_call_seconds",
            "Time that an attempt to ask the market took, by how it ended.",
            labels=["operation", "outcome"],
        )
        for labels, group in groupby(self._counted, key=lambda each: (each.operation, each.outcome)):
            found = list(group)
            buckets = [(_le(up_to), sum(e.calls for e in found if e.up_to <= up_to)) for up_to in UP_TO]
            seconds.add_metric(labels, buckets, sum_value=sum(each.seconds for each in found))
        yield seconds


def _le(seconds: float) -> str:
    """As Prometheus writes a bucket's bound."""
    return "+Inf" if math.isinf(seconds) else str(seconds)


def _orders(tx: Transaction, registry: CollectorRegistry, now: datetime) -> None:
    counts, dollars = figures.orders_by_state(tx), figures.dollars(tx)
    by_state = Gauge("scalar_market_orders", "Orders by state.", ["state"], registry=registry)
    for state in OrderState:
        by_state.labels(state).set(counts.get(state, 0))
    for name, meaning, amount in (
        ("spent", "Dollars paid for what has filled, ever.", dollars.spent),
        ("open", "Dollars that open purchases may yet cost at their limits.", dollars.open),
        ("earned", "Dollars brought by sales, before the market's fees, ever.", dollars.earned),
    ):
        Gauge(f"scalar_market_{name}_dollars", meaning, registry=registry).set(float(amount))
    filled = Gauge(
        "scalar_market_fill_seconds",
        "From sending an order (not one that stands) until it has filled: the median of 7 days.",
        ["sku"],
        registry=registry,
    )
    for sku, seconds in figures.fill_seconds(tx, now - _WEEK).items():
        filled.labels(sku).set(seconds)


def _standing(tx: Transaction, registry: CollectorRegistry) -> None:
    """Whether anything may be bought. Without a reconciliation there is no figure, rather than a good one."""
    stopped = Gauge("scalar_market_buying_stopped", "1 while the stop switch is on.", registry=registry)
    stopped.set(market.controls(tx).buying_stopped_at is not None)
    last = reconciliations.last(tx)
    if last is None:
        return
    at = Gauge("scalar_market_reconciled_timestamp_seconds", "When the books were last compared.", registry=registry)
    at.set(last["at"].timestamp())
    agrees = Gauge("scalar_market_books_agree", "1 where the last comparison found nothing.", registry=registry)
    agrees.set(last["agrees"])
