"""The schema: how it is reached, and that Postgres refuses what the rules forbid."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import StrEnum
from itertools import permutations
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.errors import CheckViolation, ExclusionViolation, RestrictViolation, UniqueViolation

from scalar.accounts import store as accounts
from scalar.accounts.keys import Role
from scalar.capacity.model import NodeState
from scalar.database import Database, Transaction
from scalar.errors import Conflict, IllegalMove
from scalar.jobs import store, tasks
from scalar.jobs.endings import TerminationReason
from scalar.jobs.mirroring import Mirrored
from scalar.jobs.model import JOB_MOVES, RUN_MOVES, JobState, RunState, TaskState, Tier
from scalar.metering.model import UsageKind
from scalar.migrations import Migration, available, migrate, pending
from scalar.protocol import LogStream, RuntimeKind
from tests.made_up import NOON, a_customer, a_job_of, a_node, launch, running, told

_FIRST = Migration(number=1, name="0001_create_things", sql="create table things (id integer)")
_SECOND = Migration(number=2, name="0002_add_colour", sql="alter table things add colour text")


def test_applying_twice_is_applying_once(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        assert migrate(database) == [each.name for each in available()]
        assert migrate(database) == []
        with database.transaction() as tx:
            assert pending(tx, available()) == []


def test_threads_that_start_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    with Database(empty_database_url) as database, ThreadPoolExecutor(4) as threads:
        applied = [name for names in threads.map(lambda _: migrate(database), range(4)) for name in names]
    assert applied == [each.name for each in available()]


def test_processes_that_start_at_once_both_find_the_schema_complete(empty_database_url: str) -> None:
    program = (
        "import sys; from scalar.database import Database; from scalar.migrations import migrate\n"
        "with Database(sys.argv[1]) as database: print(len(migrate(database)))"
    )
    command = [sys.executable, "-c", program, empty_database_url]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(each.communicate(timeout=60)[0]) for each in both]
    assert sorted(counts) == [0, len(available())]


def test_a_migration_that_was_edited_afterwards_is_refused(empty_database_url: str) -> None:
    edited = Migration(number=1, name=_FIRST.name, sql=_FIRST.sql + " ")
    with Database(empty_database_url) as database:
        migrate(database, [_FIRST])
        with pytest.raises(Conflict, match="0001 was changed"):
            migrate(database, [edited, _SECOND])
        assert _columns_of(database, "things") == ["id"]


def test_a_database_newer_than_the_code_is_refused(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        migrate(database, [_FIRST, _SECOND])
        with pytest.raises(Conflict, match="0002, which this version"):
            migrate(database, [_FIRST])


def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    broken = Migration(number=2, name="0002_break_things", sql="alter table things add colour text; select nonsense")
    with Database(empty_database_url) as database:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            migrate(database, [_FIRST, broken])
        assert _columns_of(database, "things") == []
        assert migrate(database, [_FIRST, _SECOND]) == [_FIRST.name, _SECOND.name]


def test_a_migration_gives_up_where_it_would_queue_everybody_else_behind_it(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        migrate(database, [_FIRST])
        with psycopg.connect(empty_database_url) as reader:
            reader.execute("select from things")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                migrate(database, [_FIRST, _SECOND])
            reader.rollback()
        assert migrate(database, [_FIRST, _SECOND]) == [_SECOND.name]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0001_create_jobs.sql", "0003_add_colour.sql"], "not numbered 1, 2, 3"),
        (["0001_create_jobs.sql", "0001_create_nodes.sql"], "not numbered 1, 2, 3"),
        (["0002_create_jobs.sql"], "not numbered 1, 2, 3"),
        (["1_create_jobs.sql"], "NNNN_verb_noun"),
        (["0001_jobs.sql"], "NNNN_verb_noun"),
        (["0001-create-jobs.sql"], "NNNN_verb_noun"),
        (["0001_Create_Jobs.sql"], "NNNN_verb_noun"),
    ],
)
def test_a_folder_that_is_out_of_order_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1")
    with pytest.raises(ValueError, match=message):
        available(tmp_path)


def test_step_by_step_leads_to_the_same_schema_as_all_at_once(database_url: str, empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        for number in range(1, len(available()) + 1):
            assert len(migrate(database, available()[:number])) == 1
    dump = _schema(empty_database_url)
    assert len(dump) > 200
    assert dump == _schema(database_url)


_DUMP: tuple[LiteralString, ...] = (
    """select table_name, column_name, ordinal_position, data_type, is_nullable, column_default
       from information_schema.columns where table_schema = 'public'""",
    """select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
       where connamespace = 'public'::regnamespace""",
    "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'",
    "select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
    """select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace
       and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')""",
    "select 'job', from_state, to_state from job_moves union all select 'run', from_state, to_state from run_moves",
)


