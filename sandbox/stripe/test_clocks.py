"""Test clocks: customers that are made on one live by its time, and nobody else does."""

from sandbox.stripe import customers
from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import listed
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.world import World

_KIND = "test_helpers.test_clock"
_LIVES = 30 * 86_400


def create(world: World, call: Call) -> Object:
    frozen, name = call.params.integer("frozen_time"), call.params.text("name")
    if frozen is None:
        raise call.params.lacks("frozen_time")
    call.params.finish()
    clock = {
        "id": new_id("clock"),
        "object": _KIND,
        "created": world.now,
        "deletes_after": world.now + _LIVES,
        "frozen_time": frozen,
        "livemode": False,
        "name": name,
        "status": "ready",
        "status_details": {},
    }
    world.store.add(clock)
    world.emit("test_helpers.test_clock.created", clock)
    return clock


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.live(_KIND, call.names["clock"])


def advance(world: World, call: Call) -> Object:
    """All that falls due on the way is done when this answers; it says `advancing` all the same, and then `ready`."""
    target = call.params.integer("frozen_time")
    call.params.finish()
    clock = world.live(_KIND, call.names["clock"])
    if target is None or target <= clock["frozen_time"]:
        raise invalid("frozen_time", "A test clock's frozen_time must be later than it is now.")
    advancing = {**clock, "status": "advancing"}
    world.emit("test_helpers.test_clock.advancing", advancing)
    while (due := world.store.next_deadline(clock["id"])) and due[1] <= target:
        world.store.put({**clock, "frozen_time": max(clock["frozen_time"], int(due[1]))})
        world.meet(due)
    ready = world.store.put({**clock, "frozen_time": target})
    world.emit("test_helpers.test_clock.ready", ready)
    return {**advancing, "frozen_time": target}


def delete(world: World, call: Call) -> Object:
    """Its customers go with it."""
    nothing_else(call)
    clock = world.live(_KIND, call.names["clock"])
    for customer in customers.on_clock(world, clock["id"]):
        customers.remove(world, customer)
    world.store.drop_clock(clock["id"])
    world.emit("test_helpers.test_clock.deleted", clock)
    gone = {"id": clock["id"], "object": _KIND, "deleted": True}
    world.store.drop(clock["id"])
    return gone


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, _KIND)


ROUTES: list[Route] = [
    ("POST", "/v1/test_helpers/test_clocks", create),
    ("GET", "/v1/test_helpers/test_clocks", list_all),
    ("GET", "/v1/test_helpers/test_clocks/{clock}", retrieve),
    ("POST", "/v1/test_helpers/test_clocks/{clock}/advance", advance),
    ("DELETE", "/v1/test_helpers/test_clocks/{clock}", delete),
]
