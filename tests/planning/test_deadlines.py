"""Jobs with deadlines: never late where it could be helped, whatever happens; and what it costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.planning.deadlines import (
    Outlook,
    Place,
    Work,
    at_the_last_moment,
    by_reservation_price,
    least,
    reservation,
    run,
    safe,
    uniform_progress,
    worths,
)


def an_outlook(hours: int, idle: float = 0.3, prices: tuple[float, ...] = (1.0, 2.0, 3.0)) -> Outlook:
    return Outlook(idle=np.full(hours, idle), prices=np.tile(prices, (hours, 1)))


@st.composite
def lives(draw):
    """A job that can be done in time, and hours in which anything happens."""
    hours = draw(st.integers(1, 40))
    restart = draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
    left = draw(st.floats(0.1, max(0.1, hours - restart)))
    idle = draw(st.lists(st.booleans(), min_size=hours, max_size=hours))
    prices = draw(st.lists(st.floats(0.1, 20), min_size=hours, max_size=hours))
    chance = draw(st.floats(0, 1))
    return Work(left=left, until_deadline=float(hours), restart=restart), idle, prices, an_outlook(hours, chance)


@settings(deadline=None, max_examples=60)
@given(lives())
def test_what_can_be_done_in_time_is_never_late_however_wrong_the_forecast(life):
    work, idle, prices, outlook = life
    if not work.feasible:
        return
    for policy in (by_reservation_price(outlook), uniform_progress(work), at_the_last_moment):
        ran = run(policy, work, idle, prices)
        assert not ran.late
        assert ran.paid + 1e-6 >= least(work, idle, prices)


@settings(deadline=None, max_examples=60)
@given(lives())
def test_one_that_stays_feasible_after_each_hour_is_what_safe_means(life):
    work, idle, prices, outlook = life
    if not work.feasible:
        return
    choose = by_reservation_price(outlook)
    for there, price in zip(idle, prices, strict=True):
        if work.done:
            break
        work = (work if there else work.interrupted()).after(
            choose(work if there else work.interrupted(), there, price)
        )
        assert work.done or work.interrupted().feasible


def test_an_idle_hour_is_used_and_a_dear_one_waited_out():
    choose = by_reservation_price(an_outlook(10))
    work = Work(left=2, until_deadline=10)
    assert choose(work, True, 1.0) is Place.IDLE
    assert choose(work, False, 3.0) is Place.WAIT
    assert choose(work, False, 0.1) is Place.BOUGHT


def test_the_last_moment_buys_at_any_price():
    work = Work(left=2, until_deadline=2)
    for choose in (by_reservation_price(an_outlook(10)), uniform_progress(work), at_the_last_moment):
        assert choose(work, False, 1000.0) is Place.BOUGHT


def test_idle_hours_that_may_vanish_are_not_trusted_once_a_restart_would_be_too_late():
    work = Work(left=2, until_deadline=2.5, restart=0.5)
    assert not safe(work, Place.IDLE)
    assert by_reservation_price(an_outlook(10, idle=1.0))(work, True, 9.0) is Place.BOUGHT


@pytest.mark.parametrize("left", [1, 3])
def test_the_reservation_price_rises_as_slack_goes(left: int):
    worth = worths(an_outlook(24, idle=0.0))
    prices = [reservation(worth, Work(left=left, until_deadline=hours)) for hours in range(24, left, -1)]
    assert prices == sorted(prices)
    assert reservation(worth, Work(left=left, until_deadline=left)) == float("inf")


def test_sure_idle_hours_are_worth_nothing_bought():
    worth = worths(an_outlook(24, idle=1.0))
    assert reservation(worth, Work(left=5, until_deadline=24)) == 0.0


def test_known_prices_are_bought_at_their_cheapest():
    prices = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    outlook = Outlook(idle=np.zeros(5), prices=prices[:, None])
    work = Work(left=2, until_deadline=5)
    ran = run(by_reservation_price(outlook), work, [False] * 5, prices.tolist())
    assert (ran.paid, ran.bought_hours) == (2.0, 2)


def test_uniform_progress_waits_while_it_is_ahead_and_buys_while_it_lags():
    work = Work(left=5, until_deadline=10)
    choose = uniform_progress(work)
    assert choose(work, False, 1.0) is Place.WAIT
    assert choose(Work(left=5, until_deadline=9), False, 1.0) is Place.BOUGHT
    assert choose(Work(left=3, until_deadline=9), False, 1.0) is Place.WAIT
