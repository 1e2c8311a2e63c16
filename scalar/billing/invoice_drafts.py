"""Drafts: the invoices of a month as they would be now. Made again they are the same, or have what came late.

rated lines on no invoice ─► the month's drafts ─► worked out anew, each whole
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import islice
from typing import Any

from scalar.billing import correction_store as corrections
from scalar.billing import coupon_store
from scalar.billing import invoice_sources as sources
from scalar.billing import invoice_store as store
from scalar.billing.invoice_model import InvoiceDraft, LineKind
from scalar.billing.invoicing import build
from scalar.billing.ledger_store import closed_periods
from scalar.billing.months import end_of
from scalar.billing.tax import rate_for
from scalar.database import Transaction
from scalar.errors import InvalidRequest

_BATCH = 100
"""Organisations at a time: what is held in memory is theirs alone."""


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """What a month's drafts come to, in cents."""

    drafts: int = 0
    lines_added: int = 0
    total: int = 0
    due: int = 0


def draft_month(tx: Transaction, month: date, now: datetime, *, organisation_id: str | None = None) -> Drafted:
    """Make or remake the drafts of a month, of one organisation or of all. A closed month is left as it is.

    Raises: `InvalidRequest` where the month isn't over.
    """
    if now < end_of(month):
        raise InvalidRequest(f"{month:%Y-%m} is not over: its invoices are made once it is.")
    store.lock_invoices(tx)
    if month in closed_periods(tx):
        return Drafted()
    which = None if organisation_id is None else [organisation_id]
    committed = sources.commitments(tx, month, which)
    new = {*sources.organisations_with_lines(tx, month, which), *sources.without_invoice(tx, month, committed)}
    store.insert_drafts(tx, month, sorted(new), now)
    done = Drafted(lines_added=sources.take_lines(tx, month, which))
    for batch in _batches(store.drafts(tx, month, organisation_id)):
        for draft in _redraft(tx, month, batch, committed, now):
            done = replace(done, drafts=done.drafts + 1, total=done.total + draft.total, due=done.due + draft.due)
    return done


def _redraft(
    tx: Transaction, month: date, batch: dict[str, str], committed: dict[str, int], now: datetime
) -> list[InvoiceDraft]:
    """The drafts of these organisations, as they are now; one that has nothing on it goes."""
    worked_out = _work_out(tx, month, batch, committed)
    bare = [invoice_id for invoice_id, draft, _ in worked_out if not _says_something(draft)]
    gone = store.delete_empty(tx, bare) if bare else set()
    kept = [each for each in worked_out if each[0] not in gone]
    store.replace_lines(tx, {invoice_id: draft.lines for invoice_id, draft, _ in kept})
    store.set_totals(tx, kept, now)
    return [draft for _, draft, _ in kept]


def _says_something(draft: InvoiceDraft) -> bool:
    """What was carried forward waits for an invoice that has more to say."""
    return any(line.kind is not LineKind.CARRIED_IN for line in draft.lines)


def _work_out(
    tx: Transaction, month: date, batch: dict[str, str], committed: dict[str, int]
) -> list[tuple[str, InvoiceDraft, dict[str, Any]]]:
    """(id, what it comes to, whom it goes to) of each."""
    organisations = list(batch)
    charges, customers = sources.charges(tx, batch.values()), sources.customers(tx, organisations)
    credit, carried = sources.credit_to_apply(tx, organisations), sources.carried(tx, organisations)
    corrected, shortfalls = (
        corrections.already_credited(tx, batch.values()),
        corrections.shortfalls_billed(tx, organisations),
    )
    offer, rates = coupon_store.offer(tx, month, organisations), sources.tax_rates(tx)

    def work_out(organisation_id: str) -> InvoiceDraft:
        return build(
            organisation_id,
            month,
            charges=[*charges.get(batch[organisation_id], []), *corrected.get(batch[organisation_id], [])],
            coupons=offer.of(organisation_id),
            commitment=committed.get(organisation_id, 0),
            shortfalls_billed=shortfalls.get(organisation_id),
            credit=max(credit.get(organisation_id, 0), 0),
            carried_in=carried.get(organisation_id, 0),
            tax_rate=rate_for(rates, customers[organisation_id].domicile, month),
        )

    return [(batch[each], work_out(each), customers[each].bill_to) for each in organisations]


def _batches(drafts: dict[str, str]) -> Iterator[dict[str, str]]:
    remaining = iter(drafts.items())
    while batch := dict(islice(remaining, _BATCH)):
        yield batch
