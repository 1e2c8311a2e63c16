"""/sandbox/v1: what no real Stripe has. Time, faults, cards that change their mind, disputes, webhooks at will.

Nobody is asked for a key here, which is why the server listens on the loopback interface only.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.stripe import collecting, disputes, payment_intents
from sandbox.stripe.courier import Courier
from sandbox.stripe.faults import MEANINGS, Fault, FaultKind
from sandbox.stripe.identity import new_id
from sandbox.stripe.refusals import Object, Refusal, invalid, missing
from sandbox.stripe.world import World

PREFIX = "/sandbox/v1"


class _Control(BaseModel):
    """A misspelt field is an error: nothing is ignored where somebody tests."""

    model_config = ConfigDict(extra="forbid")


class Nothing(_Control):
    """No body."""


class Advance(_Control):
    """By `seconds`, or `to` a time in epoch seconds."""

    seconds: Annotated[float, Field(ge=0)] | None = None
    to: float | None = None


class NewFault(_Control):
    kind: FaultKind
    method: str | None = None
    path: str = ".*"
    event: str = "*"
    times: Annotated[int | None, Field(ge=1)] = None
    seconds: Annotated[float, Field(ge=0)] = 1.0
    retry_after: Annotated[int, Field(ge=0)] = 1
    status: Annotated[int, Field(ge=500, le=599)] = 500
    fields: dict[str, Any] = Field(default_factory=dict)


class CardDoes(_Control):
    """What is left out stays as it is; `declines: null` lets the card pay again."""

    declines: str | None = None
    authenticates: bool | None = None
    disputes: str | None = None
    refunds: Literal["pending", "fails", "pending_fails"] | None = None


class Authentication(_Control):
    succeeds: bool = True


class CustomerPays(_Control):
    payment_method: str = "pm_card_visa"


class NewDispute(_Control):
    charge: str
    amount: Annotated[int | None, Field(gt=0)] = None
    reason: str = "fraudulent"


class DisputeEnds(_Control):
    outcome: Literal["won", "lost"]


class NewEvent(_Control):
    """Of any object, ours or not. Without one: an invoice that nobody here has made."""

    type: str
    object: dict[str, Any] | None = None
    created: int | None = None


class Redelivery(_Control):
    event: str
    times: Annotated[int, Field(ge=1, le=100)] = 1


class Release(_Control):
    order: Literal["oldest", "newest"] = "oldest"


def clock(world: World, _courier: Courier, _body: Nothing) -> Any:
    return {"now": world.clock.now(), "runs": world.clock.runs}


def advance(world: World, courier: Courier, body: Advance) -> Any:
    """Answers when all that fell due on the way is done and delivered."""
    if (body.seconds is None) == (body.to is None):
        raise invalid("seconds", "either seconds or to is needed")
    target = body.to if body.seconds is None else world.clock.now() + body.seconds
    if target is None or target < world.clock.now():
        raise invalid("to", "time only goes forward")
    courier.advance_to(target)
    return {"now": world.clock.now(), "runs": world.clock.runs}


def list_faults(world: World, _courier: Courier, _body: Nothing) -> Any:
    return {"faults": [asdict(fault) for fault in world.faults.all()], "kinds": MEANINGS}


def add_fault(world: World, _courier: Courier, body: NewFault) -> Any:
    return asdict(world.faults.add(Fault(id="", **body.model_dump())))


def remove_faults(world: World, _courier: Courier, _body: Nothing) -> Any:
    return {"removed": world.faults.remove()}


def remove_fault(world: World, _courier: Courier, _body: Nothing, id: str) -> Any:
    if not world.faults.remove(id):
        raise missing("fault", id)
    return {"removed": 1}


def change_card(world: World, _courier: Courier, body: CardDoes, id: str) -> Any:
    with world.turn():
        world.get("payment_method", id)
        world.store.hide(id, **body.model_dump(exclude_unset=True))
        return world.store.hidden(id)


def authenticate(world: World, _courier: Courier, body: Authentication, id: str) -> Any:
    """The customer's answer to `requires_action`."""
    with world.turn():
        return payment_intents.authenticate(world, id, succeeds=body.succeeds)


def customer_pays(world: World, _courier: Courier, body: CustomerPays, id: str) -> Any:
    """As on the hosted page: with a card of the customer's choice, who is there."""
    return pay_as_customer(world, id, body.payment_method)


