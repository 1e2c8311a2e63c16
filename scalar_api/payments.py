"""The one Stripe client of an API process, opened when it is first asked for; and what its errors become."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from scalar.billing.stripe_errors import CardDeclined, StripeRefused
from scalar.billing.stripe_settings import DunningSettings, StripeSettings
from scalar.billing.till import Till
from scalar.errors import Conflict, PaymentRequired

_opening = threading.Lock()


def _config(request: Request) -> StripeSettings:
    found: StripeSettings | None = getattr(request.app.state, "stripe_settings", None)
    return found or StripeSettings()


StripeConfig = Annotated[StripeSettings, Depends(_config)]


def _till(request: Request, config: StripeConfig) -> Till:
    """Raises: `Conflict` where Stripe is not configured."""
    if not config.configured:
        raise Conflict("Stripe is not configured: set SCALAR_STRIPE_API_KEY_FILE.")
    state = request.app.state
    with _opening:
        if getattr(state, "till", None) is None:
            state.till = _open(request, config)
    return state.till  # type: ignore[no-any-return]


def _open(request: Request, config: StripeSettings) -> Till:
    # The library takes a second to load, which not every start of the API should wait for.
    from scalar.billing.stripe import Stripe  # noqa: PLC0415

    # Somebody waits for the answer: better to say soon that Stripe is away.
    stripe = Stripe(config.read_key, api_base=config.api_base, retries=0, timeout=10.0)
    return Till(
        stripe=stripe,
        settings=DunningSettings(),
        transact=request.app.state.database.transaction,
        clock=lambda: datetime.now(UTC),
    )


def close(app: FastAPI) -> None:
    """Its connections, where it was ever asked for."""
    till: Till | None = getattr(app.state, "till", None)
    if till is not None:
        till.stripe.close()


StripeTill = Annotated[Till, Depends(_till)]


@contextmanager
def answered() -> Iterator[None]:
    """Around what asks Stripe: its refusals become ours."""
    try:
        yield
    except CardDeclined as error:
        raise PaymentRequired(f"The card was declined: {error.message}", decline_code=error.decline_code) from error
    except StripeRefused as error:
        raise Conflict(f"Stripe refuses: {error.message}") from error
