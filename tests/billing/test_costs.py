"""What a block's seconds cost, and who bears it: tables worked out by hand, and that everything always adds up."""

from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalar.billing.block_prices import Bought, Sale
from scalar.billing.costs import Costs, Use, costs_in
from scalar.metering.model import HOUR, Window
from tests.made_up import NOON

DOLLAR = 1_000_000


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def between(start: float, end: float) -> Window:
    return Window(start=at(start), end=at(end))


def a_block(id: str = "b", *, paid: int = 24 * DOLLAR, window: Window | None = None, nodes: int = 1, **more) -> Bought:
    """One node of 8 GPUs for two hours at $12."""
    return Bought(
        id=id, nodes=nodes, window=window or between(0, 120), paid=paid, **{"gpu_type": "H100", "gpus": 8, **more}
    )


def a_use(run: str = "r", *, gpus: int = 8, window: Window, block: str = "b", of: int = 8) -> Use:
    return Use(
        run_id=run, job_id=f"job of {run}", organisation_id="org", block_id=block, gpus=gpus, of=of, window=window
    )


def a_sale(*parts: Window, at: datetime = NOON, net: int = 0, order: str = "sale") -> Sale:
    return Sale(order_id=order, fill=0, at=at, net=net, parts=parts)


def hour(number: int = 0) -> Window:
    return Window(start=NOON + number * HOUR, end=NOON + (number + 1) * HOUR)


def borne(costs: Costs) -> dict[str, tuple[int, int]]:
    """By run: what it bears, and of it idle time."""
    found: dict[str, tuple[int, int]] = {}
    for each in costs.runs:
        direct, idle = found.get(each.run_id, (0, 0))
        found[each.run_id] = (direct + each.cost, idle + each.idle_cost)
    return found


def nodes(costs: Costs) -> dict[str, tuple[int, int, int, int]]:
    return {each.block_id: (each.cost, each.direct, each.idle_shared, each.idle_unshared) for each in costs.nodes}


def test_a_run_bears_its_part_of_the_node_and_all_of_the_hours_idle_time_where_it_is_alone():
    # $12 an hour; 2 of 8 GPUs for 30 minutes are an eighth of it.
    costs = costs_in([a_block()], [a_use(gpus=2, window=between(15, 45))], hour())
    assert nodes(costs) == {"b": (12_000_000, 1_500_000, 10_500_000, 0)}
    assert borne(costs) == {"r": (1_500_000, 10_500_000)}
    assert [each.gpu_seconds for each in costs.runs] == [3600]
    assert [(each.gpu_seconds, each.used_gpu_seconds) for each in costs.nodes] == [(28_800, 3600)]


def test_idle_time_is_shared_by_gpu_seconds_and_an_hour_without_use_stays_with_the_company():
    uses = [a_use("r1", gpus=2, window=between(0, 30)), a_use("r2", gpus=6, window=between(0, 30))]
    costs = costs_in([a_block()], uses, hour())
    assert borne(costs) == {"r1": (1_500_000, 1_500_000), "r2": (4_500_000, 4_500_000)}
    assert nodes(costs_in([a_block()], uses, hour(1))) == {"b": (12_000_000, 0, 0, 12_000_000)}


def test_idle_time_is_shared_over_blocks_of_one_gpu_type_and_not_with_another_type():
    # Two kinds of block at $12 and $6 an hour, the second with nobody on it; and one H200, idle.
    blocks = [a_block(), a_block("c", paid=12 * DOLLAR), a_block("d", paid=40 * DOLLAR, gpu_type="H200")]
    costs = costs_in(blocks, [a_use(window=between(0, 60))], hour())
    assert borne(costs) == {"r": (12_000_000, 6_000_000)}
    assert nodes(costs) == {
        "b": (12_000_000, 12_000_000, 0, 0),
        "c": (6_000_000, 0, 6_000_000, 0),
        "d": (20_000_000, 0, 0, 20_000_000),
    }


def test_a_machine_that_moves_from_block_to_block_pays_each_blocks_price():
    blocks = [a_block(window=between(0, 30), paid=6 * DOLLAR), a_block("c", window=between(30, 90), paid=20 * DOLLAR)]
    uses = [a_use(window=between(10, 30)), a_use(block="c", window=between(30, 40))]
    # 20 min at $12 an hour and 10 min at $20; idle: 10 min of the one, 20 of the other.
    assert borne(costs_in(blocks, uses, hour())) == {"r": (4_000_000 + 3_333_333, 2_000_000 + 6_666_667)}


