"""Cursor lists: newest first, `limit`, `starting_after`, `ending_before`, `created`."""

from sandbox.stripe.calls import Call
from sandbox.stripe.form import Params
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import Where, field_is
from sandbox.stripe.world import World

_DEFAULT, _LARGEST = 10, 100
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def listed(world: World, call: Call, kind: str, *conditions: Where, newest_first: bool = True) -> Object:
    """One page. Every other parameter must have been read. Raises: `Refusal`."""
    params = call.params
    limit = _limit(params)
    after, before = params.text("starting_after"), params.text("ending_before")
    conditions = (*conditions, *_created(params))
    params.finish()
    if after and before:
        raise invalid("starting_after", "You can only specify one of ending_before or starting_after.")
    backwards = before is not None
    cursor = _cursor(world, kind, after or before, "starting_after" if after else "ending_before")
    if cursor is not None:
        # Further down the page is older, unless the page is turned back or begins with the oldest.
        older = backwards != newest_first
        conditions = (*conditions, Where(sql=f"seq {'<' if older else '>'} ?", values=(cursor,)))
    found = world.store.find(kind, *conditions, newest_first=newest_first != backwards, limit=limit + 1)
    rows = found[:limit]
    if backwards:
        rows.reverse()
    shown = [world.renderer.shown(row) for row in rows]
    return {"object": "list", "data": shown, "has_more": len(found) > limit, "url": call.path}


def chosen(params: Params, *names: str) -> list[Where]:
    """Fields that must be what was asked for, where it was."""
    return [field_is(name, value) for name in names if (value := params.text(name)) is not None]


def of_customer(params: Params) -> list[Where]:
    customer = params.text("customer")
    return [] if customer is None else [Where(sql="customer = ?", values=(customer,))]


def of_parent(parent: str) -> Where:
    return Where(sql="parent = ?", values=(parent,))


def _limit(params: Params) -> int:
    limit = params.integer("limit")
    if limit is not None and not 1 <= limit <= _LARGEST:
        raise invalid("limit", f"This value must be between 1 and {_LARGEST}.")
    return limit or _DEFAULT


def _cursor(world: World, kind: str, id: str | None, param: str) -> int | None:
    if id is None:
        return None
    world.get(kind, id, param)
    return world.store.place(id)


def _created(params: Params) -> list[Where]:
    """A time, or a table of bounds."""
    if params.is_nested("created"):
        bounds = params.nested("created")
        return _bounds(bounds) if bounds else []
    exactly = params.integer("created")
    return [] if exactly is None else [field_is("created", exactly)]


def _bounds(bounds: Params) -> list[Where]:
    given = [(sign, bounds.integer(name)) for name, sign in _COMPARISONS.items()]
    return [
        Where(sql=f"json_extract(body, '$.created') {sign} ?", values=(value,))
        for sign, value in given
        if value is not None
    ]
