"""The policy, as properties of every decision and as a table of each refusal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.capacity.model import Decision, FreeNode, Obstacle, Placement
from scalar.capacity.scheduling import place
from scalar.jobs.model import Job
from tests.made_up import GIB, NOON, a_free_node, a_job

_nodes = st.builds(
    lambda gpus, taken, type_, hours: a_free_node(
        gpus=gpus,
        gpu_type=type_,
        free_gpus=tuple(i for i in range(gpus) if i not in taken),
        free_cpus=16.0 * (gpus - len([i for i in taken if i < gpus])),
        free_memory=64 * GIB * (gpus - len([i for i in taken if i < gpus])),
        available_until=None if hours is None else NOON + timedelta(hours=hours),
    ),
    gpus=st.sampled_from([1, 2, 4, 8]),
    taken=st.frozensets(st.integers(0, 7), max_size=5),
    type_=st.sampled_from(["A100", "H100"]),
    hours=st.sampled_from([None, None, 1, 3]),
)
_fleets = st.lists(_nodes, max_size=5).map(
    lambda nodes: [replace(node, id=f"node_{index}") for index, node in enumerate(nodes)]
)
_jobs = st.builds(
    a_job,
    organisation_id=st.sampled_from(["org_1", "org_2", "org_3"]),
    gpus=st.integers(1, 8),
    nodes=st.sampled_from([1, 1, 1, 2, 3]),
    gpu_type=st.sampled_from([None, "H100", "L40"]),
    cpus=st.sampled_from([None, 0.5, 20.0, 100.0]),
    memory_bytes=st.sampled_from([None, GIB, 100 * GIB]),
    max_runtime_seconds=st.sampled_from([None, 60, 7200]),
)
_queues = st.lists(_jobs, max_size=12).map(
    lambda jobs: [replace(job, id=f"job_{index:02}") for index, job in enumerate(jobs)]
)
_quotas = st.dictionaries(st.sampled_from(["org_1", "org_2"]), st.integers(0, 10))
_property = settings(max_examples=200, deadline=None)


def _room(nodes: Sequence[FreeNode], taken: Sequence[Placement]) -> dict[str, tuple[set[int], float, float]]:
    """What is left of each node, counted again from the beginning: (GPUs, CPUs, bytes)."""
    room = {node.id: (set(node.free_gpus), node.free_cpus, float(node.free_memory)) for node in nodes}
    for placement in taken:
        for share in placement.shares:
            gpus, cpus, memory = room[share.node_id]
            assert set(share.gpus) <= gpus, "a GPU was given twice, or was never free"
            room[share.node_id] = (gpus - set(share.gpus), cpus - share.cpus, memory - share.memory_bytes)
    return room


def _suits(job: Job, node: FreeNode, left: tuple[set[int], float, float]) -> bool:
    """Could one share of the job be put there? Said again, without looking at the policy."""
    wanted, (gpus, cpus, memory) = job.spec.requirements, left
    part = wanted.gpus / node.gpus_total
    need_cpus = wanted.cpus if wanted.cpus is not None else part * node.cpus_total
    need_memory = wanted.memory_bytes if wanted.memory_bytes is not None else part * node.memory_total
    needed = timedelta(seconds=job.spec.max_runtime_seconds or 300)
    return (
        wanted.gpu_type in (None, node.gpu_type)
        and len(gpus) >= wanted.gpus
        and cpus >= need_cpus
        and memory >= need_memory
        and (node.available_until is None or NOON + needed <= node.available_until)
    )


def _left(quotas: Mapping[str, int], jobs: Mapping[str, Job], placements: Sequence[Placement]) -> Counter[str]:
    left = Counter(quotas)
    for placement in placements:
        left[jobs[placement.job_id].organisation_id] -= sum(len(share.gpus) for share in placement.shares)
    return left


@_property
@given(queue=_queues, nodes=_fleets, quotas=_quotas)
def test_every_job_is_placed_or_refused_and_nothing_is_given_that_is_not_there(
    queue: list[Job], nodes: list[FreeNode], quotas: dict[str, int]
) -> None:
    decision = place(queue, nodes, quotas, NOON)
    decided = [each.job_id for each in (*decision.placements, *decision.refusals)]
    assert sorted(decided) == [job.id for job in queue]
    for _, cpus, memory in _room(nodes, decision.placements).values():
        assert cpus >= -1e-3
        assert memory >= -64
    jobs = {job.id: job for job in queue}
    left = _left(quotas, jobs, decision.placements)
    assert all(left[organisation] >= 0 for organisation in quotas)


@_property
@given(queue=_queues, nodes=_fleets, quotas=_quotas)
def test_a_gang_has_all_its_nodes_and_each_is_another(
    queue: list[Job], nodes: list[FreeNode], quotas: dict[str, int]
) -> None:
    jobs, fleet = {job.id: job for job in queue}, {node.id: node for node in nodes}
    for placement in place(queue, nodes, quotas, NOON).placements:
        wanted = jobs[placement.job_id].spec.requirements
        assert len({share.node_id for share in placement.shares}) == len(placement.shares) == wanted.nodes
        for share in placement.shares:
            node = fleet[share.node_id]
            assert len(share.gpus) == wanted.gpus
            assert wanted.gpu_type in (None, node.gpu_type)
            assert share.cpus == (wanted.cpus or node.cpus_total * wanted.gpus / node.gpus_total)


@_property
@given(queue=_queues, nodes=_fleets, quotas=_quotas)
def test_no_job_is_refused_that_would_have_fitted_in_what_those_before_it_left(
    queue: list[Job], nodes: list[FreeNode], quotas: dict[str, int]
) -> None:
    decision = place(queue, nodes, quotas, NOON)
    order = {job.id: index for index, job in enumerate(queue)}
    jobs = {job.id: job for job in queue}
    for refusal in decision.refusals:
        before = [each for each in decision.placements if order[each.job_id] < order[refusal.job_id]]
        job, room = jobs[refusal.job_id], _room(nodes, before)
        wanted = job.spec.requirements
        fitting = sum(_suits(job, node, room[node.id]) for node in nodes)
        allowed = _left(quotas, jobs, before)[job.organisation_id] if job.organisation_id in quotas else 10**6
        assert fitting < wanted.nodes or wanted.gpus * wanted.nodes > allowed
        if refusal.obstacle is Obstacle.QUOTA:
            assert wanted.gpus * wanted.nodes > allowed


@_property
@given(queue=_queues, nodes=_fleets, quotas=_quotas, shuffled=st.randoms(use_true_random=False))
def test_the_same_input_is_the_same_decision_in_whatever_order_the_nodes_come(
    queue: list[Job], nodes: list[FreeNode], quotas: dict[str, int], shuffled: Any
) -> None:
    decision = place(queue, nodes, quotas, NOON)
    shuffled.shuffle(nodes)
    assert place(queue, nodes, quotas, NOON) == decision


@_property
@given(queue=_queues, nodes=_fleets, quotas=_quotas)
def test_each_refusal_counts_those_that_wait_before_it(
    queue: list[Job], nodes: list[FreeNode], quotas: dict[str, int]
) -> None:
    refusals = place(queue, nodes, quotas, NOON).refusals
    assert [refusal.ahead for refusal in refusals] == list(range(len(refusals)))


def _place(*jobs: Job, nodes: Sequence[FreeNode], quotas: Mapping[str, int] | None = None) -> Decision:
    return place(jobs, nodes, quotas or {}, NOON)


def _node_of(decision: Decision) -> str:
    return decision.placements[0].shares[0].node_id


@pytest.mark.parametrize(
    ("tight", "roomy"),
    [
        ({"free_gpus": (6, 7)}, {}),
        ({"free_gpus": (0, 1, 2), "free_cpus": 20.0}, {"free_gpus": (0, 1, 2), "free_cpus": 30.0}),
        ({"free_memory": 100 * GIB}, {"free_memory": 200 * GIB}),
    ],
)
@pytest.mark.parametrize("names", [("node_1", "node_2"), ("node_2", "node_1")])
def test_the_tighter_node_is_preferred(tight: dict[str, Any], roomy: dict[str, Any], names: tuple[str, str]) -> None:
    nodes = [a_free_node(names[0], **tight), a_free_node(names[1], **roomy)]
    assert _node_of(_place(a_job(gpus=1, cpus=1, memory_bytes=GIB), nodes=nodes)) == names[0]


def test_small_jobs_leave_whole_nodes_to_large_ones() -> None:
    nodes = [a_free_node(f"node_{i}") for i in range(3)]
    small = [a_job(f"job_{i}", gpus=1) for i in range(8)]
    decision = _place(*small, a_job("job_large", gpus=8, nodes=2), nodes=nodes)
    assert decision.refusals == ()


def test_a_job_that_does_not_fit_holds_up_nobody_behind_it() -> None:
    decision = _place(a_job("job_1", gpus=8), a_job("job_2", gpus=2), nodes=[a_free_node(free_gpus=(0, 1, 2))])
    assert [each.job_id for each in decision.placements] == ["job_2"]
    assert [(each.job_id, each.obstacle) for each in decision.refusals] == [("job_1", Obstacle.BUSY)]


_SOON = NOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("job", "nodes", "quotas", "obstacle"),
    [
        ({}, [], {}, Obstacle.NO_NODES),
        ({"gpus": 9}, [a_free_node()], {}, Obstacle.NO_SUCH_NODE),
        ({"gpu_type": "A100"}, [a_free_node()], {}, Obstacle.NO_SUCH_NODE),
        ({"nodes": 2}, [a_free_node()], {}, Obstacle.NO_SUCH_NODE),
        ({"cpus": 129.0}, [a_free_node()], {}, Obstacle.NO_SUCH_NODE),
        ({"memory_bytes": 513 * GIB}, [a_free_node()], {}, Obstacle.NO_SUCH_NODE),
        ({"gpus": 2}, [a_free_node(free_gpus=(3,))], {}, Obstacle.BUSY),
        ({"cpus": 2.0}, [a_free_node(free_cpus=1.0)], {}, Obstacle.BUSY),
        ({"memory_bytes": 2 * GIB}, [a_free_node(free_memory=GIB)], {}, Obstacle.BUSY),
        ({"nodes": 2}, [a_free_node(), a_free_node("node_2", free_gpus=())], {}, Obstacle.BUSY),
        ({"gpus": 2}, [a_free_node()], {"org_1": 1}, Obstacle.QUOTA),
        ({"nodes": 2}, [a_free_node(), a_free_node("node_2")], {"org_1": 1}, Obstacle.QUOTA),
        ({}, [a_free_node()], {"org_1": 0}, Obstacle.QUOTA),
        ({"max_runtime_seconds": 301}, [a_free_node(available_until=_SOON)], {}, Obstacle.BLOCK_ENDS),
        ({}, [a_free_node(available_until=_SOON - timedelta(seconds=1))], {}, Obstacle.BLOCK_ENDS),
    ],
)
def test_each_obstacle_is_named(
    job: dict[str, Any], nodes: list[FreeNode], quotas: dict[str, int], obstacle: Obstacle
) -> None:
    (refusal,) = _place(a_job(**job), nodes=nodes, quotas=quotas).refusals
    assert refusal.obstacle is obstacle


@pytest.mark.parametrize(
    ("job", "nodes", "quotas"),
    [
        ({"gpus": 8}, [a_free_node()], {}),
        ({"gpus": 2}, [a_free_node()], {"org_1": 2}),
        ({"gpus": 8}, [a_free_node()], {"org_2": 0}),
        ({"max_runtime_seconds": 300}, [a_free_node(available_until=_SOON)], {}),
        ({}, [a_free_node(available_until=_SOON)], {}),
        ({"cpus": 128.0, "memory_bytes": 512 * GIB}, [a_free_node()], {}),
    ],
)
def test_what_just_fits_is_placed(job: dict[str, Any], nodes: list[FreeNode], quotas: dict[str, int]) -> None:
    assert _place(a_job(**job), nodes=nodes, quotas=quotas).refusals == ()


@pytest.mark.parametrize("gpus", [1, 2, 3, 7])
def test_a_node_takes_as_many_equal_shares_as_it_has_gpus_though_they_are_fractions(gpus: int) -> None:
    node = a_free_node(gpus=7, cpus_total=10.0, free_cpus=10.0, memory_total=1_000_003, free_memory=1_000_003)
    jobs = [a_job(f"job_{i}", gpus=gpus) for i in range(7 // gpus)]
    assert _place(*jobs, nodes=[node]).refusals == ()


def test_a_quota_that_is_used_up_in_a_pass_refuses_the_next() -> None:
    jobs = [a_job(f"job_{i}", gpus=2) for i in range(3)]
    decision = _place(*jobs, nodes=[a_free_node()], quotas={"org_1": 4})
    assert [each.obstacle for each in decision.refusals] == [Obstacle.QUOTA]


_SHORT = a_free_node(available_until=NOON + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("node", "asked", "other"),
    [
        (a_free_node(), {"gpus": 2}, {"organisation_id": "org_2"}),
        (a_free_node(), {"gpus": 2}, {"gpus": 1}),
        (_SHORT, {"organisation_id": "org_2", "max_runtime_seconds": 600}, {"max_runtime_seconds": 60}),
        (a_free_node(), {"organisation_id": "org_2", "gpu_type": "A100"}, {"gpu_type": "H100"}),
        (a_free_node(free_cpus=4.0), {"organisation_id": "org_2", "cpus": 8.0}, {"cpus": 4.0}),
    ],
)
def test_a_refusal_does_not_rub_off_on_a_job_that_is_not_alike(
    node: FreeNode, asked: dict[str, Any], other: dict[str, Any]
) -> None:
    jobs = a_job("job_1", memory_bytes=GIB, **asked), a_job("job_2", memory_bytes=GIB, **{**asked, **other})
    decision = _place(*jobs, nodes=[node], quotas={"org_1": 1})
    assert [each.job_id for each in decision.refusals] == ["job_1"]
    assert [each.job_id for each in decision.placements] == ["job_2"]