def _schema(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return [row for query in _DUMP for row in sorted(connection.execute(query), key=repr)]


def _columns_of(database: Database, table: str) -> list[str]:
    query = "select column_name from information_schema.columns where table_name = %s order by ordinal_position"
    with database.transaction() as tx:
        return [row["column_name"] for row in tx.execute(query, [table])]


@pytest.mark.parametrize(("table", "moves"), [("job_moves", JOB_MOVES), ("run_moves", RUN_MOVES)])
def test_the_table_of_legal_moves_is_the_mapping_in_the_code(
    tx: Transaction, table: LiteralString, moves: frozenset[tuple[StrEnum, StrEnum]]
) -> None:
    rows = [(row["from_state"], row["to_state"]) for row in tx.execute(f"select * from {table}")]
    assert sorted(rows) == sorted((str(now), str(then)) for now, then in moves)


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("jobs", "tier", Tier),
        ("nodes", "state", NodeState),
        ("nodes", "runtime", RuntimeKind),
        ("run_tasks", "state", TaskState),
        ("log_chunks", "stream", LogStream),
        ("usage_events", "kind", UsageKind),
        ("job_runs", "mirrored", Mirrored),
        ("api_keys", "role", Role),
    ],
)
def test_a_column_takes_each_value_of_its_enum_and_no_other(
    tx: Transaction, table: str, column: str, values: type[StrEnum]
) -> None:
    query = """select pg_get_constraintdef(c.oid) as definition from pg_constraint c
               where conrelid = %s::regclass and contype = 'c' and conkey = array[(
                   select attnum from pg_attribute where attrelid = c.conrelid and attname = %s)]"""
    definitions = [row["definition"] for row in tx.execute(query, [table, column])]
    (legal,) = [each for each in definitions if "ARRAY" in each]
    quoted = tx.execute("select array_agg(m[1]) as v from regexp_matches(%s, '''([^'']+)''', 'g') m", [legal])
    assert sorted(quoted.fetchone()["v"]) == sorted(values)  # type: ignore[index]


def test_a_job_goes_only_where_it_may(tx: Transaction) -> None:
    job = a_job_of(tx, a_customer(tx))
    for now, then in permutations(JobState, 2):
        _force(tx, "jobs", job.id, now, ended=now.ended)
        move = "update jobs set state = %s, ended_at = case when %s then now() end where id = %s"
        assert _allows(tx, move, [then, then.ended, job.id]) is ((now, then) in JOB_MOVES), (now, then)


def test_a_run_goes_only_where_it_may(tx: Transaction) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, a_customer(tx)).id)
    for now, then in permutations(RunState, 2):
        _force(tx, "job_runs", run.id, now, ended=now.ended)
        move = """update job_runs set state = %(then)s, reason = case when %(ended)s then 'error' end,
                  ended_at = case when %(ended)s then now() end where id = %(id)s"""
        allowed = _allows(tx, move, {"then": then, "ended": then.ended, "id": run.id})
        assert allowed is ((now, then) in RUN_MOVES), (now, then)


def _allows(tx: Transaction, move: LiteralString, parameters: Any) -> bool:
    try:
        with tx.transaction():
            tx.execute(move, parameters)
    except CheckViolation as error:
        return "can't go from" not in str(error)
    return True


def _force(tx: Transaction, table: LiteralString, id: str, state: StrEnum, *, ended: bool) -> None:
    """Into a state, past the trigger that checks moves; not past the constraints."""
    reason = ", reason = 'error'" if ended else ", reason = null"
    tx.execute(f"alter table {table} disable trigger user")
    tx.execute(
        f"update {table} set state = %s, ended_at = case when %s then now() end {reason} where id = %s",
        [state, ended, id],
    )
    tx.execute(f"alter table {table} enable trigger user")


