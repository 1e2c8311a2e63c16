"""When a delivery is tried again, and when it is given up."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.webhooks.retrying import DEAD_AFTER, MOST, PATIENCE, is_dead, next_try, wait
from tests.made_up import NOON


@pytest.mark.parametrize(
    ("tries", "seconds"),
    [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (9, 2560), (10, 5120), (11, 7200), (12, 7200), (10_000, 7200)],
)
def test_waits_double_up_to_two_hours_less_up_to_a_half_at_random(tries, seconds):
    assert wait(tries, 1.0) == timedelta(seconds=seconds)
    assert wait(tries, 0.0) == timedelta(seconds=seconds / 2)


def _tries(chance):
    """The moments of all tries of a delivery that always fails at once."""
    moments = [NOON]
    while then := next_try(len(moments), first=NOON, now=moments[-1], chance=chance):
        moments.append(then)
    return moments


@given(st.floats(0, 1, exclude_max=True))
def test_it_is_tried_for_a_day_and_not_longer(chance):
    tries = _tries(chance)
    assert tries[-1] == NOON + PATIENCE
    assert 20 <= len(tries) <= 40
    assert all(timedelta() < later - earlier <= MOST for earlier, later in pairwise(tries))


def test_it_is_tried_once_at_least_however_late_and_once_more_at_the_end_of_its_day():
    late = NOON + timedelta(hours=23, minutes=59)
    assert next_try(12, first=NOON, now=late, chance=1.0) == NOON + PATIENCE
    assert next_try(13, first=NOON, now=NOON + PATIENCE, chance=0.0) is None
    # Nobody delivered anything for a week: its day begins with its first try.
    assert next_try(1, first=NOON + timedelta(days=7), now=NOON + timedelta(days=7), chance=1.0) is not None


def test_an_endpoint_is_dead_after_three_days_without_a_success():
    assert not is_dead(NOON, NOON + DEAD_AFTER - timedelta(seconds=1))
    assert is_dead(NOON, NOON + DEAD_AFTER)
