"""The HTTP API: `python -m scalar_api` serves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from scalar.database import Database
from scalar.market.settings import MarketSettings
from scalar.settings import Settings, settings
from scalar.webhooks.settings import WebhookSettings
from scalar_api import payments as payments_client
from scalar_api import problems
from scalar_api.dagster import Dagster
from scalar_api.limits import BodyLimit, NoNul
from scalar_api.market import open_desk
from scalar_api.metrics import CountRequests, Metrics
from scalar_api.notifications import Notifications
from scalar_api.nudge import Nudge
from scalar_api.problems import Problem
from scalar_api.routes import (
    blocks,
    capacity,
    coupons,
    doubts,
    health,
    invoices,
    job_logs,
    jobs,
    margin,
    node,
    nodes,
    orders,
    payments,
    periods,
    rates,
    stripe,
    usage,
    usage_events,
    wallets,
)
from scalar_api.routes import market as market_routes
from scalar_api.routes import webhooks as webhook_routes
from scalar_api.webhooks import Deliverer

log = structlog.get_logger(__name__)

_DESCRIPTION = """
Run GPU container jobs. Send your API key as `Authorization: Bearer sk_…`.

Errors are `application/problem+json`; their `type` never changes, so that programs can branch on it.
"""


def create_app(config: Settings | None = None, market: MarketSettings | None = None) -> FastAPI:
    config = config or settings()
    # Its pages are whole without the internet: on a machine of the platform's own there may be none.
    app = FastAPIOffline(
        title="Scalar",
        version="1.0.0",
        description=_DESCRIPTION,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
        responses={"default": {"model": Problem, "description": "Any other error."}},
    )
    app.state.settings = config
    app.state.market_settings = market or MarketSettings()
    app.state.webhook_settings = WebhookSettings()
    app.state.metrics = Metrics()
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(NoNul)
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    for each in (
        jobs,
        margin,
        job_logs,
        nodes,
        capacity,
        node,
        orders,
        rates,
        coupons,
        blocks,
        market_routes,
        webhook_routes,
        wallets,
        usage,
        usage_events,
        invoices,
        payments,
        stripe,
        periods,
        doubts,
        health,
    ):
        app.include_router(each.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    config: Settings = app.state.settings
    dagster = Dagster(config.dagster_url) if config.dagster_url else None
    with Database(config.database_url.get_secret_value(), max_connections=16, application="scalar-api") as database:
        nudge = Nudge(database, dagster)
        app.state.database = database
        app.state.market = open_desk(app.state.market_settings, database)
        app.state.notifications = Notifications(config.direct_url, on_queue=nudge.poke)
        nudge.start()
        deliverer = Deliverer(database, app.state.webhook_settings)
        deliverer.start()
        listening = asyncio.create_task(app.state.notifications.listen())
        log.info("api.up", nudge=config.dagster_url is not None)
        yield
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await asyncio.to_thread(nudge.stop)
        await asyncio.to_thread(deliverer.stop)
        payments_client.close(app)
        if app.state.market is not None:
            app.state.market.market.close()
    if dagster is not None:
        dagster.close()


def _operation_id(route: APIRoute) -> str:
    """The function's name: what a generated client calls its methods."""
    return route.name
