"""Pictures of what was earned, invoiced and not paid, in dollars."""

from collections.abc import Sequence

import dagster as dg
from matplotlib.figure import Figure

from scalar.billing.invoice_figures import CustomerOfMonth
from scalar.billing.periods import Period
from scalar_orchestration.pictures import inline

_SIZE = (9.0, 3.2)
_DPI = 90
_WIDTH = 0.27
_MOST = 15
_REVENUE, _INVOICED, _UNPAID = "#54a24b", "#4c78a8", "#e45756"


def months_plot(periods: Sequence[Period]) -> dg.MarkdownMetadataValue:
    """What each month earned, what of it was invoiced, and what isn't paid. `periods`: newest first."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shown = list(reversed(periods))
    places = range(len(shown))
    for step, (label, colour, values) in enumerate(
        (
            ("revenue", _REVENUE, [each.revenue / 1_000_000 for each in shown]),
            ("invoiced, with tax", _INVOICED, [each.invoiced / 100 for each in shown]),
            ("unpaid", _UNPAID, [each.unpaid / 100 for each in shown]),
        )
    ):
        axes.bar([place + (step - 1) * _WIDTH for place in places], values, _WIDTH, label=label, color=colour)
    axes.set_xticks(list(places), [f"{each.month:%Y-%m}" for each in shown])
    axes.set_ylabel("$")
    axes.grid(alpha=0.3, axis="y")
    if shown:
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return inline(figure, "Revenue, invoices and what is unpaid, by month")


def customers_plot(customers: Sequence[CustomerOfMonth]) -> dg.MarkdownMetadataValue:
    """The month's largest invoices: what was paid from credit, and the rest."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    top = list(reversed(customers[:_MOST]))
    credit, rest = [each.from_credit / 100 for each in top], [(each.total - each.from_credit) / 100 for each in top]
    names = [each.name[:24] for each in top]
    axes.barh(range(len(top)), credit, color=_REVENUE, label="paid from credit")
    axes.barh(range(len(top)), rest, left=credit, color=_INVOICED, label="invoiced")
    axes.set_yticks(range(len(top)), names)
    axes.set_xlabel("$")
    axes.grid(alpha=0.3, axis="x")
    if top:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return inline(figure, "The month's largest customers")
