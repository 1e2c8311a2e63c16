"""The agent as a real process, a real Docker engine, and a stand-in for the API over real HTTP."""

# ruff: noqa: ARG001 - `agent` and `docker_engine` are often there for what they do

import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from engine_proxy import EngineProxy
from made_up import MIB, a_shell_task, a_task, eventually

from scalar.protocol import RuntimeKind, TaskEnding

pytestmark = pytest.mark.docker

COUNT = "i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo out $i; echo err $i >&2; {pause}; done"


@pytest.fixture
def agent(start_agent, docker_engine):
    return start_agent(runtime="docker")


@pytest.fixture
def engine_proxy(tmp_path):
    proxy = EngineProxy(tmp_path)
    yield proxy
    proxy.shut()


def containers_of(engine, run_id):
    return engine.containers(all=True, filters={"label": f"scalar.run_id={run_id}"})


def wait_for_end(api, key):
    return eventually(lambda: api.ended(key), 30)


def test_a_task_runs_is_reported_and_leaves_nothing_behind(api, agent, docker_engine, run_id):
    task = a_shell_task("echo hello; echo problem >&2; sleep 0.3; exit 4", run_id=run_id, rank=2)
    before = datetime.now(UTC)
    api.keep_ended = True
    api.want(task)
    end = wait_for_end(api, task.key)
    state = docker_engine.inspect_container(f"scalar-{run_id}-2")["State"]

    assert api.kinds(task.key) == ["starting", "running", "ended"]
    assert (end.ending, end.exit_code) == (TaskEnding.EXITED, 4)
    assert end.started_at == datetime.fromisoformat(state["StartedAt"])
    assert end.at == datetime.fromisoformat(state["FinishedAt"])
    assert before < end.started_at < end.at
    assert api.logs[task.key] == {"stdout": b"hello\n", "stderr": b"problem\n"}
    late = datetime.fromtimestamp(api.received_at[run_id, 2, "ended"], UTC) - end.at
    assert late < timedelta(seconds=2)

    api.drop(task.key)
    eventually(lambda: not containers_of(docker_engine, run_id))


def test_an_agent_killed_in_the_middle_leaves_one_container_and_a_whole_log(api, agent, docker_engine, run_id):
    task = a_shell_task(COUNT.format(n=60, pause="sleep 0.05"), run_id=run_id)
    api.keep_ended = True
    api.want(task)
    eventually(lambda: b"out 10\n" in api.logs[task.key]["stdout"])
    agent.kill()
    (container,) = containers_of(docker_engine, run_id)
    agent.start()
    eventually(lambda: b"out 30\n" in api.logs[task.key]["stdout"])
    agent.kill()
    assert docker_engine.wait(container["Id"])["StatusCode"] == 0
    agent.start()
    end = wait_for_end(api, task.key)

    assert [each["Id"] for each in containers_of(docker_engine, run_id)] == [container["Id"]]
    assert api.logs[task.key]["stdout"] == b"".join(b"out %d\n" % i for i in range(1, 61))
    assert api.logs[task.key]["stderr"] == b"".join(b"err %d\n" % i for i in range(1, 61))
    state = docker_engine.inspect_container(container["Id"])["State"]
    assert end.started_at == datetime.fromisoformat(state["StartedAt"])
    assert end.at == datetime.fromisoformat(state["FinishedAt"])
    assert api.kinds(task.key) == ["starting", "running", "ended"]


def test_an_api_that_is_away_for_a_while_loses_nothing(api, agent, docker_engine, run_id):
    task = a_shell_task(COUNT.format(n=40, pause="sleep 0.02") + "; exit 3", run_id=run_id)
    api.want(task)
    eventually(lambda: b"out 5\n" in api.logs[task.key]["stdout"])
    api.stop()
    (container,) = containers_of(docker_engine, run_id)
    assert docker_engine.wait(container["Id"])["StatusCode"] == 3
    eventually(lambda: "log waits" in agent.log or "log interrupted" in agent.log)
    assert containers_of(docker_engine, run_id), "kept until the API has heard of its end"
    api.start()
    assert wait_for_end(api, task.key).exit_code == 3
    assert api.logs[task.key]["stdout"] == b"".join(b"out %d\n" % i for i in range(1, 41))
    eventually(lambda: not containers_of(docker_engine, run_id))


