"""Identifiers."""

import re
import time

import pytest

from scalar.ids import new_id


@pytest.mark.parametrize("prefix", ["job", "run", "node"])
def test_an_id_is_its_prefix_and_26_characters_that_nobody_misreads(prefix: str) -> None:
    assert re.fullmatch(rf"{prefix}_[0-9a-hjkmnp-tv-z]{{26}}", new_id(prefix))


def test_a_newer_id_sorts_after_an_older_one() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_id("job"))
        time.sleep(0.002)
    assert ids == sorted(ids)


def test_ids_of_the_same_millisecond_differ() -> None:
    assert len({new_id("job") for _ in range(5_000)}) == 5_000


def test_an_id_holds_the_time_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    characters = new_id("job").removeprefix("job_")
    number = 0
    for character in characters:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(character)
    assert before <= number >> 80 <= time.time_ns() // 1_000_000
