"""Our billing accounts as customers at Stripe: made once each, and told what has changed."""

from datetime import timedelta
from typing import Any

from scalar.billing import stripe_customer_store as store
from scalar.billing.stripe_answers import StripeCustomer
from scalar.billing.stripe_customer_store import CustomerWork
from scalar.billing.stripe_errors import StripeError, StripeMissing, burnt
from scalar.billing.till import LEASE, Done, Till, pause_after

_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(hours=1)


def sync_customers(till: Till, done: Done) -> None:
    with till.transact() as tx:
        works = store.lease_customers(tx, till.clock(), till.clock() + LEASE, _AT_ONCE)
    for work in works:
        try:
            _sync(till, work)
            done.moved += 1
        except StripeError as error:
            _put_off(till, work, error)
            done.note(work.organisation_id, error)


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


def _put_off(till: Till, work: CustomerWork, error: StripeError) -> None:
    with till.transact() as tx:
        until = till.clock() + pause_after(work.tries)
        store.put_customer_off(tx, work.organisation_id, until, str(error), new_key=burnt(error))
