"""A Stripe in a process of its own, for all tests of a module; each has a database of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalar.database import Database
from tests.billing.stripe_made_up import Shop
from tests.stripe_process import SandboxStripe


@pytest.fixture(scope="module")
def stripe_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("stripe"), start="2026-02-03T00:00Z") as sandbox:
        yield sandbox


@pytest.fixture
def shop_with(stripe_process: SandboxStripe, database: Database) -> Iterator[Callable[..., Shop]]:
    """`shop_with(after_dunning="uncollectible")`: settings of one's own."""
    shops: list[Shop] = []

    def make(**settings: Any) -> Shop:
        shops.append(Shop(stripe_process, database, **settings))
        return shops[-1]

    yield make
    stripe_process.no_faults()
    for shop in shops:
        shop.close()


@pytest.fixture
def shop(shop_with: Callable[..., Shop]) -> Shop:
    return shop_with()
