"""Finding what a request names: by id (today's prefix or the one before), resource path, or plain name.

Another customer's things are not found, as if they weren't there. All raise `Refusal` 404.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from sandbox.market.records import Shelf
from sandbox.market.refusals import invalid, missing
from sandbox.market.resources import (
    PUBLIC_OWNER,
    PUBLIC_WORKSPACE,
    Image,
    Instance,
    OrderRecord,
    PoolRecord,
    Procurement,
    Token,
    Workspace,
)
from sandbox.market.skus import Sku, sku_id
from sandbox.market.world import World

_OLD_PREFIXES = {"cap_": "pool_", "vm_": "inst_", "vmi_": "image_", "cxfr_": "pxfr_"}
PUBLIC_PATH = f"sfc:workspace:{PUBLIC_OWNER}:public"


class _Owned(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def customer(self) -> str: ...
    @property
    def workspace(self) -> str: ...
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Owned)


def canonical(id: str) -> str:
    for old, new in _OLD_PREFIXES.items():
        if id.startswith(old):
            return new + id.removeprefix(old)
    return id


def pool(world: World, caller: Token, name: str) -> PoolRecord:
    return _found(world, caller, world.shelves.pools, "pool", name)


def procurement(world: World, caller: Token, name: str) -> Procurement:
    return _found(world, caller, world.shelves.procurements, "procurement", name)


def instance(world: World, caller: Token, name: str) -> Instance:
    return _found(world, caller, world.shelves.instances, "instance", name)


def order(world: World, caller: Token, id: str) -> OrderRecord:
    found = world.shelves.orders.get(id)
    if found is None or found.customer != caller.customer:
        raise missing("order", id)
    return found


def workspace(world: World, caller: Token, name: str) -> Workspace:
    owner = world.shelves.customers[caller.customer].name
    for one in world.shelves.workspaces:
        if one.customer == caller.customer and name in {one.id, one.name, f"sfc:workspace:{owner}:{one.name}"}:
            return one
    raise missing("workspace", name)


def image(world: World, caller: Token, name: str) -> Image:
    for one in visible_images(world, caller):
        path = f"sfc:image:{one.owner}:{one.workspace_name}:{one.name}"
        if canonical(name) in {one.id, one.name, path}:
            return one
    raise missing("image", name)


def visible_images(world: World, caller: Token) -> list[Image]:
    mine = {one.id for one in world.shelves.workspaces if one.customer == caller.customer}
    return [one for one in world.shelves.images if one.workspace in mine or one.workspace == PUBLIC_WORKSPACE]


def sku(world: World, id: str) -> Sku:
    found = world.skus.get(sku_id(id))
    if found is None:
        raise missing("instance SKU", id)
    return found


def free_name(name: str, taken: Iterable[_Owned], workspace_id: str) -> str:
    """Raises: `Refusal` 422 for a name that another one of the workspace has."""
    if any(one.name == name and one.workspace == workspace_id for one in taken):
        raise invalid("name", f"the name {name} is taken in this workspace")
    return name


def _found(world: World, caller: Token, shelf: Shelf[T], type: str, name: str) -> T:
    direct = shelf.get(canonical(name))
    if direct is not None and direct.customer == caller.customer:
        return direct
    owner = world.shelves.customers[caller.customer].name
    for one in shelf:
        if one.customer != caller.customer:
            continue
        place = world.shelves.workspaces[one.workspace].name
        if name in {one.name, f"sfc:{type}:{owner}:{place}:{one.name}"}:
            return one
    raise missing(type, name)
