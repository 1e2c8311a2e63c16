"""A real market in a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trading_floor import Floor

from scalar.database import Database
from tests.sandbox_process import SandboxMarket


@pytest.fixture
def market_process(tmp_path: Path) -> Iterator[SandboxMarket]:
    with SandboxMarket(tmp_path / "market") as market:
        yield market


@pytest.fixture
def floor_with(market_process: SandboxMarket, database: Database) -> Iterator[Callable[..., Floor]]:
    """`floor_with(max_hour=50)`: settings of one's own."""
    floors = []

    def make(**settings: Any) -> Floor:
        floors.append(Floor(market_process, database, **settings))
        return floors[-1]

    yield make
    for floor in floors:
        floor.client.close()


@pytest.fixture
def floor(floor_with: Callable[..., Floor]) -> Floor:
    return floor_with()
