"""The customers of a demo: who they are, and what they ask for in any hour. Made up, seeded, and pure.

Each has a busy hour of the day, a quiet night, and a weekend of its own. What comes in an hour depends on the seed and
on that hour alone: so the weeks before the demo and the week itself have one rhythm, and a forecast can learn it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import cos, exp, pi
from random import Random

from scalar.jobs.model import Tier
from scalar.metering.model import HOUR
from scalar.replay.model import Arrival

GPU_TYPE = "H100"
_SATURDAY = 5
_RESTLESS = 0.12
"""How much a day differs from others of its kind."""


@dataclass(frozen=True, kw_only=True)
class Customer:
    """`busy`, `quiet`: jobs an hour at its busiest hour (UTC), and twelve hours from it."""

    name: str
    gpus: tuple[int, ...]
    minutes: tuple[int, int]
    """The shortest and the longest of its jobs."""
    busy: float
    quiet: float
    peak: int
    weekend: float
    """Of what comes on a weekday."""
    tier: Tier = Tier.FAST
    price_limit: Decimal | None = None
    """Dollars per GPU-hour."""
    prepaid: int | None = None
    """Dollars in its wallet when the week begins; None: it is invoiced, without a limit."""
    discount_percent: int | None = None
    """A rate card of its own: off the default prices."""


CUSTOMERS: Sequence[Customer] = (
    Customer(
        name="northwind-labs", gpus=(2, 4, 8), minutes=(60, 360), busy=3.0, quiet=0.2, peak=15, weekend=0.25,
        discount_percent=5,
    ),
    Customer(name="quillfold", gpus=(1, 2, 4), minutes=(30, 180), busy=10.0, quiet=2.0, peak=17, weekend=0.6),
    Customer(name="heliotrope", gpus=(4, 8), minutes=(60, 120), busy=2.0, quiet=0.0, peak=3, weekend=0.8),
    Customer(
        name="tessera", gpus=(1, 2, 4), minutes=(30, 90), busy=2.0, quiet=0.4, peak=14, weekend=0.5,
        price_limit=Decimal("2.60"),
    ),
    Customer(
        name="brackwater-research", gpus=(2, 4, 8), minutes=(60, 180), busy=1.6, quiet=0.5, peak=10, weekend=0.9,
        tier=Tier.FLEX, prepaid=20_000,
    ),
)  # fmt: skip


def arrivals(start: datetime, end: datetime, seed: int, customers: Sequence[Customer] = CUSTOMERS) -> list[Arrival]:
    """What comes in [start, end), both at full hours: by time. `organisation_id` is the customer's name."""
    found = [
        each
        for number in range((end - start) // HOUR)
        for customer in customers
        for each in _hour(customer, start + number * HOUR, seed)
    ]
    return sorted(found, key=lambda each: (each.at, each.id))


def expected(customer: Customer, hour: datetime) -> float:
    """Jobs in that hour, on a day like others."""
    nearness = (1 + cos((hour.hour - customer.peak) / 24 * 2 * pi)) / 2
    by_day = customer.quiet + (customer.busy - customer.quiet) * nearness**2
    return by_day * (customer.weekend if hour.weekday() >= _SATURDAY else 1.0)


def _hour(customer: Customer, hour: datetime, seed: int) -> Iterator[Arrival]:
    chance = Random(f"{seed}:{customer.name}:{hour:%Y-%m-%dT%H}")  # noqa: S311 - made-up customers, not a secret
    restless = Random(f"{seed}:{customer.name}:{hour:%Y-%m-%d}").gauss(0.0, _RESTLESS)  # noqa: S311 - as above
    for number in range(_poisson(expected(customer, hour) * exp(restless), chance)):
        minutes = chance.uniform(*customer.minutes)
        yield Arrival(
            id=f"{customer.name}/{hour:%Y-%m-%dT%H}/{number}",
            at=hour + timedelta(seconds=chance.randrange(3600)),
            seconds=round(minutes * 60),
            gpus=chance.choice(customer.gpus),
            tier=customer.tier,
            organisation_id=customer.name,
            max_price_per_gpu_hour=customer.price_limit,
        )


def _poisson(mean: float, chance: Random) -> int:
    """Knuth's: what is drawn until the product falls below e to the minus mean."""
    least, product, number = exp(-mean), chance.random(), 0
    while product > least:
        product *= chance.random()
        number += 1
    return number
