from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import NOON, a_container, a_task

from node_agent.converge import Cancel, Follow, Forget, Remove, Report, Sight, Start, Stop, converge, next_timeout
from node_agent.record import TaskRecord
from node_agent.runtime import ContainerState
from scalar.protocol import TaskAlive, TaskEnded, TaskEnding, TaskRunning, TaskStarting, Want

CREATED, RUNNING, EXITED = ContainerState
KEY = ("run-1", 0)
STARTED = TaskRecord(starting=True, started=True)
RAN = TaskRecord(starting=True, started=True, running_at=NOON)
RAN_BEFORE = TaskRecord(starting=True, started=True, running_at=NOON, boot_id="boot-0")
STARTED_BEFORE = replace(STARTED, boot_id="boot-0")


def a_sight(task=None, container=None, record=None, **given):
    return Sight(
        **{
            "desired": (task,) if task else (),
            "containers": {KEY: container} if container else {},
            "records": {KEY: record} if record else {},
            "busy": frozenset(),
            "shipped": frozenset(),
            "closing": False,
            "boot_id": "boot-1",
            "now": NOON + timedelta(seconds=45),
            "alive_interval": timedelta(seconds=60),
            **given,
        }
    )


def names(sight):
    """Actions by name; a report by its kind, an end by its ending, a stop by its reason."""
    told = []
    for action in converge(sight):
        match action:
            case Report(report=TaskEnded(ending=ending)):
                told.append(ending.value)
            case Report(report=report):
                told.append(report.kind)
            case Stop(reason=reason):
                told.append(f"stop: {reason.value}")
            case _:
                told.append(type(action).__name__.lower())
    return told


WANTED, UNWANTED = a_task(), a_task(want=Want.STOP)
LIMITED = a_task(max_runtime_seconds=40)
SHIPPED = frozenset({KEY})