def test_a_malformed_desired_state_is_not_an_empty_one(api, agent, docker_engine, run_id):
    task = a_shell_task("sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: "running" in api.kinds(task.key))
    api.garble_desired = True
    asked = api.requests["GET /v1/node/desired"]
    api.want(task)
    eventually(lambda: api.requests["GET /v1/node/desired"] >= asked + 3)
    (container,) = containers_of(docker_engine, run_id)
    assert container["State"] == "running"


def test_a_log_goes_back_to_what_the_api_has(api, agent, docker_engine, run_id):
    task = a_shell_task(COUNT.format(n=30, pause="sleep 0.05"), run_id=run_id)
    api.want(task)
    eventually(lambda: b"out 5\n" in api.logs[task.key]["stdout"])
    with api.changed:
        del api.logs[task.key]["stdout"][3:]
    wait_for_end(api, task.key)
    assert api.logs[task.key]["stdout"] == b"".join(b"out %d\n" % i for i in range(1, 31))


def test_a_log_of_many_batches_arrives_whole(api, agent, docker_engine, run_id):
    lines = 60_000
    task = a_shell_task(f"seq {lines}; seq 10 >&2", run_id=run_id)
    api.want(task)
    wait_for_end(api, task.key)
    assert api.logs[task.key]["stdout"] == b"".join(b"%d\n" % i for i in range(1, lines + 1))
    assert api.requests["POST /v1/node/logs"] < 30


def test_a_log_that_the_api_does_not_want_holds_nothing_up(api, agent, docker_engine, run_id):
    api.stale = True
    task = a_shell_task("echo a; sleep 0.5; echo b", run_id=run_id)
    api.want(task)
    assert wait_for_end(api, task.key).ending is TaskEnding.EXITED


def test_a_task_asked_to_stop_can_end_well(api, agent, docker_engine, run_id):
    script = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    task = a_shell_task(script, run_id=run_id)
    api.want(task)
    eventually(lambda: api.logs[task.key]["stdout"])
    api.want_stopped(task.key)
    end = wait_for_end(api, task.key)
    assert (end.ending, end.exit_code) == (TaskEnding.STOPPED, 0)
    assert api.logs[task.key]["stdout"] == b"up\nbye\n"


def test_a_task_that_runs_too_long_is_stopped(api, agent, docker_engine, run_id):
    task = a_shell_task("exec sleep 60", run_id=run_id, max_runtime_seconds=1)
    api.want(task)
    end = wait_for_end(api, task.key)
    assert (end.ending, end.exit_code) == (TaskEnding.TIMED_OUT, 143)
    assert timedelta(seconds=1) <= end.at - end.started_at < timedelta(seconds=3)


def test_an_ending_is_the_same_when_the_agent_was_not_there_to_see_it(api, agent, docker_engine, run_id):
    task = a_shell_task("trap '' TERM; echo up; while true; do sleep 0.05; done", run_id=run_id, stop_grace_seconds=1)
    api.want(task)
    eventually(lambda: api.logs[task.key]["stdout"])
    api.want_stopped(task.key)
    eventually(lambda: reasons_to_stop(agent))
    agent.kill()
    docker_engine.kill(containers_of(docker_engine, run_id)[0]["Id"])
    agent.start()
    assert wait_for_end(api, task.key).ending is TaskEnding.STOPPED


FAILURES = {
    "killed": ({"command": ["sh", "-c", "kill -9 $$"]}, TaskEnding.EXITED, 137, ""),
    "memory": (
        {"command": ["sh", "-c", "x=a; while true; do x=$x$x; done"], "memory_bytes": 16 * MIB},
        TaskEnding.OUT_OF_MEMORY,
        137,
        "memory",
    ),
    "command": ({"command": ["nosuchcommand"]}, TaskEnding.COMMAND_NOT_FOUND, 127, "nosuchcommand"),
    "shell": ({"command": ["sh", "-c", "nosuchcommand"]}, TaskEnding.EXITED, 127, ""),
    "limit": ({"memory_bytes": 4096}, TaskEnding.START_FAILED, None, "memory"),
    "name": ({"image": "Not/An@Image"}, TaskEnding.IMAGE_NOT_FOUND, None, "Not/An@Image"),
    "registry": ({"image": "127.0.0.1:9/none:1"}, TaskEnding.IMAGE_UNAVAILABLE, None, "connection refused"),
}


def test_each_failure_is_told_as_what_it_is(api, agent, docker_engine, run_id):
    tasks = {name: a_task(run_id=f"{run_id}-{name}", **asked) for name, (asked, *_) in FAILURES.items()}
    api.want(*tasks.values())
    for name, (_, ending, code, told) in FAILURES.items():
        end = wait_for_end(api, tasks[name].key)
        assert (name, end.ending, end.exit_code) == (name, ending, code)
        assert told in (end.message or "")
        assert (end.started_at is None) == (code is None)
        kinds = api.kinds(tasks[name].key)
        assert kinds == (["starting", "ended"] if code is None else ["starting", "running", "ended"])


def test_a_slow_pull_holds_up_nobody_and_can_be_called_off(api, agent, docker_engine, run_id):
    pulling = a_task(run_id=run_id, rank=0, image="127.0.0.1:9/none:1")
    quick = a_shell_task("exit 0", run_id=run_id, rank=1)
    api.want(pulling)
    eventually(lambda: "image pull failed" in agent.log)
    api.want(quick)
    api.want_stopped(pulling.key)
    assert wait_for_end(api, quick.key).exit_code == 0
    end = wait_for_end(api, pulling.key)
    assert (end.ending, end.started_at) == (TaskEnding.STOPPED, None)


def test_a_task_that_is_no_longer_desired_is_stopped_and_removed(api, agent, docker_engine, run_id):
    task = a_shell_task("exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: "running" in api.kinds(task.key))
    api.drop(task.key)
    eventually(lambda: not containers_of(docker_engine, run_id))
    assert api.ended(task.key) is None


def test_a_container_that_somebody_removed_is_lost_and_not_started_again(api, agent, docker_engine, run_id):
    task = a_shell_task("exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: "running" in api.kinds(task.key))
    docker_engine.remove_container(containers_of(docker_engine, run_id)[0]["Id"], force=True)
    end = wait_for_end(api, task.key)
    assert end.ending is TaskEnding.CONTAINER_LOST
    assert end.started_at is not None
    assert containers_of(docker_engine, run_id) == []


def test_an_engine_that_goes_away_and_comes_back_loses_no_container(
    api, start_agent, engine_proxy, docker_engine, run_id
):
    engine_proxy.open()
    agent = start_agent(runtime="docker", docker_host=engine_proxy.docker_host)
    counts = a_shell_task(COUNT.format(n=60, pause="sleep 0.05"), run_id=run_id)
    api.want(counts)
    eventually(lambda: b"out 5\n" in api.logs[counts.key]["stdout"])
    engine_proxy.shut()
    eventually(lambda: "the container engine doesn't answer" in agent.log)
    waits = a_shell_task("exit 7", run_id=run_id, rank=1)
    api.want(waits)
    eventually(lambda: agent.log.count("the container engine doesn't answer") >= 2)
    assert (api.kinds(counts.key), api.kinds(waits.key)) == (["starting", "running"], [])
    engine_proxy.open()
    assert wait_for_end(api, counts.key).ending is TaskEnding.EXITED
    assert wait_for_end(api, waits.key).exit_code == 7
    assert api.logs[counts.key]["stdout"] == b"".join(b"out %d\n" % i for i in range(1, 61))


def test_an_engine_that_is_not_there_yet_is_waited_for(api, start_agent, engine_proxy, docker_engine, run_id):
    agent = start_agent(runtime="docker", docker_host=engine_proxy.docker_host)
    eventually(lambda: "find the container engine" in agent.log)
    engine_proxy.open()
    task = a_shell_task("exit 0", run_id=run_id)
    api.want(task)
    assert wait_for_end(api, task.key).exit_code == 0


def test_a_node_of_processes_takes_to_an_engine_once_none_of_its_processes_is_left(
    api, start_agent, docker_engine, run_id
):
    agent = start_agent(runtime="process")
    task = a_shell_task("echo up; exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: api.logs[task.key]["stdout"])
    agent.terminate()
    agent = start_agent(runtime="auto")
    eventually(lambda: len(api.facts) == 2)
    assert api.facts[1].runtime is RuntimeKind.PROCESS
    api.want_stopped(task.key)
    assert wait_for_end(api, task.key).ending is TaskEnding.STOPPED
    eventually(lambda: not list((agent.state_dir / "processes").iterdir()))
    agent.terminate()
    start_agent(runtime="auto")
    eventually(lambda: len(api.facts) == 3)
    assert api.facts[2].runtime is RuntimeKind.DOCKER
    eventually(lambda: '"docker"' in (agent.state_dir / "credential.json").read_text())


def test_a_running_task_is_reported_alive_at_each_interval(api, start_agent, docker_engine, run_id):
    start_agent(runtime="docker", alive_interval_seconds="0.5")
    task = a_shell_task("exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: api.kinds(task.key).count("alive") >= 3)
    running, *alive = api.reports[1:4]
    assert [report.sequence for report in alive] == [1, 2]
    assert [report.at - running.at for report in alive] == [timedelta(seconds=0.5), timedelta(seconds=1)]


def test_stopping_the_agent_leaves_its_containers_and_the_next_one_adopts_them(api, agent, docker_engine, run_id):
    task = a_shell_task("trap 'exit 6' TERM; echo up; while true; do sleep 0.05; done", run_id=run_id)
    api.want(task)
    eventually(lambda: api.logs[task.key]["stdout"])
    assert agent.terminate() == 0
    (container,) = containers_of(docker_engine, run_id)
    assert container["State"] == "running"
    agent.start()
    api.want_stopped(task.key)
    end = wait_for_end(api, task.key)
    assert (end.ending, end.exit_code) == (TaskEnding.STOPPED, 6)
    assert api.requests["POST /v1/nodes/join"] == 1


def test_an_agent_that_stops_what_it_runs_reports_each_and_leaves_nothing(api, start_agent, docker_engine, run_id):
    agent = start_agent(runtime="docker", on_exit="stop")
    running = a_shell_task("echo up; exec sleep 60", run_id=run_id)
    pulling = a_task(run_id=run_id, rank=1, image="127.0.0.1:9/none:1")
    api.want(running, pulling)
    eventually(lambda: api.logs[running.key]["stdout"])
    assert agent.terminate() == 0
    ends = {key: api.ended(key) for key in (running.key, pulling.key)}
    assert [end.ending for end in ends.values()] == [TaskEnding.NODE_STOPPED] * 2
    assert ends[running.key].exit_code == 143
    assert ends[pulling.key].started_at is None
    assert containers_of(docker_engine, run_id) == []


def test_a_refused_credential_leads_to_a_new_node_without_the_old_ones_containers(api, agent, docker_engine, run_id):
    task = a_shell_task("exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: "running" in api.kinds(task.key))
    old_node = api.all_nodes[0]
    api.nodes.clear()
    api.drop(task.key)
    eventually(lambda: api.nodes)
    eventually(lambda: not docker_engine.containers(all=True, filters={"label": f"scalar.node_id={old_node}"}))
    after = a_shell_task("exit 0", run_id=run_id, rank=1)
    api.want(after)
    assert wait_for_end(api, after.key).exit_code == 0


def test_what_the_node_is_comes_from_docker_and_the_settings(api, agent, docker_engine):
    (facts,) = eventually(lambda: api.facts)
    assert facts.runtime is RuntimeKind.DOCKER
    assert [(gpu.index, gpu.type, gpu.uuid) for gpu in facts.gpus] == [(0, "declared", None), (1, "declared", None)]
    assert facts.cpus >= 1
    assert facts.memory_bytes > 100 * MIB


def test_no_secret_gets_into_a_log_an_argv_or_a_readable_file(api, agent, docker_engine, run_id):
    task = a_shell_task("exec sleep 60", run_id=run_id, env={"PASSWORD": "customer-secret"})
    api.want(task)
    eventually(lambda: "running" in api.kinds(task.key))
    (container,) = containers_of(docker_engine, run_id)
    seen = docker_engine.inspect_container(container["Id"])
    credential = next(iter(api.nodes))
    for secret in ("customer-secret", "fencing-secret", "join-secret", credential):
        assert secret not in agent.log
        assert secret not in str([seen["Args"], seen["Path"], seen["Config"]["Labels"]])
    kept = agent.state_dir / "credential.json"
    assert credential in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.state_dir.stat().st_mode) == 0o700


def reasons_to_stop(agent):
    with closing(sqlite3.connect(agent.state_dir / "spool.sqlite")) as spool:
        return spool.execute("SELECT stopped_for FROM tasks WHERE stopped_for IS NOT NULL").fetchall()
