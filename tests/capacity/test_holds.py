"""What stays free for reservations: the rule as a table, and as a property that is played through in time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.capacity.holds import FOREVER, Outlook, Supply, Use, holds, short_of
from scalar.capacity.model import FreeNode, Hold, Obstacle, Reservation
from scalar.capacity.scheduling import place
from scalar.jobs.model import Job
from tests.capacity.outlooks import a_reservation, a_supply, a_use, an_outlook, at
from tests.made_up import NOON, a_free_node, a_job


def _summary(found: Sequence[Hold]) -> list[tuple[float, float, int, dict[str, int]]]:
    """(hour, hour through which, idle GPUs, what is waited for)."""
    hour = timedelta(hours=1)
    return [((hold.at - NOON) / hour, (hold.through - NOON) / hour, hold.idle, dict(hold.unmet)) for hold in found]


@pytest.mark.parametrize(
    ("outlook", "found"),
    [
        (an_outlook(), []),
        (an_outlook(a_reservation(4, 1, 2)), [(1, 2, 8, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), now=1.5), [(1.5, 2, 8, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), now=2), []),
        (an_outlook(a_reservation(4, 1, 2, released_at=NOON)), []),
        (an_outlook(a_reservation(4, 1, 2), supplies=[a_supply(end=2)]), [(1, 2, 8, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), supplies=[a_supply(end=1.9)]), [(1, 2, 0, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), supplies=[a_supply(usable=False)]), [(1, 2, 0, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), supplies=[a_supply(None, start=at(1))]), [(1, 2, 8, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), supplies=[a_supply(None, start=at(1.1))]), [(1, 2, 0, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), uses=[a_use(3, until=1)]), [(1, 2, 8, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), uses=[a_use(3, until=1.1)]), [(1, 2, 5, {"org_1": 4})]),
        (an_outlook(a_reservation(4, 1, 2), uses=[a_use(3, of="org_1")]), [(1, 2, 5, {"org_1": 1})]),
        (an_outlook(a_reservation(4, 1, 2), uses=[a_use(4, of="org_1")]), []),
        (
            an_outlook(a_reservation(2, 1, 3), a_reservation(3, 2, 4, of="org_2")),
            [(1, 3, 8, {"org_1": 2}), (2, 3, 8, {"org_1": 2, "org_2": 3}), (2, 4, 8, {"org_1": 2, "org_2": 3})],
        ),
    ],
)
def test_a_hold_counts_what_lasts_and_what_is_waited_for(
    outlook: Outlook, found: list[tuple[float, float, int, dict[str, int]]]
) -> None:
    assert _summary(holds(outlook)) == found


def test_use_of_a_machine_that_does_not_last_covers_nothing() -> None:
    supplies = [a_supply("node_1", end=1.5), a_supply("node_2")]
    outlook = an_outlook(a_reservation(4, 1, 2), supplies=supplies, uses=[a_use(4, until=1.5, of="org_1")])
    assert _summary(holds(outlook)) == [(1, 2, 8, {"org_1": 4})]


@pytest.mark.parametrize(
    ("wanted", "short"),
    [
        (a_reservation(8, 3, 4), 0),
        (a_reservation(9, 3, 4), 1),
        (a_reservation(5, 1, 2), 0),
        (a_reservation(6, 1, 2), 1),
        (a_reservation(6, 0, 9), 1),
        (a_reservation(6, 2, 3), 0),
        (a_reservation(1, 1, 2, gpu_type="A100"), 1),
    ],
)
def test_a_reservation_is_short_of_what_is_promised_already(wanted: Reservation, short: int) -> None:
    assert short_of(holds(an_outlook(a_reservation(3, 1, 2, of="org_2"), wanted)), wanted) == short


def test_what_lasts_too_short_a_time_is_not_counted_though_something_is_always_free() -> None:
    wanted = a_reservation(8, 1, 3)
    supplies = [a_supply("node_1", end=2), a_supply(None, start=at(2), end=4)]
    assert short_of(holds(an_outlook(wanted, supplies=supplies)), wanted) == 8


def test_one_that_has_not_taken_its_gpus_yet_still_can_when_another_begins() -> None:
    """The later one might take the machine that lasts: until then only that one will do for the earlier."""
    supplies = [a_supply("node_1", 1, end=3), a_supply("node_2", 1)]
    later = a_reservation(1, 2, 3, of="org_2")
    assert short_of(holds(an_outlook(a_reservation(1, 0, 4), later, supplies=supplies)), later) == 1


def _place(job: Job, outlook: Outlook, *nodes: FreeNode) -> Obstacle | list[str]:
    """The nodes that it gets, or why it gets none."""
    decision = place([job], nodes or [a_free_node()], {}, outlook.now, holds(outlook))
    if decision.refusals:
        return decision.refusals[0].obstacle
    return [share.node_id for share in decision.placements[0].shares]


_HOUR = 3600
_SHORT, _LONG = a_free_node("node_short", available_until=at(2)), a_free_node("node_long")
_BOTH = [a_supply("node_short", end=2), a_supply("node_long")]


@pytest.mark.parametrize(
    ("job", "outcome"),
    [
        ({}, Obstacle.RESERVED),
        ({"gpus": 1, "max_runtime_seconds": _HOUR + 1}, Obstacle.RESERVED),
        ({"max_runtime_seconds": _HOUR}, ["node_1"]),
        ({"organisation_id": "org_1"}, ["node_1"]),
        ({"organisation_id": "org_1", "gpus": 8}, ["node_1"]),
    ],
)
def test_a_job_waits_if_it_might_still_run_when_what_it_takes_is_reserved(job: dict[str, Any], outcome: Any) -> None:
    outlook = an_outlook(a_reservation(8, 1, 2))
    assert _place(a_job(**{"organisation_id": "org_2", **job}), outlook) == outcome


def test_what_is_not_reserved_may_be_taken() -> None:
    outlook = an_outlook(a_reservation(5, 1, 2))
    assert _place(a_job(organisation_id="org_2", gpus=3), outlook) == ["node_1"]
    assert _place(a_job(organisation_id="org_2", gpus=4), outlook) is Obstacle.RESERVED
    assert _place(a_job(organisation_id="org_1", gpus=8), outlook) == ["node_1"]


def test_an_organisation_has_its_reservation_and_no_more_where_the_rest_is_promised_to_another() -> None:
    outlook = an_outlook(a_reservation(5, 1, 2), a_reservation(3, 1, 2, of="org_2"))
    assert _place(a_job(gpus=5), outlook) == ["node_1"]
    assert _place(a_job(gpus=6), outlook) is Obstacle.RESERVED


def test_a_job_without_an_end_takes_the_node_that_is_gone_by_then() -> None:
    """The best fit is the one that is needed later."""
    nearly_full = replace(_LONG, free_gpus=(0,))
    outlook = an_outlook(a_reservation(1, 3, 4), supplies=_BOTH, uses=[a_use(7, node_id="node_long")])
    assert _place(a_job(organisation_id="org_2"), outlook, nearly_full, _SHORT) == ["node_short"]


def test_a_gang_takes_what_ends_first_and_only_as_much_as_is_left_of_the_rest() -> None:
    nodes = [_SHORT, _LONG, replace(_LONG, id="node_other")]
    supplies = [*_BOTH, a_supply("node_other")]
    gang = a_job(organisation_id="org_2", gpus=8, nodes=2)
    outlook = an_outlook(a_reservation(8, 3, 4), supplies=supplies)
    assert _place(gang, outlook, *nodes[1:]) is Obstacle.RESERVED
    assert _place(gang, outlook, *nodes) == ["node_short", "node_long"]
    assert _place(gang, an_outlook(a_reservation(9, 3, 4), supplies=supplies), *nodes) is Obstacle.RESERVED


def test_a_type_that_nobody_reserved_is_free() -> None:
    nodes = [a_free_node("node_1"), a_free_node("node_2", gpu_type="A100")]
    outlook = an_outlook(a_reservation(8, 1, 2), supplies=[a_supply(), a_supply("node_2", gpu_type="A100")])
    assert _place(a_job(organisation_id="org_2", gpu_type=None), outlook, *nodes) == ["node_2"]
    assert _place(a_job(organisation_id="org_2", gpu_type="H100"), outlook, *nodes) is Obstacle.RESERVED


def test_what_is_left_after_a_loss_goes_to_those_who_reserved_and_to_nobody_else() -> None:
    outlook = an_outlook(a_reservation(8, 0, 2), a_reservation(8, 0, 2, of="org_2"))
    assert _place(a_job(organisation_id="org_3", max_runtime_seconds=60), outlook) is Obstacle.RESERVED
    assert _place(a_job(organisation_id="org_1", gpus=8), outlook) == ["node_1"]


@dataclass
class Fleet:
    """One-GPU jobs come and go on real placements, and time passes."""

    supplies: list[Supply]
    reservations: list[Reservation] = field(default_factory=list)
    uses: list[tuple[Use, int]] = field(default_factory=list)
    """With the index of the GPU."""

    def outlook(self, now: datetime) -> Outlook:
        there = [each for each in self.supplies if each.start <= now < each.end or each.start > now]
        return Outlook(now=now, supplies=there, uses=[use for use, _ in self.uses], reservations=self.reservations)

    def pass_time(self, now: datetime) -> None:
        self.uses = [(use, gpu) for use, gpu in self.uses if use.until > now]

    def reserve(self, wanted: Reservation, now: datetime) -> bool:
        seen = self.outlook(now)
        if short_of(holds(replace(seen, reservations=[*self.reservations, wanted])), wanted):
            return False
        self.reservations.append(wanted)
        return True

    def run(self, queue: Sequence[Job], now: datetime) -> int:
        """How many of the jobs were placed."""
        jobs = {job.id: job for job in queue}
        ends = {each.node_id: each.end for each in self.supplies}
        decision = place(queue, self._free(now), {}, now, holds(self.outlook(now)))
        for placement in decision.placements:
            job = jobs[placement.job_id]
            longest = job.spec.max_runtime_seconds
            for share in placement.shares:
                until = ends[share.node_id] if longest is None else now + timedelta(seconds=longest)
                use = Use(node_id=share.node_id, organisation_id=job.organisation_id, gpus=1, until=until)
                self.uses += [(use, gpu) for gpu in share.gpus]
        return len(decision.placements)

    def _free(self, now: datetime) -> list[FreeNode]:
        return [
            a_free_node(
                str(each.node_id),
                each.gpus,
                free_gpus=tuple(set(range(each.gpus)) - {gpu for use, gpu in self.uses if use.node_id == each.node_id}),
                available_until=None if each.end == FOREVER else each.end,
            )
            for each in self.supplies
            if each.start <= now < each.end
        ]

    def waits_for(self, organisation: str, now: datetime) -> int:
        mine = [each for each in self.reservations if each.organisation_id == organisation and each.holds_at(now)]
        return sum(each.gpus for each in mine) - Counter(use.organisation_id for use, _ in self.uses)[organisation]


_ORGANISATIONS = ["org_1", "org_2", "org_3"]
_fleets = st.lists(
    st.builds(
        lambda gpus, start, end: a_supply(None, gpus, start=at(start), end=end),
        st.sampled_from([1, 2, 4]),
        st.sampled_from([0, 0, 0, 2]),
        st.sampled_from([None, None, 3, 4, 6]),
    ),
    min_size=1,
    max_size=4,
).map(lambda supplies: [replace(each, node_id=f"node_{number}") for number, each in enumerate(supplies)])
_wanted = st.lists(
    st.builds(
        lambda gpus, start, long, of: a_reservation(gpus, start, start + long, of=of),
        st.integers(1, 6),
        st.integers(0, 6),
        st.integers(1, 4),
        st.sampled_from(_ORGANISATIONS),
    ),
    max_size=6,
)
_crowds = st.lists(
    st.tuples(
        st.sampled_from([*_ORGANISATIONS, "org_4"]),
        st.integers(1, 3),
        st.sampled_from([1, 1, 2]),
        st.sampled_from([None, 1800, 3600, 2 * 3600, 5 * 3600]),
    ),
    max_size=8,
)


def _crowd(asked: Sequence[tuple[str, int, int, int | None]]) -> list[Job]:
    return [
        a_job(f"job_{n}", organisation_id=of, gpus=gpus, nodes=nodes, max_runtime_seconds=longest, memory_bytes=1)
        for n, (of, gpus, nodes, longest) in enumerate(asked)
    ]


@settings(max_examples=300, deadline=None)
@given(
    supplies=_fleets,
    before=_crowds,
    wanted=_wanted,
    crowds=st.lists(_crowds, min_size=10, max_size=10),
    late=st.frozensets(st.tuples(st.integers(0, 9), st.sampled_from(_ORGANISATIONS))),
)
def test_whatever_is_placed_every_accepted_reservation_can_take_its_gpus_at_its_start_or_later(
    supplies: list[Supply],
    before: list[tuple[str, int, int, int | None]],
    wanted: list[Reservation],
    crowds: list[list[tuple[str, int, int, int | None]]],
    late: frozenset[tuple[int, str]],
) -> None:
    """`late`: hours in which an organisation doesn't take what it has reserved."""
    fleet = Fleet(supplies)
    fleet.run(_crowd(before), NOON)
    for each in wanted:
        fleet.reserve(each, NOON)
    for hour in range(10):
        now = at(hour)
        fleet.pass_time(now)
        fleet.run(_crowd(crowds[hour]), now)
        for organisation in [each for each in _ORGANISATIONS if (hour, each) not in late]:
            ends = [each.end for each in fleet.reservations if each.organisation_id == organisation]
            over = min((end for end in ends if end > now), default=now)
            missing = fleet.waits_for(organisation, now)
            longest = int((over - now).total_seconds())
            own = [
                a_job(f"own_{n}", organisation_id=organisation, max_runtime_seconds=longest, memory_bytes=1, cpus=0.001)
                for n in range(missing)
            ]
            assert fleet.run(own, now) == len(own)


@settings(max_examples=150, deadline=None)
@given(supplies=_fleets, wanted=_wanted, crowd=_crowds)
def test_a_job_is_refused_only_where_a_reservation_would_be_short(
    supplies: list[Supply], wanted: list[Reservation], crowd: list[tuple[str, int, int, int | None]]
) -> None:
    """One job at a time, so that what is there is the same; without holds it would have been placed."""
    fleet = Fleet(supplies)
    for each in wanted:
        fleet.reserve(each, NOON)
    for job in _crowd(crowd):
        standing = holds(fleet.outlook(NOON))
        decision = place([job], fleet._free(NOON), {}, NOON, standing)
        freely = place([job], fleet._free(NOON), {}, NOON)
        if decision.placements:
            assert freely.placements
        elif decision.refusals[0].obstacle is Obstacle.RESERVED:
            asked = job.spec.requirements.gpus * job.spec.requirements.nodes
            assert any(hold.spare + hold.unmet.get(job.organisation_id, 0) < asked for hold in standing)
        else:
            assert decision == freely
        fleet.run([job], NOON)