def pay_as_customer(world: World, id: str, card: str) -> Object:
    """Raises: `Refusal`; a card that declined has its failed charge all the same."""
    declined: Refusal | None = None
    invoice: Object = {}
    with world.turn():
        try:
            invoice = collecting.pay(world, world.live("invoice", id), card=card)
        except Refusal as refusal:
            if not refusal.kept:
                raise
            declined = refusal
    if declined is not None:
        raise declined
    return invoice


def dispute(world: World, _courier: Courier, body: NewDispute) -> Any:
    with world.turn():
        charge = world.get("charge", body.charge, "charge")
        return disputes.open_dispute(world, charge, reason=body.reason, cents=body.amount)


def end_dispute(world: World, _courier: Courier, body: DisputeEnds, id: str) -> Any:
    with world.turn():
        return disputes.close_dispute(world, world.get("dispute", id), body.outcome)


def make_event(world: World, _courier: Courier, body: NewEvent) -> Any:
    nobodys = {"id": new_id("in"), "object": "invoice", "customer": new_id("cus"), "status": "paid", "metadata": {}}
    with world.turn():
        event = world.emit(body.type, body.object or nobodys)
        return event if body.created is None else world.store.put({**event, "created": body.created})


def deliveries(world: World, _courier: Courier, _body: Nothing) -> Any:
    with world.turn():
        return {"held": world.held, "deliveries": [asdict(one) for one in world.mailbox.all()]}


def deliver_again(world: World, courier: Courier, body: Redelivery) -> Any:
    """An event once more, however old it is, to every endpoint that is enabled."""
    with world.turn():
        event = world.get("event", body.event, "event")
        for endpoint in world.store.find("webhook_endpoint"):
            for _ in range(body.times):
                world.mailbox.post(event["id"], endpoint["id"], due=world.now)
    return {"sent": 0 if world.held else courier.deliver_due()}


def hold(world: World, _courier: Courier, _body: Nothing) -> Any:
    world.held = True
    return {"held": True}


def release(world: World, courier: Courier, body: Release) -> Any:
    """Delivers what is due, in this order, and from then on at once again."""
    sent = courier.deliver_due(newest_first=body.order == "newest")
    world.held = False
    return {"sent": sent}


def flush(_world: World, courier: Courier, _body: Nothing) -> Any:
    """Answers when nothing is due any more."""
    return {"sent": courier.deliver_due()}


Control = tuple[str, str, type[_Control], Callable[..., Any]]
_CONTROLS: list[Control] = [
    ("GET", "/clock", Nothing, clock),
    ("POST", "/advance", Advance, advance),
    ("GET", "/faults", Nothing, list_faults),
    ("POST", "/faults", NewFault, add_fault),
    ("DELETE", "/faults", Nothing, remove_faults),
    ("DELETE", "/faults/{id}", Nothing, remove_fault),
    ("POST", "/payment_methods/{id}", CardDoes, change_card),
    ("POST", "/payment_intents/{id}/authenticate", Authentication, authenticate),
    ("POST", "/invoices/{id}/pay", CustomerPays, customer_pays),
    ("POST", "/disputes", NewDispute, dispute),
    ("POST", "/disputes/{id}/close", DisputeEnds, end_dispute),
    ("POST", "/events", NewEvent, make_event),
    ("GET", "/webhooks/deliveries", Nothing, deliveries),
    ("POST", "/webhooks/deliver", Redelivery, deliver_again),
    ("POST", "/webhooks/hold", Nothing, hold),
    ("POST", "/webhooks/release", Release, release),
    ("POST", "/webhooks/flush", Nothing, flush),
]


def controls(_world: World, _courier: Courier, _body: Nothing) -> Any:
    """All of them, with what they take."""
    return {
        "controls": [
            {"method": method, "path": PREFIX + path, "does": do.__doc__, "takes": model.model_json_schema()}
            for method, path, model, do in _CONTROLS
        ]
    }


def routes(world: World, courier: Courier) -> list[Route]:
    listing: Control = ("GET", "", Nothing, controls)
    return [_route(world, courier, *control) for control in (*_CONTROLS, listing)]


def _route(
    world: World, courier: Courier, method: str, path: str, model: type[_Control], do: Callable[..., Any]
) -> Route:
    async def answer(request: Request) -> Response:
        try:
            body = model.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            raise invalid(None, str(error)) from error
        return JSONResponse(await run_in_threadpool(do, world, courier, body, **request.path_params))

    return Route(PREFIX + path, answer, methods=[method])