@pytest.mark.parametrize(
    ("sale", "hours", "result"),
    [
        # What is sold brings what it cost: nothing changes for the hour that is kept.
        (a_sale(between(60, 120), net=12 * DOLLAR), [12, 0], 0),
        # It brings half: the hour that is kept bears the loss. And it brings more: the hour is cheaper.
        (a_sale(between(60, 120), net=6 * DOLLAR), [18, 0], 0),
        (a_sale(between(60, 120), net=20 * DOLLAR), [4, 0], 0),
        # Never less than nothing: what is gained beyond that is the company's.
        (a_sale(between(60, 120), net=30 * DOLLAR), [0, 0], -6),
        # Sold at the end of the first hour: that one has passed, and keeps its price. Nothing is left.
        (a_sale(between(60, 120), at=at(60), net=6 * DOLLAR), [12, 0], 6),
        (a_sale(between(60, 120), at=at(60), net=18 * DOLLAR), [12, 0], -6),
        # Half of the second hour, sold as it begins: the other half bears the loss of $2.
        (a_sale(between(90, 120), at=at(60), net=4 * DOLLAR), [12, 8], 0),
        # All of it, before it began.
        (a_sale(between(0, 120), net=20 * DOLLAR), [0, 0], 4),
        # Told with a time after its own start: what was sold costs nobody else anything.
        (a_sale(between(60, 90), at=at(80), net=6 * DOLLAR), [12, 6], 0),
    ],
)
def test_what_a_sale_brings_comes_off_what_is_left(sale: Sale, hours: list[int], result: int):
    block = a_block(sales=(sale,))
    assert [costs_in([block], [], hour(each)).total for each in (0, 1)] == [dollars * DOLLAR for dollars in hours]
    (settled,) = block.settled
    assert settled.result == result * DOLLAR
    assert sum(hours) * DOLLAR + settled.cost == block.paid


def test_each_of_two_sales_comes_off_what_is_left_after_it():
    # 2 nodes for 2 hours, $48. At 30 min one node's second hour goes for $6: a loss of $6 over 2 x 30 min + 60 min.
    first = a_sale(between(60, 120), at=at(30), net=6 * DOLLAR, order="first")
    # At 60 min the other's last half hour for $12: it had cost 12/2 + 3/2 = $7.50, so that its first half hour is $3.
    second = a_sale(between(90, 120), at=at(60), net=12 * DOLLAR, order="second")
    block = a_block(nodes=2, paid=48 * DOLLAR, sales=(second, first))
    assert [step.rate * 3_600_000_000 / DOLLAR for step in block.steps] == [12, 15, 6]
    assert [costs_in([block], [], hour(each)).total / DOLLAR for each in (0, 1)] == [12 + 15, 3]
    assert [(each.sale.order_id, each.result) for each in block.settled] == [("first", 0), ("second", 0)]


def test_the_price_changes_within_an_hour_for_those_who_run_after_the_sale():
    sale = a_sale(between(60, 120), at=at(30), net=6 * DOLLAR)
    uses = [a_use("before", window=between(0, 30)), a_use("after", window=between(30, 60))]
    # Left at 30 min: $18 for 90 min; less $6 for the 30 min that stay.
    assert borne(costs_in([a_block(sales=(sale,))], uses, hour())) == {
        "before": (6_000_000, 0),
        "after": (12_000_000, 0),
    }


def test_odd_prices_are_rounded_on_the_sum():
    block = a_block(paid=100, window=between(0, 180))
    assert [costs_in([block], [], hour(each)).total for each in range(3)] == [33, 34, 33]
    uses = [a_use(f"r{each}", gpus=1, window=between(0, 60)) for each in range(7)]
    assert sum(direct for direct, _ in borne(costs_in([block], uses, hour())).values()) == 29  # 33 x 7/8 = 28.875


def test_gpus_that_two_runs_are_both_metered_on_are_shared_by_both():
    uses = [a_use("r1", window=between(0, 60)), a_use("r2", window=between(0, 60))]
    assert borne(costs_in([a_block()], uses, hour())) == {"r1": (6_000_000, 0), "r2": (6_000_000, 0)}


