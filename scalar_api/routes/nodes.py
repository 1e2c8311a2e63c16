"""The fleet, for operators (and, without other tenants' details, for customers)."""

from datetime import datetime, timedelta

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr

from scalar.capacity import fleet, store
from scalar.capacity.model import Node, NodeState
from scalar.errors import Conflict, NotFound
from scalar.market import joining
from scalar.protocol import JoinReply, JoinRequest, RuntimeKind
from scalar_api.dependencies import Bearer, Db, MarketConfig, Now, Operator, Person
from scalar_api.problems import responses

router = APIRouter(prefix="/v1", tags=["nodes"])
_OF_A_NODE = responses(NotFound, Conflict)


class NodeView(BaseModel):
    id: str
    name: str
    state: NodeState
    silent: bool = Field(description="It has not called for 90 s: nothing new is placed on it.")
    gpu_type: str
    gpus: int
    gpus_in_use: int
    cpus: float
    memory_gib: float
    runtime: RuntimeKind
    runtime_notice: str = Field(description="What to know about the runtime; says so if it isolates nothing.")
    agent_version: str
    joined_at: datetime
    last_seen_at: datetime
    available_until: datetime | None = Field(description="The end of the block that it was bought with.")


class NodeList(BaseModel):
    data: list[NodeView]


class JoinTokenRequest(BaseModel):
    uses: int = Field(default=1, ge=1, le=1000, description="How many nodes it admits.")
    lifetime_seconds: int = Field(default=3600, ge=60, le=30 * 86_400)


class JoinToken(BaseModel):
    token: str = Field(description="Shown once.")
    expires_at: datetime


@router.get("/nodes", responses=_OF_A_NODE)
def list_nodes(_: Person, database: Db, now: Now) -> NodeList:
    """Every node that has not gone."""
    with database.transaction() as tx:
        nodes, in_use = store.nodes(tx), store.assigned_counts(tx)
    return NodeList(data=[_view(node, in_use.get(node.id, 0), now) for node in nodes])


@router.post("/nodes/{node_id}/drain", responses=_OF_A_NODE)
def drain_node(node_id: str, caller: Operator, database: Db, now: Now) -> NodeView:
    """Let it finish what it runs, and place nothing new on it."""
    with database.transaction() as tx:
        node = fleet.drain(tx, node_id, caller.actor)
        in_use = store.assigned_counts(tx)
    return _view(node, in_use.get(node_id, 0), now)


@router.post("/nodes/{node_id}/resume", responses=_OF_A_NODE)
def resume_node(node_id: str, caller: Operator, database: Db, now: Now) -> NodeView:
    """Place work on it again."""
    with database.transaction() as tx:
        node = fleet.resume(tx, node_id, caller.actor)
        in_use = store.assigned_counts(tx)
    return _view(node, in_use.get(node_id, 0), now)


@router.post("/nodes/{node_id}/gone", responses=_OF_A_NODE)
def mark_node_gone(node_id: str, caller: Operator, database: Db, now: Now) -> NodeView:
    """You vouch that this machine is off for good: its runs end as `node_lost` and are tried elsewhere.

    Never done by a timer: a machine that nobody hears may still be running its containers, and no job runs twice.
    """
    with database.transaction() as tx:
        node = fleet.mark_gone(tx, node_id, caller.actor, now)
    return _view(node, 0, now)


@router.post("/join-tokens", status_code=201, responses=_OF_A_NODE)
def create_join_token(body: JoinTokenRequest, caller: Operator, database: Db, now: Now) -> JoinToken:
    """A token with which a machine's agent joins the fleet."""
    lifetime = timedelta(seconds=body.lifetime_seconds)
    with database.transaction() as tx:
        key = fleet.new_join_token(tx, actor=caller.actor, uses=body.uses, lifetime=lifetime, now=now)
    return JoinToken(token=key.secret, expires_at=now + lifetime)


@router.post("/nodes/join", status_code=201, responses=_OF_A_NODE)
def join(body: JoinRequest, token: Bearer, database: Db, market: MarketConfig, now: Now) -> JoinReply:
    """A machine becomes a node. The bearer is a join token; the reply holds the node's own credential, shown once."""
    with database.transaction() as tx:
        node, key = joining.join(tx, token, body.facts, now, process_runtime=market.process_runtime)
    return JoinReply(node_id=node.id, credential=SecretStr(key.secret))


def _view(node: Node, in_use: int, now: datetime) -> NodeView:
    return NodeView(
        id=node.id,
        name=node.name,
        state=node.state,
        silent=node.silent(now),
        gpu_type=node.gpu_type,
        gpus=node.gpus,
        gpus_in_use=in_use,
        cpus=node.cpus,
        memory_gib=round(node.memory_bytes / 1024**3, 3),
        runtime=node.runtime,
        runtime_notice=node.runtime.notice,
        agent_version=node.agent_version,
        joined_at=node.joined_at,
        last_seen_at=node.last_seen_at,
        available_until=node.available_until,
    )
