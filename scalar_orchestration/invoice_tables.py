"""Tables of invoices and months, in dollars."""

from collections.abc import Iterable, Sequence

import dagster as dg

from scalar.billing.invoice_figures import CustomerOfMonth, Unpaid
from scalar.billing.periods import Period


def customers_table(customers: Iterable[CustomerOfMonth]) -> dg.TableMetadataValue:
    """Those with the largest invoices first."""
    rows: list[list[str | float]] = [
        [each.name, each.number or "", each.state.value, *map(usd, (each.total, each.from_credit, each.outstanding))]
        for each in customers
    ]
    return _table(["customer", "invoice", "state"], ["total", "from_credit", "left_to_pay"], rows)


def unpaid_table(unpaid: Iterable[Unpaid]) -> dg.TableMetadataValue:
    """Of every month, what is due longest first."""
    rows: list[list[str | float]] = [
        [each.number, each.name, f"{each.month:%Y-%m}", f"{each.due_at:%Y-%m-%d}", usd(each.outstanding)]
        for each in unpaid
    ]
    return _table(["invoice", "customer", "month", "due"], ["left_to_pay"], rows)


def months_table(periods: Iterable[Period]) -> dg.TableMetadataValue:
    rows: list[list[str | float]] = [
        [
            f"{each.month:%Y-%m}",
            "closed" if each.closed_at else "open",
            each.revenue / 1_000_000,
            *map(usd, (each.invoiced, each.credited, each.unpaid)),
        ]
        for each in periods
    ]
    return _table(["month", "books"], ["revenue", "invoiced", "credited", "unpaid"], rows)


def usd(cents: int) -> float:
    return cents / 100


def _table(
    texts: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str | float]]
) -> dg.TableMetadataValue:
    columns = [dg.TableColumn(name) for name in texts] + [dg.TableColumn(name, "float") for name in numbers]
    names = [*texts, *numbers]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(names, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=columns),
    )
