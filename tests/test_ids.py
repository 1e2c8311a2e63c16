"""Identifiers."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scalar.ids import new_id


@pytest.mark.parametrize("prefix", ["job", "run", "node"])
def test_an_id_is_its_prefix_and_26_characters_that_nobody_misreads(prefix: str) -> None:
    assert re.fullmatch(rf"{prefix}_[0-9a-hjkmnp-tv-z]{{26}}", new_id(prefix))


def test_a_newer_id_sorts_after_an_older_one() -> None:
    """Those of one millisecond too."""
    ids = [new_id("job") for _ in range(5_000)]
    assert ids == sorted(set(ids))


def test_a_newer_id_sorts_after_an_older_one_though_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id("job")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    assert before < new_id("job") < new_id("job")


def test_ids_of_many_threads_differ() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id("job"), range(5_000)))
    assert len(set(ids)) == 5_000


def test_an_id_holds_the_time_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    characters = new_id("job").removeprefix("job_")
    number = 0
    for character in characters:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(character)
    assert before <= number >> 80 <= time.time_ns() // 1_000_000
