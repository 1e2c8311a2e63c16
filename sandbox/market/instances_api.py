"""/instances: machines, their priorities, their logs."""

import base64
import binascii
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.fleet import a_name
from sandbox.market.once import IdempotencyKey, once
from sandbox.market.paging import Paging, page
from sandbox.market.pools_api import tagged
from sandbox.market.refusals import Refusal, invalid
from sandbox.market.resources import Instance, Priority, Token, new_id
from sandbox.market.skus import sku_id
from sandbox.market.wire import Body, Name, Tags
from sandbox.market.world import World

router = APIRouter()

_USER_DATA_BYTES = 64 * 1024
# A host key to be told; nothing listens behind it.
_HOST_KEY = base64.b64encode(b"sandbox").decode()


class CreateInstance(Body):
    pool: str
    image: str
    instance_sku: str
    name: Name | None = None
    cloud_init_user_data: str | None = None
    enable_public_ipv4: bool = False
    firewall: str | None = None
    tags: Tags | None = None
    priority_level: Priority | None = None


class PatchInstance(Body):
    name: Name | None = None
    tags: Tags | None = None
    priority_level: Priority | None = None


class PriorityOf(Body):
    id: str
    priority_level: Priority


class PatchInstances(Body):
    data: list[PriorityOf]


class ReplaceInstance(Body):
    image: str
    cloud_init_user_data: str | None = None
    name: Name | None = None


@router.post("/instances", status_code=201)
def create_instance(body: CreateInstance, world: TheWorld, caller: Caller) -> Any:
    if body.enable_public_ipv4 or body.firewall:
        raise invalid("enable_public_ipv4", "this instance SKU has no public addresses")
    with world.turn() as now:
        pool = lookups.pool(world, caller, body.pool)
        instance = Instance(
            id=new_id("inst"),
            customer=caller.customer,
            pool=pool.id,
            workspace=pool.workspace,
            sku=lookups.sku(world, body.instance_sku).id,
            image=lookups.image(world, caller, body.image).id,
            name=lookups.free_name(body.name or a_name(), world.shelves.instances, pool.workspace),
            created_at=now,
            updated_at=now,
            priority=body.priority_level or "normal",
            user_data=_user_data(body.cloud_init_user_data),
            tags=body.tags,
        )
        return rendering.instance(world, world.fleet.create(instance, now))


@router.get("/instances")
def list_instances(
    world: TheWorld,
    caller: Caller,
    paging: Paging,
    workspace: str | None = None,
    id: Annotated[list[str] | None, Query()] = None,
    pool: Annotated[list[str] | None, Query()] = None,
    status: Annotated[list[str] | None, Query()] = None,
    created_after: int | None = None,
    created_before: int | None = None,
    instance_sku: Annotated[list[str] | None, Query()] = None,
    tag: Annotated[list[str] | None, Query()] = None,
    tag_key: Annotated[list[str] | None, Query()] = None,
    include: Annotated[list[Literal["cloud_init_user_data"]] | None, Query()] = None,
) -> Any:
    with world.turn():
        place = lookups.workspace(world, caller, workspace).id if workspace else None
        pools = {lookups.pool(world, caller, one).id for one in pool} if pool else None
        ids = {lookups.canonical(one) for one in id} if id else None
        skus = {sku_id(one) for one in instance_sku} if instance_sku else None
        rows = [
            one
            for one in world.shelves.instances
            if one.customer == caller.customer
            and place in {None, one.workspace}
            and (ids is None or one.id in ids)
            and (pools is None or one.pool in pools)
            and (skus is None or one.sku in skus)
            and (not status or one.status in status)
            and (created_after is None or one.created_at >= created_after)
            and (created_before is None or one.created_at <= created_before)
            and tagged(one.tags, tag or (), tag_key or ())
        ]
        found = page(rows, paging, prefix="nodec", key=lambda one: (int(one.created_at), one.id), newest_first=True)
        return found.rendered(lambda one: rendering.instance(world, one, with_user_data=bool(include)))


