"""One of our invoices as lines at Stripe: they add up to what is due. Pure; amounts are cents.

Stripe takes at most 250 lines an invoice, each with a call of its own: where there are more than a few dozen, usage is
added up by month, tier and GPU type. Every line stands on our own invoice.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from scalar.billing.invoice_model import OF_JOBS, Invoice, InvoiceLine

_MOST = 40
_LONGEST = 500


@dataclass(frozen=True, kw_only=True)
class Item:
    """`name` is the same each time: what is there already is known by it."""

    name: str
    description: str
    cents: int


def items_of(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[Item]:
    """Raises: `ValueError` where they don't add up to what is due."""
    items = [_item(line) for line in lines]
    if len(items) > _MOST:
        items = _grouped(lines)
    if len(items) > _MOST:
        items = [Item(name="all", description=f"{invoice.month:%B %Y}, {len(lines)} lines", cents=invoice.total)]
    if invoice.from_credit:
        items.append(Item(name="from_credit", description="Paid from credit", cents=-invoice.from_credit))
    items = [item for item in items if item.cents]
    if sum(item.cents for item in items) != invoice.due:
        raise ValueError(f"the lines of {invoice.id} don't add up to what is due")
    return items


def _item(line: InvoiceLine) -> Item:
    return Item(name=f"line-{line.position}", description=line.description[:_LONGEST], cents=line.cents)


def _grouped(lines: Sequence[InvoiceLine]) -> list[Item]:
    sums: dict[str, int] = defaultdict(int)
    rest = []
    for line in lines:
        if line.kind in OF_JOBS:
            what = line.kind.value.replace("_", " ").capitalize()
            sums[f"{what} {line.usage_month:%Y-%m}, {line.tier}, {line.gpu_type}"] += line.cents
        else:
            rest.append(_item(line))
    return [Item(name=text, description=text, cents=cents) for text, cents in sums.items()] + rest
