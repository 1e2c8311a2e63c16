"""Graduated prices: a threshold cuts a charge in two, exactly where it lies."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.graduated import Graduated

THREE_TWO_ONE = Graduated.of(
    Bracket(up_to=up_to, price=Decimal(price))
    for up_to, price in [(Decimal(100), "0.003"), (Decimal(200), "0.002"), (None, "0.001")]
)
SECONDS = st.decimals(0, 500, places=6)


@pytest.mark.parametrize(
    ("before", "seconds", "dollars"),
    [
        ("0", "50", "0.15"),
        ("0", "100", "0.3"),
        ("0", "150", "0.4"),  # 100 x 0.003 + 50 x 0.002
        ("99.5", "1", "0.0025"),  # half a second on either side
        ("100", "1", "0.002"),
        ("50", "200", "0.4"),  # 50 x 0.003 + 100 x 0.002 + 50 x 0.001
        ("200", "1", "0.001"),
        ("0", "0", "0"),
    ],
)
def test_each_second_costs_what_its_bracket_says(before: str, seconds: str, dollars: str) -> None:
    assert THREE_TWO_ONE.charge(Decimal(before), Decimal(seconds)) == Decimal(dollars)


@given(parts=st.lists(SECONDS, max_size=8), before=SECONDS)
def test_the_charges_of_parts_add_up_to_the_charge_of_the_whole(parts: list[Decimal], before: Decimal) -> None:
    whole = THREE_TWO_ONE.charge(before, sum(parts, Decimal(0)))
    charged, position = Decimal(0), before
    for part in parts:
        charged += THREE_TWO_ONE.charge(position, part)
        position += part
    assert charged == whole
    assert 0 <= whole <= THREE_TWO_ONE.at_most(sum(parts, Decimal(0)))


@pytest.mark.parametrize(
    "ends",
    [[], [Decimal(1)], [None, None], [Decimal(0), None], [Decimal(2), Decimal(1), None], [Decimal("1e-7"), None]],
)
def test_brackets_go_upwards_and_the_last_has_no_end(ends: list[Decimal | None]) -> None:
    with pytest.raises(ValueError, match="bracket"):
        Graduated.of(Bracket(up_to=end, price=Decimal("0.001")) for end in ends)
