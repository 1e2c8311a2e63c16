"""What Stripe tells us: taken if it was signed by Stripe just now, stored once, and handled later."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel

from scalar.billing.stripe_errors import BadSignature
from scalar.billing.stripe_events import store_event
from scalar.errors import InvalidRequest, TooLarge, Unavailable
from scalar_api.dependencies import Db, Now
from scalar_api.payments import StripeConfig
from scalar_api.problems import responses

router = APIRouter(prefix="/v1/stripe", tags=["stripe"])
_MOST_BYTES = 256 * 1024


class Received(BaseModel):
    new: bool


async def _payload(request: Request) -> bytes:
    """As it came, byte for byte: that is what is signed. Raises: `TooLarge`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise TooLarge(f"An event has {_MOST_BYTES // 1024} KiB at most.")
    return bytes(body)


@router.post("/webhook", responses=responses(BadSignature, TooLarge, Unavailable))
def receive_event(
    payload: Annotated[bytes, Depends(_payload)],
    config: StripeConfig,
    database: Db,
    now: Now,
    stripe_signature: Annotated[str | None, Header(max_length=2000)] = None,
) -> Received:
    """For Stripe alone. What it is about is fetched from Stripe when it is handled."""
    # Stripe's library takes a second to load, which not every start of the API should wait for.
    from scalar.billing.stripe import verified  # noqa: PLC0415

    try:
        secrets = config.read_webhook_secrets()
    except InvalidRequest as error:
        raise Unavailable(error.message) from error
    if not secrets:
        raise Unavailable("Stripe's webhooks are not configured: set SCALAR_STRIPE_WEBHOOK_SECRET_FILE.")
    event = verified(payload, stripe_signature, secrets)
    with database.transaction() as tx:
        return Received(new=store_event(tx, event, now))