@router.patch("/instances")
def patch_instances(body: PatchInstances, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        # Of an instance that is named twice, the last wins; all are found before any is changed.
        levels = {lookups.instance(world, caller, one.id).id: one.priority_level for one in body.data}
        if len({world.shelves.instances[one].workspace for one in levels}) > 1:
            raise invalid("data", "all instances must be of one workspace")
        changed = world.fleet.set_priorities(levels, now)
        return {"object": "list", "data": [rendering.instance(world, one) for one in changed]}


@router.get("/instances/{id}")
def get_instance(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        return rendering.instance(world, lookups.instance(world, caller, id), with_user_data=True)


@router.patch("/instances/{id}")
def patch_instance(id: str, body: PatchInstance, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        instance = lookups.instance(world, caller, id)
        if body.name is not None and body.name != instance.name:
            name = lookups.free_name(body.name, world.shelves.instances, instance.workspace)
            instance = replace(instance, name=name)
        if "tags" in body.model_fields_set:
            instance = replace(instance, tags=body.tags)
        if body.priority_level is not None:
            instance = replace(instance, priority=body.priority_level)
        return rendering.instance(world, world.fleet.change(instance, now))


@router.delete("/instances/{id}", status_code=204)
def delete_instance(id: str, world: TheWorld, caller: Caller) -> None:
    with world.turn():
        instance = lookups.instance(world, caller, id)
        if instance.live:
            raise Refusal(409, "an instance must be terminated before it is deleted")
        world.shelves.instances.remove(instance.id)


@router.post("/instances/{id}/terminate")
def terminate_instance(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        return rendering.instance(world, world.fleet.terminate(lookups.instance(world, caller, id), now))


@router.post("/instances/{id}/replace", status_code=201)
def replace_instance(
    id: str, body: ReplaceInstance, world: TheWorld, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Any:
    with world.turn():
        old = lookups.instance(world, caller, id)
        made = once(
            world, caller, f"replace:{old.id}", idempotency_key, body, lambda: _replaced(world, caller, old, body).id
        )
        return rendering.instance(world, world.shelves.instances[made])


@router.get("/instances/{id}/ssh")
def instance_ssh(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        instance = lookups.instance(world, caller, id)
        running = instance.status == "running" and instance.running_at is not None and not instance.silent
        if not running or now < (instance.running_at or 0) + world.rules.ssh_seconds:
            raise Refusal(404, "SSH is not available yet")
        return {
            "hostname": f"{instance.id.replace('_', '-').lower()}.sandbox.localhost",
            "port": 22,
            "host_keys": [{"key_type": "ssh-ed25519", "key": _HOST_KEY}],
            "last_successful_key_update_at": int(instance.running_at or now),
            "last_attempted_key_update_at": int(instance.running_at or now),
        }


@router.get("/instances/{id}/logs")
def instance_logs(
    id: str,
    world: TheWorld,
    caller: Caller,
    seqnum_before: int | None = None,
    seqnum_after: int | None = None,
    realtime_timestamp_before: int | None = None,
    realtime_timestamp_after: int | None = None,
    sort_by: Literal["seqnum", "-seqnum"] = "seqnum",
    limit: Annotated[int, Query(ge=1, le=2500)] = 100,
) -> Any:
    with world.turn():
        instance = lookups.instance(world, caller, id)
        log = world.machines.log(instance.id)
    # Lines of the agent's log have no time of their own: theirs is that of the boot.
    booted = int(instance.running_at or instance.created_at)
    lines = log.read_bytes().splitlines(keepends=True) if log else []
    chunks = [
        _chunk(seqnum, line, booted)
        for seqnum, line in enumerate(lines)
        if (seqnum_before is None or seqnum <= seqnum_before)
        and (seqnum_after is None or seqnum >= seqnum_after)
        and (realtime_timestamp_before is None or booted <= realtime_timestamp_before)
        and (realtime_timestamp_after is None or booted >= realtime_timestamp_after)
    ]
    ordered = chunks[::-1] if sort_by == "-seqnum" else chunks
    return {"object": "list", "data": ordered[:limit]}


def _chunk(seqnum: int, line: bytes, time: int) -> dict[str, Any]:
    return {
        "timestamp_realtime": time,
        "timestamp_monotonic_secs": seqnum,
        "timestamp_monotonic_nanos": 0,
        "seqnum": seqnum,
        "data": base64.b64encode(line).decode(),
    }


def _replaced(world: World, caller: Token, old: Instance, body: ReplaceInstance) -> Instance:
    now = world.now
    new = replace(
        old,
        id=new_id("inst"),
        image=lookups.image(world, caller, body.image).id,
        name=lookups.free_name(body.name or a_name(), world.shelves.instances, old.workspace),
        created_at=now,
        updated_at=now,
        status="awaiting_allocation",
        user_data=_user_data(body.cloud_init_user_data),
        allocated_at=None,
        boot_due=None,
        running_at=None,
    )
    return world.fleet.replace(old, new, now)


def _user_data(text: str | None) -> str | None:
    """Raises: `Refusal` for what is no base64, or too much."""
    if not text:
        return None
    try:
        size = len(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise invalid("cloud_init_user_data", "cloud_init_user_data is base64") from error
    if size > _USER_DATA_BYTES:
        raise invalid("cloud_init_user_data", "cloud_init_user_data is at most 64 KB")
    return text
