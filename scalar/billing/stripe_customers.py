"""Our billing accounts as customers at Stripe: made once each, and told what has changed."""

from datetime import timedelta
from functools import partial
from typing import Any

from scalar.billing import stripe_customer_store as store
from scalar.billing import turns
from scalar.billing.stripe_answers import StripeCustomer
from scalar.billing.stripe_customer_store import CustomerWork
from scalar.billing.stripe_errors import CardDeclined, StripeError, StripeMissing, StripeUnavailable, burnt
from scalar.billing.till import Done, Till, described, pause_after

_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(hours=1)


def sync_customers(till: Till, *, only: str | None = None, seconds: float = turns.SECONDS) -> Done:
    """`only`: the one of this organisation, whose request waits for it."""
    waiting = turns.Waiting(
        lease=partial(store.lease_customers, only=only),
        work=_sync,
        put_off=_put_off,
        name=lambda work: work.organisation_id,
        at_most=_AT_ONCE,
    )
    return turns.take(till, waiting, seconds=seconds)


def use_card(till: Till, organisation_id: str, payment_method: str) -> None:
    """Charge them by this card from now on.

    Raises: `CardDeclined`, `StripeRefused`; `StripeUnavailable`: it may be so or not, the same again is the same deed.
    """
    with till.transact() as tx:
        customer = store.customer_of(tx, organisation_id)
        if customer is None:
            raise StripeUnavailable("Stripe does not know this organisation yet: try again in a moment.")
        version = store.intend_card(tx, organisation_id, payment_method)
    try:
        till.stripe.use_card(customer, payment_method, key=f"scalar:card:{organisation_id}:{version}")
    except StripeError as error:
        if burnt(error) or isinstance(error, CardDeclined):
            _end_card(till, organisation_id, version)
        raise
    _end_card(till, organisation_id, version)


def _end_card(till: Till, organisation_id: str, version: int) -> None:
    with till.transact() as tx:
        store.end_card(tx, organisation_id, version)


def _sync(till: Till, work: CustomerWork) -> None:
    details = {**_told(work.details), "metadata": {"scalar_organisation": work.organisation_id}}
    key = f"scalar:customer:{work.organisation_id}:{work.version}"
    if work.stripe_id is None:
        made = _made_before(till, work) if work.tries > 1 else None
        found = made or till.stripe.create_customer(details, key=key)
    else:
        try:
            found = till.stripe.update_customer(work.stripe_id, details, key=key)
        except StripeMissing:
            with till.transact() as tx:
                store.forget_customer(tx, work.stripe_id, till.clock())
            return
    with till.transact() as tx:
        store.keep_customer(tx, work, found.id)


def _told(details: dict[str, Any]) -> dict[str, Any]:
    """Of an address, what Stripe has a place for."""
    given = details.get("address")
    known = ("line1", "line2", "city", "postal_code")
    address = {name: str(given[name]) for name in known if given.get(name)} if isinstance(given, dict) else {}
    address |= {
        theirs: details[ours] for ours, theirs in (("country", "country"), ("region", "state")) if ours in details
    }
    told: dict[str, Any] = {name: details[name] for name in ("name", "email") if name in details}
    return {**told, "address": address} if address else told


def _made_before(till: Till, work: CustomerWork) -> StripeCustomer | None:
    """Who took it up before may have made it, and died."""
    theirs = till.stripe.customers_since(work.intended_at - _CLOCKS_DIFFER_BY)
    return next((each for each in theirs if each.metadata.get("scalar_organisation") == work.organisation_id), None)


def _put_off(till: Till, work: CustomerWork, error: Exception) -> None:
    with till.transact() as tx:
        until = till.clock() + pause_after(work.tries)
        store.put_customer_off(tx, work.organisation_id, until, described(error), new_key=burnt(error))
