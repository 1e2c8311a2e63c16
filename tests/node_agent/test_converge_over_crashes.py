"""One task through a made-up engine, with the agent killed after any step and the container meddled with by others."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from made_up import NOON, a_container, a_task

from node_agent.converge import Forget, Remove, Report, Sight, Start, Stop, converge
from node_agent.record import NOTHING
from node_agent.runtime import ContainerState
from scalar.protocol import TaskAlive, TaskEnded, TaskEnding, TaskRunning, Want

KEY = ("run-1", 0)


class World:
    """The engine, the agent's disk and the API. A step is what a crash can't cut in two."""

    def __init__(self):
        self.task = a_task()
        self.container = None
        self.record = None
        self.reports = []
        self.starts = 0
        self.now = NOON
        self.boot_id = "boot-0"

    def steps(self):
        """What one pass does, one step after the other."""
        sight = Sight(
            desired=(self.task,) if self.task else (),
            containers={KEY: self.container} if self.container else {},
            records={KEY: self.record} if self.record else {},
            busy=frozenset(),
            shipped=frozenset({KEY}),
            closing=False,
            boot_id=self.boot_id,
            now=self.now,
            alive_interval=timedelta(seconds=60),
        )
        for action in converge(sight):
            yield from self._steps_of(action)

    def _steps_of(self, action):
        match action:
            case Report(report=report):
                yield lambda: self._spool(report)
            case Start():
                yield self._create
                yield lambda: self._note(started=True, boot_id=self.boot_id)
                yield self._start
            case Stop(reason=reason):
                yield lambda: self._note(stopped_for=(self.record or NOTHING).stopped_for or reason)
                yield self.exit
            case Remove():
                yield self.remove
            case Forget():
                yield self._forget

    def exit(self):
        if self.container and self.container.state is ContainerState.RUNNING:
            self.container = replace(self.container, state=ContainerState.EXITED, finished_at=self.now, exit_code=0)

    def remove(self):
        self.container = None

    def restart_machine(self):
        self.boot_id += "+"
        self.exit()

    def unwant(self):
        if self.task:
            self.task = self.task.model_copy(update={"want": Want.STOP})

    def drop_if_ended(self):
        if any(isinstance(report, TaskEnded) for report in self.reports):
            self.task = None

    def wait(self):
        self.now += timedelta(seconds=50)

    def _create(self):
        self.container = self.container or a_container(ContainerState.CREATED)

    def _start(self):
        if self.container and self.container.state is ContainerState.CREATED:
            self.starts += 1
            self.container = replace(self.container, state=ContainerState.RUNNING, started_at=self.now)

    def _note(self, **known):
        self.record = replace(self.record or NOTHING, **known)

    def _forget(self):
        self.record = None

    def _spool(self, report):
        match report:
            case TaskRunning(at=at):
                self._note(started=True, running_at=at)
            case TaskAlive(sequence=sequence):
                self._note(alive=sequence)
            case TaskEnded():
                self._note(ended=True)
            case _:
                self._note(starting=True)
        self.reports.append(report)


def one_pass(world, crash_after=None):
    for done, step in enumerate(world.steps()):
        if done == crash_after:
            return
        step()


events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.none() | st.integers(0, 4)),
        st.sampled_from(
            [("exit", None), ("remove", None), ("unwant", None), ("wait", None), ("restart_machine", None)]
        ),
    ),
    max_size=25,
)


@given(events)
def test_a_task_starts_at_most_once_and_ends_exactly_once(events):
    world = World()
    for what, crash_after in events:
        one_pass(world, crash_after) if what == "pass" else getattr(world, what)()
    world.unwant()
    for _ in range(6):
        one_pass(world)
        world.drop_if_ended()

    assert world.starts <= 1
    assert world.task is None, "the API heard of its end"
    assert world.container is None
    assert world.record is None
    ends = [report for report in world.reports if isinstance(report, TaskEnded)]
    assert len(ends) == 1
    assert world.reports[-1] is ends[0]
    if world.starts == 0 and ends[0].ending is not TaskEnding.CONTAINER_LOST:
        assert ends[0].started_at is None
