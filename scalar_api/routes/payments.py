"""Payments: what came, how an invoice is collected, refunds, cards, and topping up a wallet by card."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query

from scalar.accounts.model import Principal
from scalar.accounts.store import audit
from scalar.billing import (
    collection_store,
    dunning_store,
    invoice_store,
    invoices,
    payment_store,
    refund_store,
    refunds,
    top_up_store,
    top_ups,
    transfer_store,
    transfers,
    wallet_store,
)
from scalar.billing.invoice_model import Invoice
from scalar.billing.stripe_customers import sync_customers, use_card
from scalar.database import Transaction
from scalar.errors import Conflict, NotFound, PaymentRequired, Unavailable
from scalar.ids import new_id
from scalar_api.dependencies import Customer, Db, Now, Operator, Person
from scalar_api.invoice_views import InvoiceView
from scalar_api.payment_views import (
    AttemptView,
    CardBody,
    CardTopUpBody,
    CardTopUpView,
    CardView,
    CollectionView,
    DunningView,
    PaymentPage,
    PaymentView,
    RefundBody,
    RefundView,
    TransferBody,
    TransferView,
    page_of,
)
from scalar_api.payments import StripeTill, answered
from scalar_api.problems import responses
from scalar_api.tenancy import OrganisationQuery, seen_by

router = APIRouter(prefix="/v1", tags=["billing"])
_OF_AN_INVOICE = responses(NotFound, Conflict)
_OF_MONEY = responses(NotFound, Conflict, PaymentRequired, Unavailable)
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=100)]
Named = Annotated[str, Path(max_length=100, description="An organisation's id or name.")]


@router.get("/payments", responses=responses(NotFound))
def list_payments(
    caller: Person,
    database: Db,
    organisation: OrganisationQuery = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
) -> PaymentPage:
    """What was paid by card, newest first."""
    with database.transaction() as tx:
        whose = seen_by(tx, caller, organisation)
        found = payment_store.payments(tx, organisation_id=whose, before=cursor, limit=limit + 1)
    return page_of(found, limit)


@router.get("/invoices/{invoice_id}/payments", responses=_OF_AN_INVOICE)
def get_collection(invoice_id: str, caller: Person, database: Db) -> CollectionView:
    """How an invoice is collected: its payments, refunds and tries, and what follows where they failed."""
    with database.transaction() as tx:
        invoice = _seen(tx, caller, invoice_id)
        under_way = dunning_store.dunning_of(tx, invoice.id)
        return CollectionView(
            invoice_id=invoice.id,
            pay_at=collection_store.hosted_url(tx, invoice.id),
            payments=[PaymentView.of(each) for each in payment_store.payments(tx, invoice_id=invoice.id)],
            attempts=[AttemptView.of(each) for each in dunning_store.attempts_of(tx, invoice.id)],
            refunds=[RefundView.of(each) for each in refund_store.refunds_of(tx, invoice.id)],
            transfers=[TransferView.of(each) for each in transfer_store.transfers_of(tx, invoice.id)],
            dunning=DunningView(**under_way) if under_way else None,
        )


@router.post("/invoices/{invoice_id}/payments", status_code=201, responses=_OF_AN_INVOICE)
def enter_transfer(
    invoice_id: str,
    body: TransferBody,
    caller: Operator,
    database: Db,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> InvoiceView:
    """Enter what has come for an invoice by bank transfer. Paid in part it stays open; with its last cent it is paid.

    Once a part has come so, no card is charged for the rest: Stripe would take the whole.
    More than is left to be paid is refused: enter the rest as a top-up of the wallet. With an `Idempotency-Key`, a
    request that comes twice is entered once.
    """
    once = f"{caller.key_id}/{idempotency_key}" if idempotency_key else new_id("once")
    with database.transaction() as tx:
        paid = transfers.enter(
            tx, invoice_id, body.cents, source=f"transfer/{once}", note=body.note, actor=caller.actor, now=now
        )
    return InvoiceView.of(paid)


@router.post("/invoices/{invoice_id}/refunds", status_code=201, responses=_OF_AN_INVOICE)
def refund_invoice(
    invoice_id: str,
    body: RefundBody,
    caller: Operator,
    database: Db,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> RefundView:
    """Give money back to the card that paid an invoice: correct lines of it, or pay out credit that it has given.

    It is sent within seconds. With an `Idempotency-Key`, a request that comes twice is one refund.
    """
    with database.transaction() as tx:
        made = refunds.request(
            tx,
            invoice_id,
            corrections=[each.correction() for each in body.lines],
            cents=body.cents,
            reason=body.reason,
            actor=caller.actor,
            now=now,
            key=idempotency_key,
        )
    return RefundView.of(made)


@router.post("/invoices/{invoice_id}/collect", responses=_OF_AN_INVOICE)
def collect_again(invoice_id: str, caller: Operator, database: Db, now: Now) -> CollectionView:
    """Try once more now, whatever the schedule says: the customer has a new card."""
    with database.transaction() as tx:
        invoice = invoices.existing(invoice_store.invoice(tx, invoice_id))
        if not dunning_store.try_now(tx, invoice.id, now):
            raise Conflict(f"{invoice.number or invoice.id} is {invoice.state}, and no try to collect it has failed.")
        audit(tx, caller.actor, "invoice.collect", invoice.id)
    return get_collection(invoice_id, caller, database)


@router.put("/organisations/{organisation}/card", responses=_OF_MONEY)
def set_card(organisation: Named, body: CardBody, caller: Operator, database: Db, till: StripeTill) -> CardView:
    """Charge an organisation's invoices and top-ups to this card from now on."""
    with database.transaction() as tx:
        whose = str(seen_by(tx, caller, organisation))
        wallet_store.open_account(tx, whose)
        audit(tx, caller.actor, "billing.card", whose)
    with answered():
        sync_customers(till, only=whose)
        use_card(till, whose, body.payment_method)
    return CardView(organisation_id=whose)


