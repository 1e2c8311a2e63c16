"""Nodes come and go."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from scalar.accounts.keys import key_hash
from scalar.accounts.store import principal
from scalar.capacity import fleet, store
from scalar.capacity.model import NodeState
from scalar.database import Database, Transaction
from scalar.errors import Conflict, NotAuthenticated, NotFound, Unsatisfiable
from scalar.jobs.model import Requirements
from scalar.market import joining
from tests.made_up import GIB, NOON, a_customer, a_job_of, a_node, facts, launch

_LATER = NOON + timedelta(minutes=5)


def _token(tx: Transaction, uses: int = 1, now: datetime = NOON) -> str:
    return fleet.new_join_token(tx, actor="test", uses=uses, lifetime=timedelta(hours=1), now=now).secret


def test_a_machine_that_joins_is_a_ready_node_with_a_credential_of_its_own(tx: Transaction) -> None:
    node, key = joining.join(tx, _token(tx), facts("alpha", gpus=4, address="10.0.0.1"), NOON)
    assert (node.state, node.name, node.gpus, node.gpu_type, node.address) == ("ready", "alpha", 4, "H100", "10.0.0.1")
    who = principal(tx, key_hash(key.secret), NOON)
    assert who is not None
    assert (who.node_id, who.organisation_id) == (node.id, None)


def test_a_machine_without_a_gpu_may_join_and_gets_no_work(tx: Transaction) -> None:
    node, _ = joining.join(tx, _token(tx), facts(gpus=0, cpus=2.0, memory_bytes=GIB), NOON)
    assert (node.gpus, node.gpu_type) == (0, "none")


def test_a_token_admits_as_many_nodes_as_it_says(tx: Transaction) -> None:
    token = _token(tx, uses=2)
    for name in ("alpha", "beta"):
        joining.join(tx, token, facts(name), NOON)
    with pytest.raises(NotAuthenticated):
        joining.join(tx, token, facts("gamma"), NOON)


def test_a_token_admits_nobody_after_its_time(tx: Transaction) -> None:
    token = _token(tx)
    with pytest.raises(NotAuthenticated):
        joining.join(tx, token, facts(), NOON + timedelta(hours=1))
    joining.join(tx, token, facts(), NOON + timedelta(minutes=59))


def test_an_unknown_token_admits_nobody(tx: Transaction) -> None:
    with pytest.raises(NotAuthenticated):
        joining.join(tx, "sk_join_aaaaaaaa_" + "a" * 32, facts(), NOON)


def test_a_token_is_not_overused_by_machines_that_come_at_once(database: Database) -> None:
    with database.transaction() as tx:
        token = _token(tx, uses=3)

    def join(i: int) -> bool:
        try:
            with database.transaction() as tx:
                joining.join(tx, token, facts(f"node-{i}"), NOON)
        except NotAuthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(join, range(8))) == 3


def test_a_live_node_name_is_taken_and_does_not_cost_a_use_of_the_token(tx: Transaction) -> None:
    a_node(tx, "alpha")
    token = _token(tx)
    with pytest.raises(Conflict, match="'alpha' already"), tx.transaction():
        joining.join(tx, token, facts("alpha"), NOON)
    joining.join(tx, token, facts("beta"), NOON)


def test_the_name_of_a_node_that_has_gone_is_free(tx: Transaction) -> None:
    fleet.mark_gone(tx, a_node(tx, "alpha").id, "test", _LATER)
    assert a_node(tx, "alpha").state is NodeState.READY
    assert [node.name for node in store.nodes(tx)] == ["alpha"]
    assert len(store.nodes(tx, with_gone=True)) == 2


def test_a_node_drains_and_resumes(tx: Transaction) -> None:
    node = a_node(tx)
    assert fleet.drain(tx, node.id, "test").state is NodeState.DRAINING
    assert fleet.drain(tx, node.id, "test").state is NodeState.DRAINING
    assert fleet.resume(tx, node.id, "test").state is NodeState.READY


def test_a_node_that_has_gone_does_not_come_back(tx: Transaction) -> None:
    token = _token(tx)
    node, key = joining.join(tx, token, facts(), NOON)
    assert fleet.mark_gone(tx, node.id, "test", _LATER).state is NodeState.GONE
    assert principal(tx, key_hash(key.secret), _LATER) is None
    assert not store.seen(tx, node.id, _LATER)
    assert fleet.mark_gone(tx, node.id, "test", _LATER).state is NodeState.GONE
    for deed in (fleet.drain, fleet.resume):
        with pytest.raises(Conflict, match="can't come back"):
            deed(tx, node.id, "test")


def test_what_is_done_to_a_node_that_is_not_there_is_an_error(tx: Transaction) -> None:
    for deed in (fleet.drain, fleet.resume):
        with pytest.raises(NotFound):
            deed(tx, "node_none", "test")
    with pytest.raises(NotFound):
        fleet.mark_gone(tx, "node_none", "test", NOON)


def test_each_deed_is_in_the_audit_log(tx: Transaction) -> None:
    node = a_node(tx)
    fleet.drain(tx, node.id, "operator:a")
    fleet.resume(tx, node.id, "operator:b")
    fleet.mark_gone(tx, node.id, "operator:c", NOON)
    rows = tx.execute("select actor, action from audit_log where subject = %s order by id", [node.id])
    assert [(row["actor"], row["action"]) for row in rows] == [
        (f"node:{node.id}", "node.join"),
        ("operator:a", "node.drain"),
        ("operator:b", "node.resume"),
        ("operator:c", "node.gone"),
    ]


def test_draining_leaves_what_runs_alone(tx: Transaction) -> None:
    node = a_node(tx)
    launch(tx, a_job_of(tx, a_customer(tx), gpus=3).id)
    fleet.drain(tx, node.id, "test")
    assert store.assigned_counts(tx) == {node.id: 3}


def test_facts_after_a_restart_change_the_machine_but_not_who_it_is(tx: Transaction) -> None:
    node = a_node(tx, "alpha", gpus=8)
    store.update_facts(tx, node.id, facts("other", gpus=2, cpus=5.0, boot_id="second"), _LATER)
    again = store.node(tx, node.id)
    assert again is not None
    assert (again.name, again.gpus, again.cpus, again.last_seen_at) == ("alpha", 8, 5.0, _LATER)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Requirements(gpus=1, gpu_type="B200"), "No node has GPUs of type 'B200'. There are: A100, H100."),
        (Requirements(gpus=16), "the largest has 8. Ask for 8 or fewer a node, and for several nodes"),
        (Requirements(gpus=5, gpu_type="A100"), "the largest has 4"),
        (Requirements(gpus=8, nodes=2), "2 node(s) with 8 GPUs .* Ask for fewer nodes"),
        (Requirements(gpus=1, nodes=3), "3 node(s) with 1 GPUs"),
        (Requirements(gpus=1, cpus=1000), "less of resources.cpus and resources.memory_gib"),
        (Requirements(gpus=1, memory_bytes=10**15), "less of resources.cpus and resources.memory_gib"),
    ],
)
def test_what_no_node_could_ever_run_is_refused_with_what_would_do(
    tx: Transaction, wanted: Requirements, message: str
) -> None:
    a_node(tx, "alpha", gpus=8)
    a_node(tx, "beta", gpus=4, gpu_type="A100")
    with pytest.raises(Unsatisfiable, match=message.replace("(", r"\(").replace(")", r"\)")):
        fleet.refuse_unsatisfiable(tx, wanted)


@pytest.mark.parametrize(
    "wanted", [Requirements(gpus=8), Requirements(gpus=4, nodes=2), Requirements(gpus=1, gpu_type="A100")]
)
def test_what_an_idle_fleet_could_run_is_accepted_though_it_is_busy(tx: Transaction, wanted: Requirements) -> None:
    a_node(tx, "alpha", gpus=8)
    beta = a_node(tx, "beta", gpus=4, gpu_type="A100")
    launch(tx, a_job_of(tx, a_customer(tx), gpus=8).id)
    fleet.drain(tx, beta.id, "test")
    fleet.refuse_unsatisfiable(tx, wanted)


def test_a_fleet_without_a_node_refuses_nothing(tx: Transaction) -> None:
    fleet.refuse_unsatisfiable(tx, Requirements(gpus=64, nodes=64))


def test_a_desired_state_counts_its_changes(tx: Transaction) -> None:
    node, other = a_node(tx), a_node(tx, "beta")
    before = store.desired_versions(tx, [node.id, other.id])
    launch(tx, a_job_of(tx, a_customer(tx), gpus=8).id)
    after = store.desired_versions(tx, [node.id, other.id])
    assert sorted(after[each] - before[each] for each in after) == [0, 1]
    store.wake(tx, node.id)
    assert store.desired_version(tx, node.id) == after[node.id] + 1
