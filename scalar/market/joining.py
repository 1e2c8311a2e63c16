"""How a machine becomes a node, and a bought one takes work: the health gate.

1. A bought machine comes with a join token that was made for it. What its agent says of it is held against what was
   bought: the type and number of its GPUs, and that it isolates its jobs. What differs makes it unfit, with the reason.
   Its GPUs go by the name under which they were bought: a driver's "H100 80GB HBM3" is the "H100" that jobs ask for.
2. It takes work from its first long poll on: then its agent is known to listen.
"""

import re
from datetime import datetime

from scalar.accounts.keys import Key
from scalar.capacity import fleet
from scalar.capacity import store as capacity
from scalar.capacity.model import Node, NodeState
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.errors import Conflict
from scalar.market import instances, store
from scalar.market.model import Instance, InstanceState, Sku
from scalar.protocol import NodeFacts, RuntimeKind


def join(
    tx: Transaction, token: str, facts: NodeFacts, now: datetime, *, process_runtime: bool = False
) -> tuple[Node, Key]:
    """Raises: `NotAuthenticated`; `Conflict` where the name is taken, or the machine is not wanted any more."""
    admission = fleet.admit(tx, token, now)
    if admission.instance_id is None:
        return fleet.join(tx, facts, now)
    # Before the machine's row, as where one ends: its first try may have to be marked gone.
    lock(tx, Lock.SCHEDULING_PASS)
    instance = instances.instance(tx, admission.instance_id, for_update=True)
    if instance is None or instance.state is InstanceState.ENDED or instance.end_asked_at is not None:
        raise Conflict("This machine is not wanted any more.")
    _forget_first_try(tx, instance, now)
    bought = next((sku for sku in store.skus(tx) if sku.id == instance.sku), None)
    why = unfit(facts, bought, process_runtime=process_runtime)
    node, key = fleet.join(tx, facts if why else _named_as_bought(facts, bought), now)
    capacity.set_unfit(tx, node.id, why, instance.until)
    instances.joined(tx, instance.id, node.id, now)
    return node, key


def heard(tx: Transaction, node_id: str, now: datetime) -> None:
    """Its agent polls: the second half of the gate."""
    if instances.waits_at_gate(tx, node_id) and capacity.pass_gate(tx, node_id):
        instances.ready(tx, node_id, now)
        notify(tx, Channel.QUEUE, node_id)


def unfit(facts: NodeFacts, bought: Sku | None, *, process_runtime: bool) -> str | None:
    """Why this machine is not what was bought, if so. `process_runtime`: plain processes will do."""
    if facts.runtime is RuntimeKind.PROCESS and not process_runtime:
        return "it runs jobs as plain processes, which isolates nothing: it needs a Docker engine"
    if bought is None:
        return None
    if len(facts.gpus) < bought.gpus_per_node:
        return f"it has {len(facts.gpus)} GPUs, and {bought.gpus_per_node} were bought"
    wrong = sorted({gpu.type for gpu in facts.gpus if not _is_a(gpu.type, bought.gpu_type)})
    if wrong:
        return f"its GPUs are {', '.join(wrong)}, and {bought.gpu_type} were bought"
    return None


def _is_a(found: str, bought: str) -> bool:
    """As a word of it: a GH200 is no H200."""
    return re.search(rf"(?<!\w){re.escape(bought)}(?!\w)", found, re.IGNORECASE) is not None


def _named_as_bought(facts: NodeFacts, bought: Sku | None) -> NodeFacts:
    if bought is None:
        return facts
    return facts.model_copy(update={"gpus": [gpu.model_copy(update={"type": bought.gpu_type}) for gpu in facts.gpus]})


def _forget_first_try(tx: Transaction, instance: Instance, now: datetime) -> None:
    """The answer to its first join may have been lost on the way: nothing can have run on that node."""
    if instance.node_id is None:
        return
    node = capacity.node(tx, instance.node_id)
    if node is not None and node.state is not NodeState.CHECKING:
        raise Conflict("This machine has joined and works already under another credential.")
    fleet.mark_gone(tx, instance.node_id, "market", now)
