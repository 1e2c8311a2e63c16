"""Who sits where: pure."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scalar.market.model import Block, Rectangle
from scalar.market.seating import BOOT_LEAD, MoveOn, Sitter, Start, Taken, less_promised, open_seats, remaining, seat
from tests.made_up import NOON

HOUR = timedelta(hours=1)


def a_block(id: str = "block_1", start: int = 0, end: int = 2, nodes: int = 1, sku: str = "h100") -> Block:
    window = Rectangle(start=NOON + start * HOUR, end=NOON + end * HOUR, nodes=nodes)
    return Block(id=id, order_id="order_1", sku=sku, window=window, price=Decimal(16))


def taken(block: str = "block_1", start: float = 0, end: float = 1, number: int = 0) -> Taken:
    return Taken(block_id=block, number=number, start=NOON + start * HOUR, end=NOON + end * HOUR)


def test_what_is_left_of_a_seat_comes_in_pieces() -> None:
    pieces = open_seats([a_block(end=4)], [taken(start=1, end=2), taken(start=3, end=4)])
    assert [(each.start - NOON, each.end - NOON) for each in pieces] == [(0 * HOUR, HOUR), (2 * HOUR, 3 * HOUR)]


def test_each_node_of_a_block_is_a_seat() -> None:
    assert [each.number for each in open_seats([a_block(nodes=3)], [taken(number=1, end=2)])] == [0, 2]


def test_a_seat_that_nobody_has_gets_a_machine_a_little_ahead_of_its_time() -> None:
    seats = open_seats([a_block(start=1)], [])
    assert seat(seats, [], NOON + HOUR - BOOT_LEAD - timedelta(seconds=1)) == []
    (start,) = seat(seats, [], NOON + HOUR - BOOT_LEAD)
    assert isinstance(start, Start)
    assert start.seat.start == NOON + HOUR


def test_the_rest_of_a_seat_that_is_too_short_to_be_of_use_gets_none() -> None:
    assert seat(open_seats([a_block()], []), [], NOON + 2 * HOUR - timedelta(minutes=4)) == []


def test_a_machine_moves_on_to_the_seat_that_lasts_longest() -> None:
    sitter = Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR)
    seats = open_seats([a_block("short", 1, 2), a_block("long", 1, 6)], [])
    (decided,) = seat(seats, [sitter], NOON)
    assert isinstance(decided, MoveOn)
    assert (decided.instance_id, decided.seat.block_id, decided.seat.start) == ("gpu_1", "long", NOON + HOUR)


def test_a_machine_moves_on_from_block_to_block() -> None:
    sitter = Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR)
    seats = open_seats([a_block("b", 1, 2), a_block("c", 2, 3)], [])
    assert [each.seat.block_id for each in seat(seats, [sitter], NOON)] == ["b", "c"]


def test_a_gap_or_another_kind_of_machine_is_no_way_on() -> None:
    sitter = Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR)
    seats = open_seats([a_block("later", 2, 3), a_block("other", 1, 3, sku="h200")], [])
    assert not [each for each in seat(seats, [sitter], NOON) if isinstance(each, MoveOn)]


def test_a_seat_that_could_be_used_for_a_while_before_is_for_another_machine() -> None:
    sitter = Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR)
    (decided,) = seat(open_seats([a_block(start=0, end=3)], []), [sitter], NOON)
    assert isinstance(decided, Start)
    minute = timedelta(minutes=1)
    (decided,) = seat(open_seats([a_block(start=0, end=3)], []), [sitter], NOON + HOUR - 4 * minute)
    assert isinstance(decided, MoveOn)
    assert decided.seat.start == NOON + HOUR


def test_of_machines_whose_time_is_up_at_once_the_one_that_works_goes_on() -> None:
    sitters = [
        Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR),
        Sitter(instance_id="gpu_2", sku="h100", until=NOON + HOUR, busy=True),
    ]
    (decided,) = seat(open_seats([a_block(start=1, end=3)], []), sitters, NOON)
    assert isinstance(decided, MoveOn)
    assert decided.instance_id == "gpu_2"


def a_window(start: float, end: float, nodes: int = 1) -> Rectangle:
    return Rectangle(start=NOON + start * HOUR, end=NOON + end * HOUR, nodes=nodes)


def test_what_is_left_of_a_window_comes_in_stretches() -> None:
    done = [a_window(-1, 1), a_window(2, 3, nodes=2), a_window(2, 9)]
    assert remaining(a_window(0, 4, nodes=3), done) == [
        a_window(0, 1, nodes=2),
        a_window(1, 2, nodes=3),
        a_window(3, 4, nodes=2),
    ]
    assert remaining(a_window(0, 4), [a_window(0, 4)]) == []


def test_what_is_promised_of_empty_seats_is_not_to_be_had() -> None:
    seats = open_seats([a_block("whole", 0, 6), a_block("late", 2, 4)], [])
    left = less_promised(seats, [("h100", a_window(2, 6))])
    assert [(each.block_id, each.start - NOON, each.end - NOON) for each in left] == [
        ("whole", 0 * HOUR, 2 * HOUR),
        ("late", 2 * HOUR, 4 * HOUR),
    ]
    assert less_promised(seats, [("h200", a_window(0, 6))]) == seats


def test_a_machine_does_not_move_on_to_what_is_promised_and_has_it_when_it_is_not_any_more() -> None:
    seats = open_seats([a_block(end=4)], [])
    (start,) = seat(less_promised(seats, [("h100", a_window(1, 4))]), [], NOON)
    assert start.seat.end == NOON + HOUR
    sitter = Sitter(instance_id="gpu_1", sku="h100", until=NOON + HOUR)
    rest = open_seats([a_block(end=4)], [taken()])
    assert seat(less_promised(rest, [("h100", a_window(1, 4))]), [sitter], NOON) == []
    (decided,) = seat(rest, [sitter], NOON)
    assert isinstance(decided, MoveOn)


_SPANS = st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(1, 2))


@given(blocks=st.lists(_SPANS, max_size=5), until=st.lists(st.integers(0, 8), max_size=4), now=st.integers(0, 9))
def test_no_two_machines_ever_get_one_seat_and_none_gets_two(
    blocks: list[tuple[int, int, int]], until: list[int], now: int
) -> None:
    owned = [a_block(f"b{i}", start, start + length, nodes) for i, (start, length, nodes) in enumerate(blocks)]
    sitters = [Sitter(instance_id=f"gpu_{i}", sku="h100", until=NOON + end * HOUR) for i, end in enumerate(until)]
    decided = seat(open_seats(owned, []), sitters, NOON + now * HOUR)
    by_seat: dict[object, list[Taken]] = {}
    by_machine: dict[str, list[Taken]] = {}
    for i, each in enumerate(decided):
        place = each.seat
        span = Taken(block_id=place.block_id, number=place.number, start=place.start, end=place.end)
        machine = each.instance_id if isinstance(each, MoveOn) else f"new_{i}"
        by_seat.setdefault((place.block_id, place.number), []).append(span)
        by_machine.setdefault(machine, []).append(span)
        block = next(one for one in owned if one.id == place.block_id)
        assert block.window.start <= place.start < place.end <= block.window.end
    for spans in (*by_seat.values(), *by_machine.values()):
        for before, after in pairwise(sorted(spans, key=lambda span: span.start)):
            assert before.end <= after.start


@given(
    blocks=st.lists(_SPANS, max_size=5),
    promised=st.lists(_SPANS, max_size=4),
)
def test_at_every_moment_as_many_seats_stay_empty_as_are_promised_or_there_are(
    blocks: list[tuple[int, int, int]], promised: list[tuple[int, int, int]]
) -> None:
    seats = open_seats([a_block(f"b{i}", start, start + length, n) for i, (start, length, n) in enumerate(blocks)], [])
    windows = [a_window(start, start + length, n) for start, length, n in promised]
    left = less_promised(seats, [("h100", each) for each in windows])
    for hour in range(14):
        moment = NOON + hour * HOUR
        there, still = (sum(each.start <= moment < each.end for each in those) for those in (seats, left))
        wanted = sum(each.nodes for each in windows if each.start <= moment < each.end)
        assert still == max(0, there - wanted)
