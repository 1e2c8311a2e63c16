import os
import signal
from pathlib import Path

import pytest
from made_up import a_shell_task, a_task, eventually

from node_agent.errors import ContainerGone, StartFailed
from node_agent.process_runtime import ProcessRuntime
from node_agent.process_table import has_pid
from node_agent.runtime import ContainerState
from scalar.protocol import LogStream, TaskEnding


@pytest.fixture
def runtime(tmp_path):
    runtime = ProcessRuntime(node_id="node-1", directory=tmp_path / "processes")
    yield runtime
    for container in runtime.containers():
        runtime.stop(container.id, 0)
    runtime.close()


def run(runtime, task):
    runtime.create(task)
    runtime.start(task)
    return only(runtime)


def only(runtime):
    (container,) = runtime.containers()
    return container


def run_to_its_end(runtime, task):
    container = run(runtime, task)
    assert runtime.ended(container.id, 10)
    return only(runtime)


def output(runtime, container, stream=LogStream.STDOUT):
    return b"".join(data for of, data in runtime.output(container.id, follow=True) if of is stream)


def shell_pid(tmp_path):
    (started,) = (tmp_path / "processes").glob("*/started")
    return int(started.read_text().split()[0])


def test_a_process_goes_from_created_to_running_to_exited(runtime):
    task = a_shell_task("sleep 0.2; exit 3")
    runtime.create(task)
    assert only(runtime).state is ContainerState.CREATED
    runtime.start(task)
    assert only(runtime).state is ContainerState.RUNNING
    assert runtime.ended("run-1-0", 10)
    ended = only(runtime)
    assert (ended.state, ended.exit_code, ended.key) == (ContainerState.EXITED, 3, ("run-1", 0))
    assert 0.15 < (ended.finished_at - ended.started_at).total_seconds() < 5
    runtime.remove(ended.id)
    assert runtime.containers() == []


def test_starting_again_starts_nothing(runtime, tmp_path):
    task = a_shell_task('echo x >> "$HOME/starts"; sleep 60')
    first = run(runtime, task)
    assert run(runtime, task) == first
    starts = tmp_path / "processes/run-1-0/home/starts"
    assert eventually(lambda: starts.exists() and starts.read_text()) == "x\n"


def test_its_environment_is_the_tasks_alone(runtime, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALAR_AGENT_JOIN_TOKEN", "join-secret")
    container = run(runtime, a_task(command=["env"], env={"TOKEN": "customer-secret"}, gpus=[0, 1]))
    told = dict(line.split("=", 1) for line in output(runtime, container).decode().splitlines())
    home = str(tmp_path / "processes/run-1-0/home")
    assert told.pop("PATH") == os.environ["PATH"]
    assert {name: told[name] for name in told if name not in ("PWD", "OLDPWD", "SHLVL", "_")} == {
        "HOME": home,
        "TOKEN": "customer-secret",
        "SCALAR_JOB_ID": "job-1",
        "SCALAR_RUN_ID": "run-1",
        "SCALAR_NODE_RANK": "0",
        "SCALAR_GPU_INDICES": "0,1",
    }


def test_secrets_are_neither_in_argv_nor_in_a_file(runtime, tmp_path):
    run(runtime, a_shell_task("sleep 60", env={"TOKEN": "customer-secret"}))
    assert b"customer-secret" not in Path(f"/proc/{shell_pid(tmp_path)}/cmdline").read_bytes()
    files = [path for path in (tmp_path / "processes").rglob("*") if path.is_file()]
    assert files
    assert not any(b"secret" in path.read_bytes() for path in files)


def test_both_streams_are_told_apart_to_the_last_byte(runtime):
    container = run(runtime, a_shell_task("seq 20000; seq 5 >&2; printf last"))
    assert output(runtime, container) == "".join(f"{i}\n" for i in range(1, 20001)).encode() + b"last"
    assert output(runtime, container, LogStream.STDERR) == b"1\n2\n3\n4\n5\n"


def test_a_process_can_end_itself_well_on_sigterm(runtime):
    container = run(runtime, a_shell_task("trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.02; done"))
    next(iter(runtime.output(container.id, follow=True)))
    runtime.stop(container.id, 10)
    assert only(runtime).exit_code == 5
    assert output(runtime, container) == b"up\nbye\n"


def test_who_ignores_sigterm_is_killed_with_its_children(runtime):
    script = "trap '' TERM; sleep 60 & echo up; while true; do sleep 0.02; done"
    container = run(runtime, a_shell_task(script))
    next(iter(runtime.output(container.id, follow=True)))
    runtime.stop(container.id, 0)
    assert (only(runtime).state, only(runtime).exit_code) == (ContainerState.EXITED, 137)


def test_what_a_task_leaves_running_ends_with_it(runtime, tmp_path):
    script = "sleep 60 & cut -d' ' -f1,22 /proc/$!/stat > $HOME/child"
    run_to_its_end(runtime, a_shell_task(script))
    pid, ticks = map(int, (tmp_path / "processes/run-1-0/home/child").read_text().split())
    eventually(lambda: not has_pid(pid, ticks))


def test_a_new_agent_finds_what_runs_and_what_ended_meanwhile(runtime, tmp_path):
    run(runtime, a_shell_task("sleep 0.1; exit 9"))
    second = ProcessRuntime(node_id="node-1", directory=tmp_path / "processes")
    assert second.ended("run-1-0", 10)
    assert only(second).exit_code == 9
    assert ProcessRuntime(node_id="node-2", directory=tmp_path / "processes").containers() == []


def test_a_pid_given_to_another_process_is_not_taken_for_the_task(runtime, tmp_path):
    run(runtime, a_shell_task("exec sleep 60"))
    started = tmp_path / "processes/run-1-0/started"
    _, ticks, ns = started.read_text().split()
    pid = shell_pid(tmp_path)
    started.write_text(f"{os.getpid()} {ticks} {ns}\n")
    assert only(runtime).state is ContainerState.EXITED
    os.killpg(pid, signal.SIGKILL)


def test_an_end_that_nobody_could_write_down_is_the_same_each_time(runtime, tmp_path):
    run(runtime, a_shell_task("exec sleep 60"))
    os.killpg(shell_pid(tmp_path), signal.SIGKILL)
    ended = eventually(lambda: [each for each in runtime.containers() if each.state is ContainerState.EXITED])
    assert ended[0].exit_code == 137
    assert runtime.containers() == ended


@pytest.mark.parametrize(
    ("task", "ending"),
    [
        (a_task(command=["nosuchcommand"]), TaskEnding.COMMAND_NOT_FOUND),
        (a_task(command=None), TaskEnding.START_FAILED),
    ],
)
def test_what_cannot_run_says_why(runtime, task, ending):
    runtime.create(task)
    with pytest.raises(StartFailed) as failure:
        runtime.start(task)
    assert failure.value.ending is ending
    assert only(runtime).state is ContainerState.CREATED


def test_what_is_gone_is_gone(runtime):
    with pytest.raises(ContainerGone):
        runtime.output("run-1-0", follow=True)
    with pytest.raises(ContainerGone):
        runtime.ended("run-1-0", 0)
