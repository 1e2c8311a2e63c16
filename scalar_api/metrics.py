"""Prometheus metrics: requests are counted as they come, the business is read from Postgres at each scrape."""

import time
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.database import Database
from scalar.jobs import store as jobs
from scalar.jobs.model import JobState, Tier

CONTENT_TYPE = CONTENT_TYPE_LATEST


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
