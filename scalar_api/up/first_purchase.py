"""The first plan, made and carried out at once: what Dagster's asset and sensors do later, with the same code.

A process of its own, since its settings are the services' environment: `python -m scalar_api.up.first_purchase`.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from scalar.database import Database
from scalar.errors import ScalarError
from scalar.market.boarding import board
from scalar.market.desk import Desk
from scalar.market.errors import MarketError
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from scalar.market.trading import trade
from scalar.planning.executing import execute
from scalar.planning.planning import make_plan
from scalar.planning.settings import PlanSettings
from scalar.settings import settings

_AT_ONCE_SECONDS = 5
"""No sensor has to come round between this plan and its order."""


def buy() -> Iterator[str]:
    """What was done, line by line. What fails here is tried again by the sensors."""
    market, policy = MarketSettings(), replace(PlanSettings().policy, order_seconds=_AT_ONCE_SECONDS)
    with (
        Database(settings().database_url.get_secret_value(), application="scalar-up") as database,
        SfCompute(str(market.url), market.read_token) as client,
    ):
        desk = Desk(market=client, settings=market, transact=database.transaction, clock=lambda: datetime.now(UTC))
        yield from (action.reason for action in make_plan(desk, policy).plan.actions)
        with desk.transact() as tx:
            execute(tx, caps=market.caps, policy=policy, now=desk.clock())
        trade(desk)
        board(desk)


if __name__ == "__main__":
    try:
        for line in buy():
            print(line, flush=True)  # noqa: T201 - what its parent shows
    except (MarketError, ScalarError) as error:
        print(f"nothing is bought yet: {error}")  # noqa: T201
