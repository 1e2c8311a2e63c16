import sqlite3
import stat
from contextlib import closing
from datetime import timedelta

import pytest
from made_up import NOON

from node_agent.record import TaskRecord
from node_agent.spool import Spool
from scalar.protocol import TaskAlive, TaskEnded, TaskEnding, TaskRunning, TaskStarting

KEY = ("run-1", 0)
WHO = {"run_id": "run-1", "rank": 0, "token": "fencing-secret"}
STARTING = TaskStarting(at=NOON, **WHO)
RUNNING = TaskRunning(at=NOON, container_id="c", **WHO)
ENDED = TaskEnded(at=NOON + timedelta(seconds=3), ending=TaskEnding.EXITED, started_at=NOON, exit_code=0, **WHO)


def alive(sequence):
    return TaskAlive(at=NOON + timedelta(seconds=60 * sequence), sequence=sequence, **WHO)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool.sqlite")
    yield spool
    spool.close()


def reports(spool):
    return [report for _, report in spool.oldest(100)]


def test_reports_come_back_in_order_with_their_tokens(spool):
    spool.add([STARTING, RUNNING])
    spool.add([alive(1), alive(2), ENDED])
    assert reports(spool) == [STARTING, RUNNING, alive(1), alive(2), ENDED]
    assert reports(spool)[0].token.get_secret_value() == "fencing-secret"


def test_adding_a_report_again_changes_nothing_even_after_its_acknowledgement(spool):
    life = [STARTING, RUNNING, alive(1), ENDED]
    assert spool.add(life) == 4
    assert spool.add(life) == 0
    spool.acknowledge(row_id for row_id, _ in spool.oldest(100))
    assert spool.waiting() == 0
    assert spool.add(life) == 0


def test_nothing_follows_an_end(spool):
    spool.add([ENDED])
    assert spool.add([RUNNING, alive(1), ENDED.model_copy(update={"ending": TaskEnding.CONTAINER_LOST})]) == 0
    assert reports(spool) == [ENDED]


def test_a_new_agent_finds_what_the_last_one_knew(tmp_path):
    first = Spool(tmp_path / "spool.sqlite")
    first.add([STARTING])
    first.mark_started(KEY, "boot-1")
    first.mark_stopped(KEY, TaskEnding.TIMED_OUT)
    first.mark_stopped(KEY, TaskEnding.STOPPED)
    first.add([RUNNING, alive(1)])
    first.close()
    second = Spool(tmp_path / "spool.sqlite")
    known = TaskRecord(
        starting=True, started=True, boot_id="boot-1", stopped_for=TaskEnding.TIMED_OUT, running_at=NOON, alive=1
    )
    assert second.records() == {KEY: known}
    assert second.waiting() == 3
    second.close()


def test_a_file_of_an_older_agent_goes_on_being_used(tmp_path):
    path = tmp_path / "spool.sqlite"
    first = Spool(path)
    first.mark_started(KEY, "boot-1")
    first.add([STARTING])
    first.close()
    with closing(sqlite3.connect(path)) as older, older:
        older.execute("ALTER TABLE tasks DROP COLUMN boot_id")
    spool = Spool(path)
    assert spool.records() == {KEY: TaskRecord(starting=True, started=True)}
    assert reports(spool) == [STARTING]
    spool.mark_started(KEY, "boot-2")
    assert spool.records()[KEY].boot_id == "boot-2"
    spool.close()


def test_a_forgotten_task_keeps_its_reports_until_they_are_acknowledged(spool):
    spool.add([STARTING, ENDED])
    spool.forget(KEY)
    assert spool.records() == {}
    assert reports(spool) == [STARTING, ENDED]


@pytest.mark.usefixtures("spool")
def test_nobody_else_can_read_the_file(tmp_path):
    assert stat.S_IMODE((tmp_path / "spool.sqlite").stat().st_mode) == 0o600
