"""The programme of one kind of machine: what it buys, in whole nodes, and that nothing better was to be had."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.planning.highs import Programme, SolverFailed, minimise
from scalar.planning.oracle import Terms, perfect_cost
from scalar.planning.programme import Offer, Question, Tail, answer, cost_of


def a_question(fast, *, offers, recourse: float = 2.1, owned=None, **changes) -> Question:
    demand = np.sort(np.atleast_2d(np.array(fast, dtype=float)), axis=1)
    hours = len(demand)
    return Question(
        owned=np.zeros(hours) if owned is None else np.array(owned, dtype=float),
        fast=demand,
        recourse=np.full(hours, recourse),
        offers=offers,
        **changes,
    )


def a_block(hours: int, price: float = 1.0, start: int = 0, **changes) -> Offer:
    return Offer(start=start, end=start + hours, cost=price * hours, bill=price * hours, **changes)


def test_the_newsvendors_level_is_bought():
    """24 hours, each 0 to 20 nodes, alike: at 1.0 against 2.1, the level that is exceeded in 1/2.1 of them."""
    fast = [list(range(21))] * 24
    found = answer(a_question(fast, offers=[a_block(24)]))
    assert found.buy == (11,)
    assert np.isclose(np.quantile(range(21), 1 - 1 / 2.1), 10.48, atol=0.01)
    assert found.expected < found.without


def test_a_tail_that_saves_less_than_the_bid_is_sold():
    question = a_question([[0.0, 0.0]] * 3 + [[3.0, 3.0]], offers=[], owned=[2, 2, 2, 0])
    assert answer(Question(**{**vars(question), "tails": [Tail(end=3, nodes=2, brings=0.5)]})).sell == (2,)
    busy = a_question([[2.0, 2.0]] * 3, offers=[], owned=[2, 2, 2], tails=[Tail(end=3, nodes=2, brings=0.5)])
    assert answer(busy).sell == (0,)


def test_the_budget_and_the_room_are_kept():
    fast = [[5.0, 5.0]] * 10
    assert answer(a_question(fast, offers=[a_block(10)])).buy == (5,)
    assert answer(a_question(fast, offers=[a_block(10)], budget=35.0)).buy == (3,)
    assert answer(a_question(fast, offers=[a_block(10)], room=2.0)).buy == (2,)


def test_flex_work_is_moved_to_where_a_block_has_room():
    """Two nodes of Fast for five hours of ten; ten node-hours of Flex fit behind them."""
    fast = [[2.0]] * 5 + [[0.0]] * 5
    come, due = np.full(10, 10.0), np.concatenate([np.zeros(9), [10.0]])
    question = a_question(fast, offers=[a_block(10)], flex_come=come, flex_due=due, flex_pays=2.1)
    assert answer(question).buy == (2,)


def test_the_cheaper_length_is_bought():
    fast = [[1.0]] * 24
    assert answer(a_question(fast, offers=[a_block(24, 1.0), a_block(1, 1.2)])).buy == (1, 0)
    assert answer(a_question([[1.0]] + [[0.0]] * 23, offers=[a_block(24, 1.0), a_block(1, 1.2)])).buy == (0, 1)


@st.composite
def small_questions(draw):
    hours, scenarios = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    fast = [draw(st.lists(st.integers(0, 3), min_size=scenarios, max_size=scenarios)) for _ in range(hours)]
    offers = []
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, hours - 1))
        end = draw(st.integers(start + 1, hours))
        offers.append(Offer(start=start, end=end, cost=draw(st.integers(1, 8)), most=3))
    owned = draw(st.lists(st.integers(0, 2), min_size=hours, max_size=hours))
    return a_question(fast, offers=offers, owned=owned)


@settings(deadline=None, max_examples=40)
@given(small_questions())
def test_no_other_whole_numbers_would_cost_less(question):
    found = answer(question)
    best = min(cost_of(question, buy, ()) for buy in product(range(4), repeat=len(question.offers)))
    assert found.expected == pytest.approx(best, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 8))
def test_the_optimum_is_between_all_by_the_hour_and_no_waste(demand, hours):
    terms = Terms(hours=hours)
    series = np.array(demand, dtype=float)
    least = perfect_cost(series, terms)
    assert series.sum() - 1e-6 <= least <= 2.1 * series.sum() + 1e-6
    with_flex = perfect_cost(series * 0.5, terms, flex=series * 0.5, slack=4)
    assert with_flex <= least + 1e-6


def test_a_programme_that_an_inner_point_does_not_settle_is_settled_all_the_same():
    one_hour = np.array([0.5, 0.0])
    assert perfect_cost(one_hour, Terms(hours=2), flex=one_hour, slack=4) == pytest.approx(1.0)


def test_what_has_no_solution_says_so():
    impossible = Programme(
        costs=np.ones(1),
        lower=np.zeros(1),
        upper=np.ones(1),
        row_lower=np.full(1, 2.0),
        row_upper=np.full(1, 3.0),
        rows=np.zeros(1, dtype=np.int64),
        columns=np.zeros(1, dtype=np.int64),
        values=np.ones(1),
    )
    with pytest.raises(SolverFailed, match="infeasible"):
        minimise(impossible)
