"""/images: what instances boot from. Uploads are taken down as said; their bytes are not asked for."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.paging import Paging, page
from sandbox.market.refusals import Refusal
from sandbox.market.resources import PUBLIC_WORKSPACE, Image, Token, new_id
from sandbox.market.wire import Body, Name
from sandbox.market.world import World

router = APIRouter(prefix="/images")

_URL_SECONDS = 3600
_SIZE = 4 * 1024**3


class StartUpload(Body):
    workspace: str
    name: Name | None = None


class UploadPart(Body):
    part_id: Annotated[int, Field(ge=1)]


class CompleteUpload(Body):
    sha256: Annotated[str, Field(pattern="^[a-f0-9]{64}$")]


@router.post("", status_code=201)
def start_upload(body: StartUpload, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        place = lookups.workspace(world, caller, body.workspace)
        image_id = new_id("image")
        name = body.name or image_id.replace("_", "-")
        if any(one.name == name and one.workspace == place.id for one in world.shelves.images):
            raise Refusal(400, f"the name {name} is taken in this workspace")
        made = Image(
            id=image_id,
            workspace=place.id,
            owner=world.shelves.customers[caller.customer].name,
            workspace_name=place.name,
            name=name,
            created_at=int(now),
        )
        return rendering.image(world.shelves.images.put(made))


@router.get("")
def list_images(
    world: TheWorld,
    caller: Caller,
    paging: Paging,
    workspace: str | None = None,
    id: Annotated[list[str] | None, Query()] = None,
) -> Any:
    with world.turn():
        rows = [one for one in _asked(world, caller, workspace) if not id or one.id in map(lookups.canonical, id)]
        found = page(rows, paging, prefix="imagec", key=lambda one: (one.created_at, one.id))
        return found.rendered(rendering.image)


@router.get("/{id}")
def get_image(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        return rendering.image(lookups.image(world, caller, id))


@router.delete("/{id}")
def delete_image(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = _own(world, caller, id)
        if any(one.image == found.id and one.live for one in world.shelves.instances):
            raise Refusal(409, "an instance uses this image")
        world.shelves.images.remove(found.id)
        return {"object": "image", "deleted": True, "name": found.name}


@router.post("/{id}/parts")
def upload_part(id: str, body: UploadPart, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        found = _own(world, caller, id)
        _must_be(found, "started", "uploading", status=400)
        world.shelves.images.put(replace(found, status="uploading"))
        return {"url": _url(found, f"parts/{body.part_id}"), "expires_at": int(now) + _URL_SECONDS}


@router.post("/{id}/complete")
def complete_upload(id: str, body: CompleteUpload, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = _own(world, caller, id)
        _must_be(found, "started", "uploading", status=400)
        return rendering.image(world.shelves.images.put(replace(found, status="completed", sha256=body.sha256)))


@router.get("/{id}/download")
def download(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        found = lookups.image(world, caller, id)
        _must_be(found, "completed", status=409)
        expires_at = int(now) + _URL_SECONDS
        return {"url": _url(found, "content"), "expires_at": expires_at, "sha256": found.sha256, "size": _SIZE}


@router.post("/{id}/revoke")
def revoke(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = _own(world, caller, id)
        _must_be(found, "completed", "revoked", status=409)
        return rendering.image(world.shelves.images.put(replace(found, status="revoked")))


@router.post("/{id}/reinstate")
def reinstate(id: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = _own(world, caller, id)
        _must_be(found, "completed", "revoked", status=409)
        return rendering.image(world.shelves.images.put(replace(found, status="completed")))


def _asked(world: World, caller: Token, workspace: str | None) -> list[Image]:
    """Public images are only listed where their workspace is asked for."""
    visible = lookups.visible_images(world, caller)
    if workspace in {lookups.PUBLIC_PATH, PUBLIC_WORKSPACE}:
        return [one for one in visible if one.public]
    place = lookups.workspace(world, caller, workspace).id if workspace else None
    return [one for one in visible if not one.public and place in {None, one.workspace}]


def _own(world: World, caller: Token, id: str) -> Image:
    found = lookups.image(world, caller, id)
    if found.public:
        raise Refusal(403, "a default image cannot be changed")
    return found


def _must_be(image: Image, *statuses: str, status: int) -> None:
    if image.status not in statuses:
        raise Refusal(status, f"the image is {image.status}")


def _url(image: Image, what: str) -> str:
    return f"https://images.sandbox.invalid/{image.id}/{what}"
