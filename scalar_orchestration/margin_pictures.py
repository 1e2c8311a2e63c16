"""Pictures of what was earned and what it cost, in dollars."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from scalar.billing.margin import BlockPnl, CustomerLine, JobLine, MonthLine
from scalar.billing.margin_store import HourLine
from scalar_orchestration.pictures import inline

_SIZE = (9.0, 3.2)
_DPI = 90
_MOST = 15
_DIRECT, _SHARED, _UNSHARED, _RESOLD, _AHEAD, _REVENUE = (
    "#4c78a8",
    "#9ecae9",
    "#d8b5a5",
    "#88d27a",
    "#e8e8e8",
    "#54a24b",
)


def hours_plot(hours: Sequence[HourLine]) -> dg.MarkdownMetadataValue:
    """What each hour's nodes cost, and who bore it."""
    figure, axes = _drawing("$ an hour")
    times: Any = [each.hour for each in hours]
    parts = [_dollars([getattr(each, part) for each in hours]) for part in ("direct", "idle_shared", "idle_unshared")]
    axes.stackplot(
        times,
        *parts,
        labels=["runs", "idle, shared", "idle, the company's"],
        colors=[_DIRECT, _SHARED, _UNSHARED],
        step="post",
    )
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    return _shown(figure, "Cost of the last 7 days", legend=bool(hours))


def months_plot(months: Sequence[MonthLine]) -> dg.MarkdownMetadataValue:
    """Revenue beside cost, and the margin, by month."""
    figure, axes = _drawing("$")
    places = list(range(len(months)))
    axes.bar(
        [each - 0.2 for each in places], _dollars([m.revenue for m in months]), 0.38, label="revenue", color=_REVENUE
    )
    axes.bar([each + 0.2 for each in places], _dollars([m.cost for m in months]), 0.38, label="cost", color=_DIRECT)
    axes.plot(places, _dollars([m.margin for m in months]), color="black", marker="o", linewidth=1.2, label="margin")
    axes.set_xticks(places, [f"{each.month:%Y-%m}" for each in months])
    return _shown(figure, "Revenue, cost and margin by month", legend=bool(months))


def customers_plot(customers: Sequence[CustomerLine]) -> dg.MarkdownMetadataValue:
    """Of those with the greatest revenue: what they brought and what they cost."""
    figure, axes = _drawing("$")
    top = customers[:_MOST]
    places = list(range(len(top)))
    axes.bar([each - 0.2 for each in places], _dollars([c.revenue for c in top]), 0.38, label="revenue", color=_REVENUE)
    own = _dollars([c.cost for c in top])
    axes.bar([each + 0.2 for each in places], own, 0.38, label="cost", color=_DIRECT)
    idle = _dollars([c.idle_cost for c in top])
    axes.bar([each + 0.2 for each in places], idle, 0.38, bottom=own, label="its share of idle time", color=_SHARED)
    axes.set_xticks(places, [each.name[:18] for each in top], rotation=20, ha="right")
    return _shown(figure, "Revenue and cost by customer", legend=bool(top))


def jobs_plot(jobs: Sequence[JobLine]) -> dg.MarkdownMetadataValue:
    """Each job's cost over its revenue: those below the line earned something."""
    figure, axes = _drawing("cost in $, with idle time")
    revenue, cost = _dollars([each.revenue for each in jobs]), _dollars([each.cost + each.idle_cost for each in jobs])
    axes.scatter(revenue, cost, s=14, alpha=0.6, color=_DIRECT)
    most = max([*revenue, *cost, 0.01])
    axes.plot([0, most], [0, most], color="black", linewidth=0.8)
    axes.set_xlabel("revenue in $")
    return _shown(figure, "Jobs: cost over revenue", legend=False)


def blocks_plot(blocks: Sequence[BlockPnl]) -> dg.MarkdownMetadataValue:
    """Where each block's price went."""
    figure, axes = _drawing("$")
    shown = blocks[-_MOST:]
    places, bottom = list(range(len(shown))), [0.0] * len(shown)
    for part, label, colour in (
        ("direct", "runs", _DIRECT),
        ("idle_shared", "idle, shared", _SHARED),
        ("idle_unshared", "idle, the company's", _UNSHARED),
        ("resold", "sold back", _RESOLD),
        ("ahead", "ahead", _AHEAD),
    ):
        heights = _dollars([getattr(each, part) for each in shown])
        axes.bar(places, heights, 0.6, bottom=bottom, label=label, color=colour)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.plot(places, _dollars([each.revenue for each in shown]), "o", color="black", label="revenue")
    axes.set_xticks(places, [f"{each.window.start:%d. %H:%M}\n{each.nodes} x {each.gpu_type}" for each in shown])
    axes.tick_params(axis="x", labelsize=7)
    return _shown(figure, "Where the price of each block went", legend=bool(shown))


def _drawing(unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _shown(figure: Figure, title: str, *, legend: bool) -> dg.MarkdownMetadataValue:
    if legend:
        figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return inline(figure, title)


def _dollars(micros: Sequence[int]) -> list[float]:
    return [each / 1_000_000 for each in micros]
