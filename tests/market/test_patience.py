"""When the market is asked again."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.market.patience import Backoff, CircuitBreaker, CircuitState, retry_after

DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
ALMOST_ONE = 0.999999


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 15.0), (400, 15.0)])
def test_each_failure_doubles_the_most_that_is_waited_up_to_a_limit(failures: int, ceiling: float) -> None:
    backoff = Backoff(first=0.5, most=15.0)
    assert backoff.wait(failures, ALMOST_ONE) == pytest.approx(ceiling, rel=1e-5)
    assert backoff.wait(failures, 0.0) == 0.0


@given(
    failures=st.integers(1, 2000),
    chance=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 1e6),
)
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_our_patience(
    failures: int, chance: float, asked: float | None
) -> None:
    wait = Backoff(most=15.0, patience=30.0).wait(failures, chance, asked)
    if asked is not None and asked > 30.0:
        assert wait is None
    else:
        assert wait is not None
        assert (asked or 0.0) <= wait <= max(15.0, asked or 0.0)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (None, DATE, None),
        ("0", None, 0.0),
        ("7", None, 7.0),
        (" 1.5 ", None, 1.5),
        ("Sat, 21 Nov 2026 12:00:09 GMT", DATE, 9.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", DATE, 0.0),
        ("Sat, 21 Nov 2026 12:00:09 GMT", None, None),
        ("Sat, 21 Nov 2026 12:00:09 -0000", DATE, 9.0),
        ("-3", DATE, None),
        ("nan", DATE, None),
        ("inf", DATE, None),
        ("1e9", DATE, None),
        ("soon", DATE, None),
        ("", DATE, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_against_the_answers_own(
    value: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after(value, date) == seconds


def test_a_circuit_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(failures=3, seconds=30)
    for _ in range(2):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0.0)
    assert (breaker.admit(0.0), breaker.state(0.0)) == (0.0, CircuitState.CLOSED)
    breaker.failed(0.0)
    assert (breaker.admit(10.0), breaker.state(10.0)) == (20.0, CircuitState.OPEN)


def test_a_half_open_circuit_lets_one_through_and_closes_when_it_succeeds() -> None:
    breaker = CircuitBreaker(failures=1, seconds=30)
    breaker.failed(0.0)
    assert breaker.state(30.0) is CircuitState.HALF_OPEN
    assert breaker.admit(30.0) == 0.0
    assert breaker.admit(30.0) == 30.0
    breaker.succeeded()
    assert (breaker.admit(30.0), breaker.state(30.0)) == (0.0, CircuitState.CLOSED)


def test_a_half_open_circuit_opens_again_when_its_one_call_fails() -> None:
    breaker = CircuitBreaker(failures=5, seconds=30)
    for _ in range(5):
        breaker.failed(0.0)
    assert breaker.admit(31.0) == 0.0
    breaker.failed(33.0)
    assert breaker.admit(62.0) == 1.0
    assert breaker.admit(63.0) == 0.0


def test_a_call_that_is_never_heard_of_again_does_not_hold_the_circuit_open_for_ever() -> None:
    breaker = CircuitBreaker(failures=1, seconds=30)
    breaker.failed(0.0)
    assert breaker.admit(30.0) == 0.0
    assert breaker.admit(60.0) == 0.0


def test_of_many_threads_one_is_let_through_a_half_open_circuit() -> None:
    breaker = CircuitBreaker(failures=1, seconds=30)
    breaker.failed(0.0)
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: breaker.admit(30.0), range(200)))
    assert waits.count(0.0) == 1
