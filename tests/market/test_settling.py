"""Which of the fills that the market tells of count."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from scalar.market.errors import MarketAnswerMalformed
from scalar.market.model import Fill, Rectangle
from scalar.market.settling import fills_that_count, new_fills
from tests.made_up import NOON


def hours(start: int, end: int, nodes: int = 1) -> Rectangle:
    return Rectangle(start=NOON + timedelta(hours=start), end=NOON + timedelta(hours=end), nodes=nodes)


def a_fill(*parts: Rectangle, price: str = "16", contract: str | None = None, at: datetime = NOON) -> Fill:
    return Fill(contract=contract, filled_at=at, price=Decimal(price), parts=parts)


def test_fills_that_add_up_count() -> None:
    told = (a_fill(hours(0, 2)), a_fill(hours(2, 4), price="17"))
    assert fills_that_count(told, [hours(0, 4)]) == told


def test_a_fill_that_is_told_twice_counts_once() -> None:
    fill = a_fill(hours(0, 2))
    assert fills_that_count([fill, fill], [hours(0, 2)]) == (fill,)


def test_two_fills_that_look_alike_both_count_where_both_have_filled() -> None:
    fill = a_fill(hours(0, 2))
    assert fills_that_count([fill, fill], [hours(0, 2, nodes=2)]) == (fill, fill)


@pytest.mark.parametrize("filled", [[hours(0, 3)], [hours(0, 2, nodes=2)], []])
def test_fills_that_do_not_add_up_are_not_believed(filled: list[Rectangle]) -> None:
    with pytest.raises(MarketAnswerMalformed):
        fills_that_count([a_fill(hours(0, 2))], filled)


def test_only_what_is_not_recorded_is_new() -> None:
    first, second = a_fill(hours(0, 2)), a_fill(hours(2, 4))
    assert new_fills((first, second), [first]) == [second]
    assert new_fills((first, first), [first]) == [first]


def test_a_recorded_fill_that_is_told_of_no_more_is_an_error() -> None:
    with pytest.raises(MarketAnswerMalformed):
        new_fills((), [a_fill(hours(0, 2))])


def test_an_amount_is_exact_to_the_millionth_of_a_dollar() -> None:
    minute = Rectangle(start=NOON, end=NOON + timedelta(minutes=1), nodes=3)
    assert a_fill(minute, price="16.000020").amount == Decimal("0.800001")
