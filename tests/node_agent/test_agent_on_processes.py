"""The agent as a real process with the process runtime: what needs no engine."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta

import pytest
from conftest import REPOSITORY
from made_up import a_shell_task, eventually
from stand_in_api import JOIN_TOKEN

from scalar.protocol import RuntimeKind, TaskEnding


def test_a_task_survives_the_agent_and_is_adopted(api, start_agent, run_id):
    agent = start_agent(runtime="process")
    task = a_shell_task("for i in $(seq 30); do echo $i; sleep 0.05; done; exit 3", run_id=run_id)
    api.want(task)
    eventually(lambda: b"5\n" in api.logs[task.key]["stdout"])
    agent.kill()
    agent.start()
    end = eventually(lambda: api.ended(task.key))
    assert (end.ending, end.exit_code) == (TaskEnding.EXITED, 3)
    assert api.logs[task.key]["stdout"] == b"".join(b"%d\n" % i for i in range(1, 31))
    assert api.kinds(task.key) == ["starting", "running", "ended"]
    eventually(lambda: not list((agent.state_dir / "processes").iterdir()))
    assert "development only, not isolated" in agent.log
    assert api.facts[0].runtime is RuntimeKind.PROCESS


def test_a_task_that_a_restart_of_the_machine_cut_off_is_lost(api, start_agent, run_id):
    agent = start_agent(runtime="process", alive_interval_seconds="0.2")
    task = a_shell_task("exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: "alive" in api.kinds(task.key))
    agent.kill()
    (directory,) = (agent.state_dir / "processes").iterdir()
    os.killpg(int((directory / "started").read_text().split()[0]), signal.SIGKILL)
    with closing(sqlite3.connect(agent.state_dir / "spool.sqlite")) as spool, spool:
        spool.execute("UPDATE tasks SET boot_id = 'the one before'")
        ((alive,),) = spool.execute("SELECT alive FROM tasks").fetchall()
    time.sleep(0.5)
    agent.start()
    end = eventually(lambda: api.ended(task.key))
    assert (end.ending, end.exit_code) == (TaskEnding.CONTAINER_LOST, None)
    assert end.at == end.started_at + alive * timedelta(seconds=0.2)
    assert api.kinds(task.key).count("alive") == alive


def test_stopping_with_the_agent_ends_the_processes(api, start_agent, run_id):
    agent = start_agent(runtime="process", on_exit="stop")
    task = a_shell_task("echo up; exec sleep 60", run_id=run_id)
    api.want(task)
    eventually(lambda: api.logs[task.key]["stdout"])
    assert agent.terminate() == 0
    end = api.ended(task.key)
    assert (end.ending, end.exit_code) == (TaskEnding.NODE_STOPPED, 143)
    assert list((agent.state_dir / "processes").iterdir()) == []


def test_an_api_that_is_not_there_yet_is_waited_for(api, start_agent, run_id):
    api.stop()
    agent = start_agent(runtime="process")
    eventually(lambda: "trying again" in agent.log)
    api.start()
    task = a_shell_task("exit 0", run_id=run_id)
    api.want(task)
    assert eventually(lambda: api.ended(task.key)).exit_code == 0


def test_an_agent_asked_to_stop_while_it_waits_for_the_api_stops(api, start_agent):
    api.stop()
    agent = start_agent(runtime="process")
    eventually(lambda: "trying again" in agent.log)
    assert agent.terminate() == 0


def test_a_second_agent_on_the_same_state_directory_is_told_to_go_elsewhere(api, start_agent):
    start_agent(runtime="process")
    eventually(lambda: api.requests["GET /v1/node/desired"])
    second = start_agent(runtime="process")
    assert second.process.wait(10) == 3
    assert "another agent uses" in second.log


def test_a_known_credential_is_used_again_and_the_facts_are_told(api, start_agent):
    agent = start_agent(runtime="process", name="first")
    eventually(lambda: api.requests["GET /v1/node/desired"])
    agent.terminate()
    start_agent(runtime="process", join_token="", name="second")
    eventually(lambda: api.requests["PUT /v1/node/facts"])
    assert api.requests["POST /v1/nodes/join"] == 1
    assert [facts.name for facts in api.facts] == ["first", "second"]


@pytest.mark.parametrize(("token", "told"), [("wrong", "the API refused the join token"), ("", "give a join token")])
def test_without_a_way_in_the_agent_says_so_and_exits(start_agent, token, told):
    agent = start_agent(runtime="process", join_token=token)
    assert agent.process.wait(10) == 2
    assert told in agent.log


def test_a_credential_refused_later_without_a_join_token_ends_the_agent(api, start_agent):
    agent = start_agent(runtime="process")
    eventually(lambda: api.requests["GET /v1/node/desired"])
    agent.kill()
    agent = start_agent(runtime="process", join_token="")
    eventually(lambda: api.requests["GET /v1/node/desired"] >= 2)
    api.nodes.clear()
    api.want()
    assert agent.process.wait(10) == 2


def test_a_name_that_another_node_has_ends_the_agent_with_the_apis_words(api, start_agent):
    api.taken_names.add("taken")
    agent = start_agent(runtime="process", name="taken")
    assert agent.process.wait(10) == 2
    assert "There is a node named 'taken' already." in agent.log
    assert "An earlier try" not in agent.log
    assert api.requests["POST /v1/nodes/join"] == 1


def test_a_join_whose_reply_was_lost_ends_with_what_to_do(api, start_agent, monkeypatch):
    api.lose_join_reply = True
    agent = start_agent(runtime="process", name="ghost")
    eventually(lambda: "trying again" in agent.log)
    monkeypatch.setattr("stand_in_api.JOIN_TOKEN", "another, as this one is spent")
    assert agent.process.wait(10) == 2
    assert "the API refused the join token" in agent.log
    assert "ask for a new join token, mark the node named 'ghost' gone" in agent.log


def test_a_node_of_containers_never_turns_into_one_of_processes(api, start_agent, tmp_path):
    agent = start_agent(runtime="process")
    eventually(lambda: api.requests["GET /v1/node/desired"])
    agent.terminate()
    remembered = agent.state_dir / "credential.json"
    remembered.write_text(remembered.read_text().replace('"process"', '"docker"'))
    agent = start_agent(runtime="auto", docker_host=f"unix://{tmp_path}/nobody.sock")
    eventually(lambda: "find the container engine" in agent.log)
    assert api.facts[1].runtime is RuntimeKind.DOCKER
    assert '"docker"' in remembered.read_text()


def test_a_node_of_processes_stays_one_while_no_engine_answers(api, start_agent, tmp_path):
    nowhere = f"unix://{tmp_path}/nobody.sock"
    agent = start_agent(runtime="auto", docker_host=nowhere)
    eventually(lambda: api.requests["GET /v1/node/desired"])
    agent.terminate()
    start_agent(runtime="auto", docker_host=nowhere)
    eventually(lambda: len(api.facts) == 2)
    assert [facts.runtime for facts in api.facts] == [RuntimeKind.PROCESS] * 2


def test_the_help_teaches_and_wrong_settings_say_which():
    python = [sys.executable, "-m", "node_agent"]
    told = subprocess.run([*python, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for word in ("SCALAR_AGENT_API_URL", "--on-exit", "join token", "Exit codes"):
        assert word in told.stdout
    mistaken = [*python, "--gpus", "many", "--join-token", JOIN_TOKEN]
    wrong = subprocess.run(mistaken, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "--api-url" in wrong.stderr
    assert "--gpus" in wrong.stderr
    assert JOIN_TOKEN not in wrong.stderr