@router.post("/top-ups", status_code=201, responses=_OF_MONEY)
def top_up_by_card(
    body: CardTopUpBody,
    caller: Customer,
    database: Db,
    now: Now,
    till: StripeTill,
    idempotency_key: IdempotencyKey = None,
) -> CardTopUpView:
    """Top up your wallet: by the card that we know at once, or by one that your browser confirms it with."""
    cents = int(body.amount * 100)
    with database.transaction() as tx:
        whose = str(caller.organisation_id)
        made = top_ups.request(tx, whose, cents, actor=caller.actor, now=now, key=idempotency_key)
    with answered():
        top_up, intent = top_ups.send_now(till, made)
    return CardTopUpView.of(top_up, intent.client_secret if intent else None)


@router.get("/top-ups/{top_up_id}", responses=_OF_MONEY)
def get_top_up(top_up_id: str, caller: Customer, database: Db, till: StripeTill) -> CardTopUpView:
    """One of your top-ups by card, as it is now: with its `client_secret` for as long as it is to be confirmed.

    One that nobody confirms within three days is cancelled, and has `failed`.
    """
    with database.transaction() as tx:
        found = top_up_store.top_up(tx, top_up_id)
    if found is None or found.organisation_id != caller.organisation_id:
        raise NotFound("There is no such top-up.")
    with answered():
        top_up, intent = top_ups.look(till, top_up_id)
    return CardTopUpView.of(top_up, intent.client_secret if intent else None)


def _seen(tx: Transaction, caller: Principal, invoice_id: str) -> Invoice:
    """Another tenant's is as if it weren't there."""
    found = invoices.existing(invoice_store.invoice(tx, invoice_id))
    if caller.organisation_id not in (None, found.organisation_id):
        return invoices.existing(None)
    return found
