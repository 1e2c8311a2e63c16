"""What an organisation has, owes and may spend; and, for operators: credit, terms and caps."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from scalar.accounts import store as accounts
from scalar.accounts.model import Principal
from scalar.accounts.store import audit
from scalar.billing import balances, caps, wallet_store, wallets
from scalar.billing.caps import CapRequest
from scalar.billing.credit import Lot
from scalar.billing.ledger import CASH_BANK
from scalar.billing.money import micros
from scalar.database import Transaction
from scalar.errors import Conflict, Forbidden, InvalidRequest, NotFound
from scalar.ids import new_id
from scalar_api.dependencies import Db, Now, Operator, Person
from scalar_api.printing.csv import csv_of
from scalar_api.printing.formats import Format, wanted
from scalar_api.problems import responses
from scalar_api.tenancy import id_of_organisation
from scalar_api.views import in_dollars
from scalar_api.wallet_views import (
    BALANCE_COLUMNS,
    BalanceView,
    BillingBody,
    BillingView,
    CapsBody,
    CapsView,
    CapView,
    GrantBody,
    LotView,
    TopUpBody,
)

router = APIRouter(prefix="/v1", tags=["billing"])
_OF_A_BALANCE = responses(NotFound)
_OF_CREDIT = responses(NotFound, Conflict)

Named = Annotated[str, Path(max_length=100, description="An organisation's id or name.")]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=100)]


@router.get(
    "/balance",
    response_model=BalanceView,
    responses={200: {"content": {"text/csv": {}}, "description": "JSON, or CSV."}, **_OF_A_BALANCE},
)
def get_balance(
    caller: Person,
    database: Db,
    now: Now,
    organisation: Annotated[str | None, Query(max_length=100, description="For operators: its id or name.")] = None,
    format: Annotated[Format | None, Query(description="`json` or `csv`; or say so by `Accept`.")] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> BalanceView | Response:
    """What your organisation has, owes, holds for its jobs, and may still spend.

    As CSV: a row for each amount, then one for each lot of credit and each cap with what is left of it.
    """
    form = wanted(format, accept, (Format.JSON, Format.CSV))
    with database.transaction() as tx:
        view = BalanceView.of(balances.balance_of(tx, _whose(tx, caller, organisation), now))
    if form is Format.JSON:
        return view
    headers = {"Content-Disposition": f'attachment; filename="balance-{now:%Y-%m-%d}.csv"'}
    return Response(csv_of(BALANCE_COLUMNS, view.rows()), media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/organisations/{organisation}/grants", status_code=201, responses=_OF_CREDIT)
def grant_credit(
    organisation: Named,
    body: GrantBody,
    caller: Operator,
    database: Db,
    now: Now,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> LotView:
    """Give an organisation credit. Under one `Idempotency-Key` it is given once: the second answer is 200."""
    source, note = _source("grant", caller, idempotency_key), body.note
    with database.transaction() as tx:
        whose = id_of_organisation(tx, organisation)
        lot = wallets.grant_credit(tx, whose, micros(body.amount), source, now, expires_at=body.expires_at, note=note)
        response.status_code = _entered(tx, caller, "wallet.grant", lot, now)
    return LotView.of(lot)


@router.post("/organisations/{organisation}/top-ups", status_code=201, responses=_OF_CREDIT)
def top_up(
    organisation: Named,
    body: TopUpBody,
    caller: Operator,
    database: Db,
    now: Now,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> LotView:
    """Enter what an organisation has paid by transfer. Under one `Idempotency-Key` once: the second answer is 200."""
    source, note = _source("top-up", caller, idempotency_key), body.note
    with database.transaction() as tx:
        whose = id_of_organisation(tx, organisation)
        lot = wallets.top_up(tx, whose, micros(body.amount), source, now, paid_into=CASH_BANK, note=note)
        response.status_code = _entered(tx, caller, "wallet.top_up", lot, now)
    return LotView.of(lot)


@router.put("/organisations/{organisation}/billing", responses=_OF_A_BALANCE)
def set_billing(organisation: Named, body: BillingBody, caller: Operator, database: Db, now: Now) -> BillingView:
    """Set how an organisation pays, and whom its invoices go to. What is left out stays as it is."""
    with database.transaction() as tx:
        whose = id_of_organisation(tx, organisation)
        terms, limit, grace = body.terms_after(wallet_store.locked_account(tx, whose))
        wallets.set_terms(tx, whose, terms, limit=limit, grace=grace, now=now)
        wallet_store.set_contact(tx, whose, body.model_dump(include=set(wallet_store.CONTACT), exclude_unset=True))
        named = body.model_dump(mode="json", exclude_unset=True)
        audit(tx, caller.actor, "billing.set", whose, fields=sorted(named), terms=terms, limit=limit)
        return BillingView(
            organisation_id=whose,
            terms=terms,
            credit_limit=None if limit is None else in_dollars(limit),
            grace_seconds=int(grace.total_seconds()),
            **wallet_store.contact(tx, whose),
        )


@router.put("/organisations/{organisation}/caps", responses=_OF_A_BALANCE)
def set_caps(organisation: Named, body: CapsBody, caller: Operator, database: Db, now: Now) -> CapsView:
    """Cap what an organisation, a key or a project may spend in a month; the answer has all caps of the organisation.

    Caps that are not named stay; a `monthly_limit` of null takes one away.
    """
    wanted = [
        CapRequest(
            scope=each.scope,
            subject=each.subject,
            limit=None if each.monthly_limit is None else micros(each.monthly_limit),
        )
        for each in body.caps
    ]
    with database.transaction() as tx:
        whose = id_of_organisation(tx, organisation)
        caps.set_caps(tx, whose, wanted)
        audit(tx, caller.actor, "caps.set", whose, caps=body.model_dump(mode="json")["caps"])
        return CapsView(data=[CapView.of(each) for each in caps.cap_uses(tx, whose, now)])


def _source(kind: str, caller: Principal, idempotency_key: str | None) -> str:
    """Two operators may choose the same key."""
    return f"{kind}/{caller.key_id}/{idempotency_key}" if idempotency_key else f"{kind}/{new_id('once')}"


def _entered(tx: Transaction, caller: Principal, action: str, lot: Lot, now: datetime) -> int:
    """201 for a lot that was made just now, and noted as such; 200 for an earlier request's."""
    if lot.created_at != now:
        return 200
    audit(tx, caller.actor, action, lot.organisation_id, lot_id=lot.id, micros=lot.amount, note=lot.note)
    return 201


def _whose(tx: Transaction, caller: Principal, named: str | None) -> str:
    """Raises: `InvalidRequest` where an operator names none; `Forbidden` where a customer names another."""
    own = caller.organisation_id
    if own is None and named is None:
        raise InvalidRequest("organisation: say whose balance, by its id or name.")
    if own is None:
        return id_of_organisation(tx, str(named))
    if named not in (None, own):
        found = accounts.organisation_named(tx, str(named))
        if found is None or found.id != own:
            raise Forbidden("A customer's key sees the balance of its own organisation.")
    return own