@pytest.mark.parametrize(
    ("sight", "expected"),
    [
        pytest.param(a_sight(WANTED), ["starting", "start"], id="nothing is there"),
        pytest.param(a_sight(WANTED, record=TaskRecord(starting=True)), ["start"], id="died while fetching"),
        pytest.param(a_sight(WANTED, a_container(CREATED), STARTED), ["start"], id="died before the start"),
        pytest.param(a_sight(WANTED, record=STARTED), ["container_lost"], id="its container vanished"),
        pytest.param(a_sight(WANTED, busy=SHIPPED), [], id="being started"),
        pytest.param(a_sight(WANTED, record=STARTED, busy=SHIPPED), [], id="being started, seen too early"),
        pytest.param(a_sight(UNWANTED), ["stopped"], id="unwanted before it started"),
        pytest.param(a_sight(UNWANTED, a_container(CREATED)), ["stopped"], id="unwanted when created"),
        pytest.param(a_sight(UNWANTED, busy=SHIPPED), ["cancel"], id="unwanted while being started"),
        pytest.param(a_sight(WANTED, closing=True), ["node_stopped"], id="agent closes before it started"),
        pytest.param(a_sight(WANTED, a_container(), STARTED), ["running", "follow"], id="seen running"),
        pytest.param(a_sight(WANTED, a_container(), RAN), ["follow"], id="runs on"),
        pytest.param(a_sight(WANTED, a_container(), RAN, shipped=SHIPPED), [], id="runs on, its log unwanted"),
        pytest.param(a_sight(UNWANTED, a_container(), RAN), ["follow", "stop: stopped"], id="unwanted"),
        pytest.param(a_sight(UNWANTED, a_container(), RAN, busy=SHIPPED), ["cancel", "follow"], id="being stopped"),
        pytest.param(a_sight(LIMITED, a_container(), RAN), ["follow", "stop: timed_out"], id="too long"),
        pytest.param(
            a_sight(WANTED, a_container(), RAN, closing=True), ["follow", "stop: node_stopped"], id="agent closes"
        ),
        pytest.param(
            a_sight(UNWANTED, a_container(), TaskRecord(running_at=NOON, stopped_for=TaskEnding.TIMED_OUT)),
            ["follow", "stop: timed_out"],
            id="the first reason to stop stands",
        ),
        pytest.param(a_sight(WANTED, a_container(EXITED), RAN), ["follow"], id="exited, log on its way"),
        pytest.param(a_sight(WANTED, a_container(EXITED), RAN, shipped=SHIPPED), ["exited"], id="exited"),
        pytest.param(
            a_sight(WANTED, a_container(EXITED), shipped=SHIPPED), ["running", "exited"], id="exited before it was seen"
        ),
        pytest.param(
            a_sight(UNWANTED, a_container(EXITED), RAN, shipped=SHIPPED), ["exited"], id="exited before it was unwanted"
        ),
        pytest.param(
            a_sight(
                UNWANTED,
                a_container(EXITED, exit_code=143),
                TaskRecord(running_at=NOON, stopped_for=TaskEnding.STOPPED),
                shipped=SHIPPED,
            ),
            ["stopped"],
            id="exited because it was stopped",
        ),
        pytest.param(
            a_sight(a_task(max_runtime_seconds=30), a_container(EXITED), RAN, shipped=SHIPPED),
            ["timed_out"],
            id="exited at its limit",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED, exit_code=137, out_of_memory=True), RAN, shipped=SHIPPED),
            ["out_of_memory"],
            id="out of memory",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED, exit_code=0, out_of_memory=True), RAN, shipped=SHIPPED),
            ["exited"],
            id="a child out of memory, its parent content",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED, exit_code=127, command_missing="no"), RAN, shipped=SHIPPED),
            ["command_not_found"],
            id="no such command",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED, exit_code=255), RAN_BEFORE), ["follow"], id="cut off, log on its way"
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED, exit_code=255), RAN_BEFORE, shipped=SHIPPED),
            ["container_lost"],
            id="cut off by a restart of the machine",
        ),
        pytest.param(
            a_sight(UNWANTED, a_container(EXITED, exit_code=137), RAN_BEFORE, shipped=SHIPPED),
            ["container_lost"],
            id="cut off before it was unwanted",
        ),
        pytest.param(
            a_sight(LIMITED, a_container(EXITED, finished_at=NOON + timedelta(days=1)), RAN_BEFORE, shipped=SHIPPED),
            ["container_lost"],
            id="cut off, and seen to be so after its limit",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED), replace(RAN_BEFORE, running_at=None), shipped=SHIPPED),
            ["running", "container_lost"],
            id="cut off before it was seen running",
        ),
        pytest.param(
            a_sight(
                WANTED, a_container(EXITED), replace(RAN_BEFORE, stopped_for=TaskEnding.TIMED_OUT), shipped=SHIPPED
            ),
            ["timed_out"],
            id="stopped before the machine restarted",
        ),
        pytest.param(
            a_sight(WANTED, a_container(EXITED), replace(RAN_BEFORE, boot_id="boot-1"), shipped=SHIPPED),
            ["exited"],
            id="exited in the boot it started in",
        ),
        pytest.param(a_sight(WANTED, a_container(CREATED), STARTED_BEFORE), ["start"], id="restarted before the start"),
        pytest.param(a_sight(WANTED, a_container(), RAN_BEFORE), ["follow"], id="runs, whatever was started when"),
        pytest.param(
            a_sight(WANTED, a_container(EXITED), TaskRecord(running_at=NOON, ended=True)), [], id="end reported"
        ),
        pytest.param(a_sight(WANTED, record=TaskRecord(started=True, ended=True)), [], id="loss reported"),
        pytest.param(a_sight(container=a_container()), ["stop: stopped"], id="dropped while running"),
        pytest.param(a_sight(container=a_container(), busy=SHIPPED), ["cancel"], id="dropped, being stopped"),
        pytest.param(a_sight(container=a_container(EXITED), record=RAN), ["remove"], id="dropped after its end"),
        pytest.param(a_sight(container=a_container(CREATED)), ["remove"], id="dropped before its start"),
        pytest.param(a_sight(record=RAN), ["forget"], id="dropped and removed"),
        pytest.param(a_sight(), [], id="nothing"),
    ],
)
def test_what_is_done(sight, expected):
    assert names(sight) == expected


def test_alive_is_reported_for_each_interval_since_the_start_and_in_order():
    record = TaskRecord(starting=True, started=True, running_at=NOON, alive=1)
    now = NOON + timedelta(seconds=60 * 3 + 59)
    alive = [action.report for action in converge(a_sight(WANTED, a_container(), record, now=now))[:-1]]
    assert [(report.sequence, report.at) for report in alive] == [
        (2, NOON + timedelta(seconds=120)),
        (3, NOON + timedelta(seconds=180)),
    ]