MINUTES = 180
_minute = some.integers(0, MINUTES)


@some.composite
def _books(draw: some.DrawFn) -> tuple[list[Bought], list[Use]]:
    """Blocks of up to three nodes in three hours, with sales at any time and price, and runs anywhere on the rest."""
    blocks, uses = [], []
    for name in draw(some.sampled_from([["b"], ["b", "c"], ["b", "c", "d"]])):
        start, end = sorted(draw(some.lists(_minute, min_size=2, max_size=2, unique=True)))
        seats, sales, cut = draw(some.integers(1, 3)), [], {}
        for number in range(draw(some.integers(0, 3))):
            parts = []
            for seat in draw(some.sets(some.integers(0, seats - 1), min_size=1)):
                limit = cut.get(seat, end)
                if limit > start:
                    # From the end backwards: no minute of a seat is sold twice.
                    cut[seat] = draw(some.integers(start, limit - 1))
                    parts.append(between(cut[seat], limit))
            if parts:
                sold_at = NOON + timedelta(seconds=draw(some.integers(-60, MINUTES * 60)))
                net = draw(some.integers(0, 10**8))
                sales.append(Sale(order_id=f"sale {number}", fill=0, at=sold_at, net=net, parts=tuple(parts)))
        gpu_type, gpus = draw(some.sampled_from([("H100", 8), ("H200", 4)]))
        paid = draw(some.integers(0, 10**8))
        blocks.append(
            Bought(
                id=name,
                gpu_type=gpu_type,
                gpus=gpus,
                nodes=seats,
                window=between(start, end),
                paid=paid,
                sales=tuple(sales),
            )
        )
        for seat in range(seats):
            moments = draw(some.lists(some.integers(start * 60, cut.get(seat, end) * 60), max_size=4, unique=True))
            for number, (begun, ended) in enumerate(zip(sorted(moments), sorted(moments)[1:], strict=False)):
                used = Window(start=NOON + timedelta(seconds=begun), end=NOON + timedelta(seconds=ended))
                wanted = draw(some.integers(1, gpus))
                run = f"{name} {seat} {number}" if draw(some.booleans()) else "everywhere"
                uses.append(a_use(run, gpus=wanted, of=gpus, block=name, window=used))
    return blocks, uses


@given(_books())
def test_everything_adds_up_to_what_was_paid_whatever_the_seats_the_sales_and_the_runs(books):
    blocks, uses = books
    hours = [costs_in(blocks, uses, hour(each)) for each in range(MINUTES // 60)]
    for block in blocks:
        own = [each for costs in hours for each in costs.nodes if each.block_id == block.id]
        direct, shared, unshared = (
            sum(getattr(each, part) for each in own) for part in ("direct", "idle_shared", "idle_unshared")
        )
        resold, kept = sum(each.sale.net for each in block.settled), sum(each.result for each in block.settled)
        assert direct + shared + unshared + resold + kept == block.paid
        assert min([0, *(each.cost for each in own), *(each.rate for each in block.steps)]) == 0
    for costs in hours:
        assert sum(each.cost for each in costs.runs) == sum(each.direct for each in costs.nodes)
        assert sum(each.idle_cost for each in costs.runs) == sum(each.idle_shared for each in costs.nodes)
        assert min([0, *(min(each.cost, each.idle_cost) for each in costs.runs)]) == 0


@given(_books())
def test_no_share_is_further_from_exact_than_a_micro_dollar_for_each_price_that_it_was_rounded_at(books):
    blocks, uses = books
    costs = costs_in(blocks, uses, hour())
    of = {block.id: block for block in blocks}
    for run in costs.runs:
        exact = sum(
            (
                step.rate
                * Fraction(use.gpus, use.of)
                * _micros(use.window, hour(), Window(start=step.start, end=step.end))
                for use in uses
                if (use.run_id, use.block_id) == (run.run_id, run.block_id)
                for step in of[run.block_id].steps
            ),
            Fraction(0),
        )
        assert abs(run.cost - exact) <= 2 * len(of[run.block_id].steps)


def _micros(*windows: Window) -> int:
    start, end = max(each.start for each in windows), min(each.end for each in windows)
    return max((end - start) // timedelta(microseconds=1), 0)
