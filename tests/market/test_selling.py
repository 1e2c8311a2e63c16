"""Which nodes a sale may take: how many are ours all that time."""

from datetime import timedelta

import pytest

from scalar.market.model import Rectangle, Seat
from scalar.market.selling import fewest_at_once
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