def test_alive_is_never_reported_past_the_end():
    late = NOON + timedelta(days=1)
    assert "alive" not in names(a_sight(WANTED, a_container(EXITED), RAN, shipped=SHIPPED, now=late))


def test_the_end_carries_the_containers_own_times_and_code():
    exited = a_container(EXITED, exit_code=3)
    (action,) = converge(a_sight(WANTED, exited, RAN, shipped=SHIPPED))
    end = action.report
    assert (end.started_at, end.at, end.exit_code) == (NOON, NOON + timedelta(seconds=30), 3)


def test_a_lost_container_counts_up_to_when_it_was_last_known_to_run():
    record = TaskRecord(starting=True, started=True, running_at=NOON, alive=2)
    (action,) = converge(a_sight(WANTED, record=record, now=NOON + timedelta(days=1)))
    assert (action.report.started_at, action.report.at) == (NOON, NOON + timedelta(seconds=120))


@pytest.mark.parametrize("running_at", [NOON, None])
def test_a_restart_of_the_machine_is_never_paid_for(running_at):
    record = replace(RAN_BEFORE, running_at=running_at, alive=2)
    back = NOON + timedelta(days=1)
    container = a_container(EXITED, exit_code=255, finished_at=back)
    *others, action = converge(a_sight(WANTED, container, record, shipped=SHIPPED, now=back))
    end = action.report
    assert (end.started_at, end.at, end.exit_code) == (NOON, NOON + timedelta(seconds=120), None)
    assert not any(isinstance(other.report, TaskAlive) for other in others)


def test_the_next_timeout_is_the_first_of_what_runs():
    assert next_timeout(a_sight(LIMITED, a_container())) == NOON + timedelta(seconds=40)
    assert next_timeout(a_sight(LIMITED, a_container(EXITED))) is None
    assert next_timeout(a_sight(WANTED, a_container())) is None


records = st.none() | st.builds(
    TaskRecord,
    starting=st.booleans(),
    started=st.booleans(),
    boot_id=st.sampled_from([None, "boot-0", "boot-1"]),
    stopped_for=st.none() | st.sampled_from([TaskEnding.STOPPED, TaskEnding.TIMED_OUT, TaskEnding.NODE_STOPPED]),
    running_at=st.none() | st.just(NOON),
    alive=st.integers(0, 3),
    ended=st.booleans(),
)
sights = st.builds(
    a_sight,
    st.sampled_from([None, WANTED, UNWANTED, LIMITED]),
    st.none() | st.sampled_from([a_container(state) for state in ContainerState]),
    records,
    busy=st.sampled_from([frozenset(), frozenset({KEY})]),
    shipped=st.sampled_from([frozenset(), SHIPPED]),
    closing=st.booleans(),
    now=st.integers(0, 400).map(lambda seconds: NOON + timedelta(seconds=seconds)),
)


@given(sights)
def test_at_most_one_operation_a_key_and_none_while_one_is_under_way(sight):
    operations = [action for action in converge(sight) if isinstance(action, Start | Stop | Remove)]
    assert len(operations) <= (0 if sight.busy else 1)


@given(sights)
def test_what_may_have_started_is_never_started_again(sight):
    record, container = sight.records.get(KEY), sight.containers.get(KEY)
    if (record and record.started and container is None) or (container and container.state is not CREATED):
        assert not any(isinstance(action, Start) for action in converge(sight))


@given(sights)
def test_nothing_desired_is_removed_or_forgotten_and_nothing_follows_an_end(sight):
    actions = converge(sight)
    if sight.desired:
        assert not any(isinstance(action, Remove | Forget) for action in actions)
    if sight.desired and (record := sight.records.get(KEY)) and record.ended:
        assert not any(isinstance(action, Report | Start | Follow) for action in actions)


@given(sights)
def test_reports_come_in_the_order_of_a_life(sight):
    order = [TaskStarting, TaskRunning, TaskAlive, TaskEnded]
    places = [order.index(type(action.report)) for action in converge(sight) if isinstance(action, Report)]
    assert places == sorted(places)


@given(sights)
def test_a_cancelled_key_is_always_busy(sight):
    assert all(action.key in sight.busy for action in converge(sight) if isinstance(action, Cancel))
