"""The chart in the terminal."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalar_api.cli.chart import chart
from tests.made_up import NOON


def _points(values: list[float | None]) -> list[tuple[datetime, float | None]]:
    return [(NOON + timedelta(hours=number), value) for number, value in enumerate(values)]


def test_a_rising_price_rises_to_the_right_between_labelled_axes() -> None:
    lines = chart(_points([10.0, 11.0, 12.0, 13.0, 14.0]), width=40)
    assert lines[0].startswith("$14.00 ┤")
    assert lines[0].endswith("█")
    assert lines[-2].startswith(" $9.20 └──")
    assert "11-21 12:00" in lines[-1]
    assert lines[-1].endswith("11-21 16:00 UTC")
    assert len(lines) == 12
    heights = [sum(line[column] != " " for line in lines[:10]) for column in range(8, len(lines[-2]))]
    assert heights == sorted(heights)


def test_an_hour_of_which_nothing_is_known_is_a_gap() -> None:
    lines = chart(_points([10.0, None, 10.0]), width=13 + 8)
    columns = [line[8:] for line in lines[:10]]
    width = len(columns[0]) // 3
    assert all(line[width : 2 * width].strip() == "" for line in columns)
    assert columns[-1][:width].strip()


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_nothing_known_is_nothing_shown(values: list[float | None]) -> None:
    assert chart(_points(values), width=80) == ["nothing to show"]


@given(
    some.lists(some.none() | some.floats(min_value=0, max_value=10_000), min_size=1, max_size=400),
    some.integers(min_value=10, max_value=200),
)
def test_no_line_is_wider_than_the_terminal_and_every_known_hour_shows(values: list[float | None], width: int) -> None:
    lines = chart(_points(values), width=max(width, 40))
    if any(value is not None for value in values):
        assert max(map(len, lines)) <= max(width, 40)
        assert lines[-3].split("│", 1)[1].strip()
