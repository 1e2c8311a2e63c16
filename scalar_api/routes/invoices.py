"""Invoices: for customers to read, as JSON, CSV, a page to print or a PDF; for operators to open, void and correct."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from scalar.accounts.model import Principal
from scalar.billing import crediting, invoices
from scalar.billing import invoice_store as store
from scalar.billing.invoice_model import Invoice, InvoiceLine, InvoiceState
from scalar.billing.invoice_settings import invoice_settings
from scalar.billing.invoice_store import InvoiceFilter
from scalar.billing.months import month_named
from scalar.database import Transaction
from scalar.errors import Conflict, NotFound
from scalar_api.dependencies import Db, Now, Operator, Person
from scalar_api.invoice_views import (
    CreditNoteBody,
    CreditNoteView,
    InvoiceDetail,
    InvoicePage,
    InvoiceView,
    LineView,
    ReasonBody,
    detail_of,
)
from scalar_api.printing.csv import csv_of
from scalar_api.printing.document import Document, document
from scalar_api.printing.formats import Format, wanted
from scalar_api.printing.html import POLICY, html
from scalar_api.printing.pdf import pdf
from scalar_api.problems import responses
from scalar_api.tenancy import OrganisationQuery, seen_by

router = APIRouter(prefix="/v1/invoices", tags=["billing"])
_OF_AN_INVOICE = responses(NotFound, Conflict)
_LIST_FORMS = (Format.JSON, Format.CSV)
_FormQuery = Annotated[Format | None, Query(description="Or say so by `Accept`.")]
_Accept = Annotated[str | None, Header(include_in_schema=False)]


@router.get(
    "",
    response_model=InvoicePage,
    responses={200: {"content": {"text/csv": {}}, "description": "JSON, or CSV."}, **_OF_AN_INVOICE},
)
def list_invoices(
    caller: Person,
    database: Db,
    state: Annotated[list[InvoiceState] | None, Query(description="Any of these states.")] = None,
    month: Annotated[str | None, Query(description="Such as 2026-01.", max_length=7)] = None,
    organisation: OrganisationQuery = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
    format: _FormQuery = None,
    accept: _Accept = None,
) -> InvoicePage | Response:
    """Newest first. A draft is an invoice as it would be now: it has no number, and may still change."""
    form = wanted(format, accept, _LIST_FORMS)
    named = month_named(month) if month else None
    with database.transaction() as tx:
        whose = seen_by(tx, caller, organisation)
        which = InvoiceFilter(organisation_id=whose, states=state or (), month=named, before=cursor, limit=limit + 1)
        found = store.invoices(tx, which)
    page = [InvoiceView.of(each) for each in found[:limit]]
    if form is Format.CSV:
        rows = (list(each.model_dump().values()) for each in page)
        return _csv(csv_of(list(InvoiceView.model_fields), rows), "invoices")
    return InvoicePage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.get(
    "/{invoice_id}",
    response_model=InvoiceDetail,
    responses={
        200: {
            "content": {"text/csv": {}, "text/html": {}, "application/pdf": {}},
            "description": "JSON, CSV of its lines, a page to print, or a PDF.",
        },
        **_OF_AN_INVOICE,
    },
)
def get_invoice(
    invoice_id: str, caller: Person, database: Db, format: _FormQuery = None, accept: _Accept = None
) -> InvoiceDetail | Response:
    """One invoice, by id or number: its lines, and the credit notes that correct it."""
    form = wanted(format, accept, tuple(Format))
    with database.transaction() as tx:
        invoice = _seen(tx, caller, invoice_id)
        lines, notes = store.lines(tx, invoice.id), crediting.notes_of(tx, invoice.id)
    name = invoice.number or invoice.id
    if form is Format.JSON:
        return detail_of(invoice, lines, notes)
    if form is Format.CSV:
        return _csv(_lines_csv(name, lines), name)
    return _printed(document(invoice, lines, notes, invoice_settings()), form, name)


@router.post("/{invoice_id}/open", responses=_OF_AN_INVOICE)
def open_invoice(invoice_id: str, caller: Operator, database: Db, now: Now) -> InvoiceView:
    """Give a draft its number: it is due, and never changes again. Opening twice is the same as once."""
    due_in = invoice_settings().due_in
    with database.transaction() as tx:
        return InvoiceView.of(invoices.open_invoice(tx, invoice_id, actor=caller.actor, now=now, due_in=due_in))


@router.post("/{invoice_id}/void", responses=_OF_AN_INVOICE)
def void_invoice(invoice_id: str, body: ReasonBody, caller: Operator, database: Db, now: Now) -> InvoiceView:
    """Take an open invoice back as if it had never been: what was on it goes to the next draft."""
    with database.transaction() as tx:
        return InvoiceView.of(invoices.void(tx, invoice_id, actor=caller.actor, reason=body.reason, now=now))


@router.post("/{invoice_id}/uncollectible", responses=_OF_AN_INVOICE)
def write_off_invoice(invoice_id: str, body: ReasonBody, caller: Operator, database: Db, now: Now) -> InvoiceView:
    """Nobody expects it to be paid: what is left of it is a bad debt."""
    with database.transaction() as tx:
        lost = invoices.mark_uncollectible(tx, invoice_id, actor=caller.actor, reason=body.reason, now=now)
    return InvoiceView.of(lost)


@router.post("/{invoice_id}/credit-notes", status_code=201, responses=_OF_AN_INVOICE)
def make_credit_note(
    invoice_id: str,
    body: CreditNoteBody,
    caller: Operator,
    database: Db,
    now: Now,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> CreditNoteView:
    """Correct an invoice: say what its lines should have been. The difference comes off what is due, or is credit.

    With an `Idempotency-Key`, a request that is sent twice is one credit note.
    """
    with database.transaction() as tx:
        note = crediting.credit(
            tx,
            invoice_id,
            [each.correction() for each in body.lines],
            reason=body.reason,
            actor=caller.actor,
            now=now,
            key=idempotency_key,
        )
    return CreditNoteView.of(note)


def _seen(tx: Transaction, caller: Principal, invoice_id: str) -> Invoice:
    """Another tenant's is as if it weren't there."""
    found = invoices.existing(store.invoice(tx, invoice_id))
    if caller.organisation_id not in (None, found.organisation_id):
        return invoices.existing(None)
    return found


def _lines_csv(name: str, lines: list[InvoiceLine]) -> str:
    rows = ([name, *LineView.of(line).model_dump().values()] for line in lines)
    return csv_of(["invoice", *LineView.model_fields], rows)


def _printed(doc: Document, form: Format, name: str) -> Response:
    if form is Format.PDF:
        headers = {"Content-Disposition": f'inline; filename="{name}.pdf"'}
        return Response(pdf(doc), media_type="application/pdf", headers=headers)
    return Response(
        html(doc),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"},
    )


def _csv(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
