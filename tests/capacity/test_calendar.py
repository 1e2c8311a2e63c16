"""What is owned, used, reserved and free when: tables of outlooks, and the sums of every moment."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.capacity.calendar import Lack, Level, calendar, lacks, levels, most_reserved, present
from scalar.capacity.holds import Outlook, Supply, Use
from scalar.capacity.model import Reservation
from tests.capacity.outlooks import a_reservation, a_supply, a_use, an_outlook, at


def _figures(level: Level) -> tuple[int, int, int, int, int]:
    """(owned, used, reserved, unavailable, free)."""
    return level.owned, level.used, level.reserved, level.unavailable, level.free


def _by_hour(outlook: Outlook, hours: int) -> list[tuple[int, int, int, int, int]]:
    return [_figures(each) for hour in calendar(outlook, hours) for each in hour.levels]


_BOUGHT = a_supply(None, start=at(1), end=3, sku="sku_1")
_DRAINING = a_supply("node_2", usable=False)


@pytest.mark.parametrize(
    ("outlook", "hours"),
    [
        (an_outlook(), [(8, 0, 0, 0, 8), (8, 0, 0, 0, 8), (8, 0, 0, 0, 8)]),
        (an_outlook(supplies=[a_supply(end=2)]), [(8, 0, 0, 0, 8), (8, 0, 0, 0, 8), (0, 0, 0, 0, 0)]),
        (an_outlook(supplies=[a_supply(end=1.5)]), [(8, 0, 0, 0, 8), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]),
        (an_outlook(supplies=[_BOUGHT]), [(0, 0, 0, 0, 0), (8, 0, 0, 0, 8), (8, 0, 0, 0, 8)]),
        (an_outlook(uses=[a_use(3, until=1.5)]), [(8, 3, 0, 0, 5), (8, 3, 0, 0, 5), (8, 0, 0, 0, 8)]),
        (an_outlook(uses=[a_use(3)]), [(8, 3, 0, 0, 5), (8, 3, 0, 0, 5), (8, 3, 0, 0, 5)]),
        (an_outlook(a_reservation(2, 0.5, 2)), [(8, 0, 2, 0, 6), (8, 0, 2, 0, 6), (8, 0, 0, 0, 8)]),
        (an_outlook(a_reservation(2, 1, 2, released_at=at(0))), [(8, 0, 0, 0, 8)] * 3),
        (an_outlook(a_reservation(6, 0, 2), uses=[a_use(2, until=1, of="org_1")]), [(8, 2, 4, 0, 2), (8, 0, 6, 0, 2)]),
        (an_outlook(a_reservation(1, 0, 2), uses=[a_use(2, of="org_1")]), [(8, 2, 0, 0, 6)] * 3),
        (an_outlook(supplies=[_DRAINING], uses=[a_use(3, until=1, node_id="node_2")]), [(8, 3, 0, 5, 0)]),
        (an_outlook(a_reservation(8, 1, 2), uses=[a_use(8, until=1)]), [(8, 8, 0, 0, 0), (8, 0, 8, 0, 0)]),
        (an_outlook(a_reservation(8, 0.5, 2), uses=[a_use(8, until=0.5)]), [(8, 8, 8, 0, 0), (8, 0, 8, 0, 0)]),
    ],
    ids=[
        "idle", "a block ends", "a block ends within an hour", "bought for later", "a bounded run", "an unbounded run",
        "reserved for a part of an hour", "released", "reserved and partly used by its organisation",
        "more in use than reserved", "draining", "a run and then a reservation", "the same within an hour",
    ],
)  # fmt: skip
def test_each_hour_tells_its_worst_moments(outlook: Outlook, hours: list[tuple[int, ...]]) -> None:
    assert _by_hour(outlook, len(hours)) == hours


def test_hours_are_utc_hours_and_the_first_is_the_one_that_has_begun() -> None:
    hours = calendar(an_outlook(supplies=[a_supply(end=1.75)], now=0.75), 3)
    assert [(hour.start, hour.end) for hour in hours] == [(at(n), at(n + 1)) for n in range(3)]
    assert [hour.levels[0].owned for hour in hours] == [8, 0, 0]


def test_what_was_promised_and_is_lost_is_told() -> None:
    (hour,) = calendar(an_outlook(a_reservation(10, 0, 1)), 1)
    assert (hour.levels[0].free, hour.levels[0].overcommitted) == (0, 2)


def test_gpu_types_stand_apart_and_kinds_of_machines_are_told_within_them() -> None:
    supplies = [a_supply(), a_supply("node_2", sku="sku_1", end=1), a_supply("node_3", 4, gpu_type="A100")]
    outlook = an_outlook(supplies=supplies, uses=[a_use(3, node_id="node_2")])
    a100, h100 = present(outlook)
    assert (a100.gpu_type, a100.owned, h100.gpu_type, h100.owned, h100.nodes) == ("A100", 4, "H100", 16, 2)
    assert [(each.sku, each.owned, each.used) for each in h100.machines] == [(None, 8, 0), ("sku_1", 8, 3)]
    assert [level.gpu_type for level in present(outlook, "H100")] == ["H100"]
    last = calendar(outlook, 2, "H100")[1].levels[0]
    assert [(each.sku, each.owned) for each in last.machines] == [(None, 8)]


def test_a_type_that_nobody_has_is_all_zero() -> None:
    (level,) = present(an_outlook(), "B200")
    assert (_figures(level), level.machines) == ((0, 0, 0, 0, 0), ())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (a_reservation(8, 0, 4), [Lack(start=at(0), end=at(1), free=5), Lack(start=at(2), end=at(3), free=2)]),
        (a_reservation(5, 0, 4), [Lack(start=at(2), end=at(3), free=2)]),
        (a_reservation(8, 0.5, 2.5), [Lack(start=at(0.5), end=at(1), free=5), Lack(start=at(2), end=at(2.5), free=2)]),
        (a_reservation(2, 0, 4), []),
        (a_reservation(8, 1, 2), []),
        (a_reservation(8, 3, 99), []),
        (a_reservation(9, 3, 5), [Lack(start=at(3), end=at(5), free=8)]),
    ],
)
def test_the_times_that_lack_are_told_with_what_is_free(wanted: Reservation, found: list[Lack]) -> None:
    outlook = an_outlook(a_reservation(6, 2, 3, of="org_3"), uses=[a_use(3, until=1)])
    assert lacks(outlook, wanted) == found


def test_neighbouring_times_that_lack_alike_are_one() -> None:
    taken = [a_reservation(8, hour, hour + 1, of="org_3") for hour in range(3)]
    assert lacks(an_outlook(*taken), a_reservation(1, 0, 3)) == [Lack(start=at(0), end=at(3), free=0)]


@pytest.mark.parametrize(("start", "end", "most"), [(0, 1, 3), (0, 2, 3), (1, 2, 3), (2, 3, 4), (0, 9, 5), (8, 9, 0)])
def test_the_most_that_is_reserved_at_one_time(start: float, end: float, most: int) -> None:
    kept = [a_reservation(3, 0, 2), a_reservation(4, 2, 4), a_reservation(1, 3, 5), a_reservation(9, 0, 9)]
    kept[3] = replace(kept[3], released_at=at(0))
    assert most_reserved(kept, at(start), at(end)) == most


_hours = st.integers(0, 8).map(float)
_supplies = st.lists(
    st.builds(
        lambda gpus, start, long, usable: a_supply(
            None, gpus, start=at(start), end=None if long is None else start + long, usable=usable
        ),
        gpus=st.integers(1, 8),
        start=_hours,
        long=st.none() | st.integers(1, 6),
        usable=st.booleans(),
    ),
    max_size=4,
).map(lambda supplies: [replace(each, node_id=f"node_{number}") for number, each in enumerate(supplies)])
_uses = st.lists(
    st.builds(
        a_use,
        st.integers(1, 3),
        until=st.none() | _hours,
        node_id=st.sampled_from(["node_0", "node_1"]),
        of=st.sampled_from(["org_1", "org_2"]),
    ),
    max_size=4,
)
_reservations = st.lists(
    st.builds(
        lambda gpus, start, long, of: a_reservation(gpus, start, start + long, of=of),
        st.integers(1, 8),
        _hours,
        st.integers(1, 4),
        st.sampled_from(["org_1", "org_2"]),
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(supplies=_supplies, uses=_uses, reservations=_reservations)
def test_every_moment_is_what_counting_at_that_moment_gives(
    supplies: list[Supply], uses: Sequence[Use], reservations: list[Reservation]
) -> None:
    steps = levels(an_outlook(*reservations, supplies=supplies, uses=uses), "H100")
    for number in range(36):
        moment = at(number / 4)
        (level,) = [level for since, level in steps if since <= moment][-1:]
        there = [each for each in supplies if each.start <= moment < each.end]
        nodes = {each.node_id: each for each in supplies}
        running = [each for each in uses if each.node_id in nodes and moment < each.until]
        idle = sum(each.gpus for each in there if not each.usable)
        idle -= sum(each.gpus for each in running if not nodes[each.node_id].usable)
        waited_for = 0
        for organisation in ("org_1", "org_2"):
            kept = sum(r.gpus for r in reservations if r.organisation_id == organisation and r.start <= moment < r.end)
            waited_for += max(kept - sum(u.gpus for u in running if u.organisation_id == organisation), 0)
        owned, used = sum(each.gpus for each in there), sum(each.gpus for each in running)
        assert (level.owned, level.used, level.unavailable, level.reserved) == (owned, used, idle, waited_for)
        assert level.spare == owned - used - idle - waited_for


@settings(max_examples=100, deadline=None)
@given(supplies=_supplies, uses=_uses, reservations=_reservations)
def test_an_hour_promises_no_more_than_any_moment_of_it(
    supplies: list[Supply], uses: list[Use], reservations: list[Reservation]
) -> None:
    outlook = an_outlook(*reservations, supplies=supplies, uses=uses, now=0.3)
    steps = levels(outlook, "H100")
    for hour in calendar(outlook, 10, "H100"):
        (shown,) = hour.levels
        first = max(hour.start, outlook.now)
        moments = [first, *(since for since, _ in steps if first < since < hour.end)]
        there = [[level for since, level in steps if since <= moment][-1] for moment in moments]
        assert hour.end - hour.start == timedelta(hours=1)
        assert shown.owned == min(level.owned for level in there)
        assert shown.free == min(level.free for level in there)
        assert shown.used == max(level.used for level in there)
        assert shown.reserved == max(level.reserved for level in there)
