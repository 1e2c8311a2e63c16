"""Which nodes a sale may take: how many are ours all that time."""

from datetime import timedelta
from decimal import Decimal

import pytest

from scalar.capacity.holds import Outlook, Supply
from scalar.market.model import OrderRequest, Rectangle, Seat, Side
from scalar.market.selling import as_sold, fewest_at_once
from tests.made_up import NOON

_HOUR = timedelta(hours=1)


def _seat(start: float, end: float) -> Seat:
    return Seat(block_id="block_1", number=0, sku="isku_1", start=NOON + start * _HOUR, end=NOON + end * _HOUR)


@pytest.mark.parametrize(
    ("seats", "fewest"),
    [
        ([], 0),
        ([(0, 4)], 1),
        ([(1, 3)], 1),
        ([(1.5, 3)], 0),
        ([(1, 2.5)], 0),
        ([(0, 2), (2, 4)], 1),
        ([(0, 2), (2.5, 4)], 0),
        ([(0, 4), (1, 2)], 1),
        ([(0, 4), (1, 2), (2, 3)], 2),
        ([(0, 1), (3, 4)], 0),
    ],
)
def test_seats_that_follow_one_another_are_one_node_all_the_time(seats: list[tuple[float, float]], fewest: int) -> None:
    window = Rectangle(start=NOON + _HOUR, end=NOON + 3 * _HOUR, nodes=1)
    assert fewest_at_once([_seat(*each) for each in seats], window) == fewest


def _supply(start: float, end: float, node_id: str | None = None) -> Supply:
    times = {"start": NOON + start * _HOUR, "end": NOON + end * _HOUR}
    return Supply(gpu_type="H100", gpus=8, sku="isku_1", node_id=node_id, **times)


@pytest.mark.parametrize(
    ("supplies", "kept_free", "left"),
    [
        # What stands empty is another's for the window only, over as many seats as that takes.
        ([_supply(0, 4)], [], [_supply(0, 1), _supply(3, 4)]),
        ([_supply(0, 2), _supply(2, 4)], [], [_supply(0, 1), _supply(3, 4)]),
        # A machine is gone from the window on; what it has no time for is taken of what stands empty.
        ([_supply(0, 4, "node_1"), _supply(0, 4)], ["node_1"], [_supply(0, 1, "node_1"), _supply(0, 4)]),
        (
            [_supply(0, 2, "node_1"), _supply(2, 4)],
            ["node_1"],
            [_supply(0, 1, "node_1"), _supply(3, 4)],
        ),
        ([_supply(0, 4, "node_2"), _supply(0, 4)], [], [_supply(0, 4, "node_2"), _supply(0, 1), _supply(3, 4)]),
    ],
)
def test_what_is_left_once_a_node_is_sold_from_one_to_three(
    supplies: list[Supply], kept_free: list[str], left: list[Supply]
) -> None:
    window = Rectangle(start=NOON + _HOUR, end=NOON + 3 * _HOUR, nodes=1)
    request = OrderRequest(side=Side.SELL, sku="isku_1", window=window, limit_price=Decimal(1), purpose="test")
    seen = Outlook(now=NOON, supplies=supplies, uses=[], reservations=[])
    assert as_sold(seen, request, kept_free).supplies == left
