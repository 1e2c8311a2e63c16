from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.market.schedules import EMPTY, Schedule

MINUTES = st.integers(0, 12)
RECTANGLES = st.lists(st.tuples(MINUTES, MINUTES, st.integers(0, 3)), max_size=6)


def drawn(rectangles) -> Schedule:
    return Schedule.of((start * 60, end * 60, nodes) for start, end, nodes in rectangles)


def by_minute(schedule: Schedule) -> Counter[int]:
    """The same thing told the plain way: minute -> nodes."""
    nodes: Counter[int] = Counter()
    for start, end, count in schedule.steps():
        nodes.update(dict.fromkeys(range(start // 60, end // 60), count))
    return nodes


def test_touching_rectangles_of_one_height_are_one_step():
    assert Schedule.of([(0, 60, 2), (60, 120, 2)]) == Schedule.rectangle(0, 120, 2)


def test_a_gap_is_left_out_of_the_steps():
    assert list(Schedule.of([(0, 60, 2), (120, 180, 1)]).steps()) == [(0, 60, 2), (120, 180, 1)]


@pytest.mark.parametrize("nothing", [(0, 0, 5), (60, 0, 5), (0, 60, 0)])
def test_a_rectangle_without_time_or_nodes_is_empty(nothing):
    assert Schedule.rectangle(*nothing) is EMPTY
    assert not EMPTY


def test_taking_more_than_there_is_raises():
    with pytest.raises(ValueError, match="too few"):
        Schedule.rectangle(0, 120, 2).minus(Schedule.rectangle(60, 120, 3))


@given(RECTANGLES, RECTANGLES)
def test_taking_away_raises_exactly_where_the_other_is_not_covered(some, others):
    a, b = drawn(some), drawn(others)
    try:
        a.minus(b)
    except ValueError:
        assert not a.covers(b)
    else:
        assert a.covers(b)


def test_the_lowest_counts_gaps_and_what_lies_outside_as_none():
    schedule = Schedule.of([(60, 120, 2), (120, 180, 5)])
    assert schedule.lowest(60, 180) == 2
    assert schedule.lowest(120, 180) == 5
    assert schedule.lowest(0, 120) == 0
    assert schedule.lowest(120, 240) == 0
    assert EMPTY.lowest(0, 60) == 0


@given(RECTANGLES, RECTANGLES)
def test_sums_minima_and_differences_are_those_of_each_minute(some, others):
    a, b = drawn(some), drawn(others)
    assert by_minute(a.plus(b)) == by_minute(a) + by_minute(b)
    assert by_minute(a.meet(b)) == by_minute(a) & by_minute(b)
    assert a.plus(b).minus(b) == a
    assert a.minus(a.meet(b)).plus(a.meet(b)) == a
    assert a.covers(b) == (by_minute(a) >= by_minute(b))
    assert a.node_minutes == by_minute(a).total()


@given(RECTANGLES, RECTANGLES)
def test_two_ways_to_the_same_schedule_end_in_the_same_form(some, others):
    a, b = drawn(some), drawn(others)
    assert a.plus(b) == b.plus(a) == drawn([*others, *some])
    assert all(before != after for before, after in zip((0, *a.counts), a.counts, strict=False))
    assert list(a.times) == sorted(set(a.times))
    assert not a.counts or a.counts[-1] == 0


@given(RECTANGLES, MINUTES, MINUTES)
def test_a_clip_is_what_lies_between(some, start, end):
    schedule = drawn(some)
    clipped = schedule.clip(start * 60, end * 60)
    assert by_minute(clipped) == Counter({m: n for m, n in by_minute(schedule).items() if start <= m < end})
    assert clipped == drawn([(s // 60, e // 60, n) for s, e, n in clipped.steps()])


@given(RECTANGLES, MINUTES, MINUTES.filter(bool))
def test_the_lowest_of_a_window_is_the_lowest_of_its_minutes(some, start, length):
    schedule, nodes = drawn(some), by_minute(drawn(some))
    assert schedule.lowest(start * 60, (start + length) * 60) == min(nodes[m] for m in range(start, start + length))
    assert schedule.at(start * 60 + 59) == nodes[start]
