"""What happens to a node: it joins, calls, drains, resumes, and goes. Each in the caller's transaction."""

from datetime import datetime, timedelta

from scalar.accounts import store as accounts
from scalar.accounts.keys import Key, Role, key_hash, new_key
from scalar.accounts.store import Admission
from scalar.capacity import store
from scalar.capacity.model import Node, NodeState
from scalar.capacity.scheduling import fits_when_idle
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.errors import Conflict, NotAuthenticated, NotFound, Unsatisfiable
from scalar.jobs.life import lose_node_of
from scalar.jobs.model import Requirements
from scalar.protocol import NodeFacts


def new_join_token(tx: Transaction, *, actor: str, uses: int, lifetime: timedelta, now: datetime) -> Key:
    """A token that admits `uses` nodes within `lifetime`."""
    key = new_key("join")
    accounts.create_join_token(tx, key, max_uses=uses, expires_at=now + lifetime)
    accounts.audit(tx, actor, "join_token.create", key.prefix, uses=uses)
    return key


def admit(tx: Transaction, token: str, now: datetime) -> Admission:
    """Raises: `NotAuthenticated`."""
    admission = accounts.use_join_token(tx, key_hash(token), now)
    if admission is None:
        raise NotAuthenticated("This join token is unknown, used up or past its time: ask an operator for a new one.")
    return admission


def join(tx: Transaction, facts: NodeFacts, now: datetime) -> tuple[Node, Key]:
    """A machine that was admitted becomes a node, with a credential of its own. Raises: `Conflict` (name taken)."""
    node = store.insert_node(tx, facts, now)
    key = new_key(Role.NODE)
    accounts.create_key(tx, key, Role.NODE, name=facts.name, node_id=node.id)
    accounts.audit(tx, f"node:{node.id}", "node.join", node.id, name=facts.name, gpus=len(facts.gpus))
    notify(tx, Channel.QUEUE, node.id)
    return node, key


def drain(tx: Transaction, node_id: str, actor: str) -> Node:
    """Finish what runs, take nothing new. Raises: `NotFound`, `Conflict` where it is gone."""
    return _move(tx, node_id, NodeState.DRAINING, actor, "node.drain")


def resume(tx: Transaction, node_id: str, actor: str) -> Node:
    """Take work again. Raises: `NotFound`, `Conflict` where it is gone."""
    node = _move(tx, node_id, NodeState.READY, actor, "node.resume")
    notify(tx, Channel.QUEUE, node_id)
    return node


def mark_gone(tx: Transaction, node_id: str, actor: str, now: datetime) -> Node:
    """Somebody knows that this machine is off for good: its runs end as `node_lost` and are tried elsewhere.

    This is the fence: the caller vouches that no container of it runs any more. Raises: `NotFound`.
    """
    node = _existing(store.node(tx, node_id))
    if node.state is NodeState.GONE:
        return node
    # No pass may place on it meanwhile; and its jobs are locked before any node is, as everywhere.
    lock(tx, Lock.SCHEDULING_PASS)
    runs = store.lock_active_runs_on(tx, node_id)
    store.set_state(tx, node_id, NodeState.GONE)
    accounts.revoke_keys_of_node(tx, node_id, now)
    accounts.audit(tx, actor, "node.gone", node_id, runs=runs)
    for run_id in runs:
        lose_node_of(tx, run_id, node_id, now)
    return _existing(store.node(tx, node_id))


def refuse_unsatisfiable(tx: Transaction, wanted: Requirements) -> None:
    """Raises: `Unsatisfiable` where there are nodes, and not even all of them idle could run this."""
    fleet = store.idle_fleet(tx)
    if not fleet or sum(fits_when_idle(wanted, node) for node in fleet) >= wanted.nodes:
        return
    types = sorted({node.gpu_type for node in fleet})
    if wanted.gpu_type is not None and wanted.gpu_type not in types:
        raise Unsatisfiable(f"No node has GPUs of type {wanted.gpu_type!r}. There are: {', '.join(types)}.")
    of_type = [node for node in fleet if wanted.gpu_type in (None, node.gpu_type)]
    largest = max(node.gpus_total for node in of_type)
    if wanted.gpus > largest:
        raise Unsatisfiable(
            f"No node has {wanted.gpus} GPUs: the largest has {largest}. Ask for {largest} or fewer a node, and for"
            " several nodes with resources.nodes."
        )
    raise Unsatisfiable(
        f"{wanted.nodes} node(s) with {wanted.gpus} GPUs and that much CPU and memory each are more than there are."
        " Ask for fewer nodes, or less of resources.cpus and resources.memory_gib."
    )


def _move(tx: Transaction, node_id: str, state: NodeState, actor: str, action: str) -> Node:
    node = _existing(store.node(tx, node_id, for_update=True))
    if node.state is NodeState.GONE:
        raise Conflict(f"{node_id} is gone: it can't come back under this id.")
    store.set_state(tx, node_id, state)
    accounts.audit(tx, actor, action, node_id)
    return _existing(store.node(tx, node_id))


def _existing(node: Node | None) -> Node:
    if node is None:
        raise NotFound("There is no such node.")
    return node