def test_a_move_that_the_store_is_asked_for_and_may_not_make_is_an_error_of_ours(tx: Transaction) -> None:
    job = a_job_of(tx, a_customer(tx))
    with pytest.raises(IllegalMove, match="can't become running"), tx.transaction():
        store.move_job(tx, job.id, JobState.RUNNING)
    with pytest.raises(IllegalMove, match="has not ended"), tx.transaction():
        store.requeue_job(tx, job.id, NOON)


def test_a_gpu_is_never_two_runs_at_one_time(tx: Transaction) -> None:
    customer = a_customer(tx)
    node = a_node(tx, gpus=8)
    first, second = (launch(tx, a_job_of(tx, customer).id) for _ in range(2))
    other = [a["gpu_index"] for a in _assignments(tx, first.id)]
    with pytest.raises(ExclusionViolation), tx.transaction():
        _assign(tx, node.id, other[0], second.id, NOON + timedelta(days=1))
    tasks.release_gpus(tx, first.id, None, NOON + timedelta(hours=1))
    with pytest.raises(ExclusionViolation), tx.transaction():
        _assign(tx, node.id, other[0], second.id, NOON + timedelta(minutes=59))
    _assign(tx, node.id, other[0], second.id, NOON + timedelta(hours=1))


def _assignments(tx: Transaction, run_id: str) -> list[dict[str, Any]]:
    return tx.execute("select * from gpu_assignments where run_id = %s", [run_id]).fetchall()


def _assign(tx: Transaction, node_id: str, gpu: int, run_id: str, since: object) -> None:
    tx.execute(
        """insert into gpu_assignments (node_id, gpu_index, run_id, rank, during)
           values (%s, %s, %s, 0, tstzrange(%s, null))""",
        [node_id, gpu, run_id, since],
    )


def test_a_job_never_has_two_runs_that_have_not_ended(tx: Transaction) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, a_customer(tx)).id)
    with pytest.raises(UniqueViolation, match="job_runs_one_active"), tx.transaction():
        tx.execute(
            "insert into job_runs (id, job_id, attempt, token, placed_at) values ('r', %s, 2, 't', now())",
            [run.job_id],
        )
    with pytest.raises(IllegalMove, match="has a run already"), tx.transaction():
        store.insert_run(tx, run.job_id, run.token, NOON)


@pytest.mark.parametrize("table", ["audit_log", "usage_events"])
@pytest.mark.parametrize("deed", ["update {} set id = default", "delete from {}", "truncate {} cascade"])
def test_what_was_recorded_stays_as_it_was(tx: Transaction, table: LiteralString, deed: LiteralString) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, a_customer(tx)).id)
    told(tx, run, running(run))
    accounts.audit(tx, "test", "test", "test")
    with pytest.raises(RestrictViolation, match="append-only"), tx.transaction():
        tx.execute(deed.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "insert into api_keys (id, prefix, hash, role, name) values ('k', 'p', sha256('x'), 'customer', 'n')",
        "insert into api_keys (id, prefix, hash, role, name) values ('k', 'p', sha256('x'), 'node', 'n')",
        "insert into api_keys (id, prefix, hash, role, name) values ('k', 'p', 'short', 'operator', 'n')",
        "update jobs set state = 'cancelled'",
        "update jobs set ended_at = now()",
        "update jobs set gpus = 0",
        "update job_runs set ended_at = now()",
        "update job_runs set reason = 'error'",
        "update job_runs set stop_reason = 'cancelled'",
        "update run_tasks set state = 'ended'",
        "update run_tasks set started_at = now(), ended_at = now() - interval '1 s', state = 'ended'",
        "update gpu_assignments set during = 'empty'",
        """insert into hourly_usage select '2026-11-21 12:30Z', r.id, j.organisation_id, j.tier, 'H100', 1
           from job_runs r join jobs j on j.id = r.job_id""",
    ],
)
def test_a_row_that_contradicts_itself_is_refused(tx: Transaction, statement: LiteralString) -> None:
    a_node(tx)
    launch(tx, a_job_of(tx, a_customer(tx)).id)
    with pytest.raises(CheckViolation), tx.transaction():
        tx.execute(statement)


@pytest.mark.parametrize("reason", list(TerminationReason))
def test_every_reason_can_be_stored_as_the_end_of_a_run(tx: Transaction, reason: TerminationReason) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, a_customer(tx)).id)
    store.end_run(tx, run.id, reason, message=None, exit_code=None, ended_at=NOON)
    assert store.run(tx, run.id).state is reason.run_state  # type: ignore[union-attr]
