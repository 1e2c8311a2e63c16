"""Replays and plans in asset metadata: tables and pictures."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from scalar.planning.kind_ahead import Seen
from scalar.replay.model import Report, over_the_oracle
from scalar_orchestration.pictures import inline

_SIZE = (9.0, 3.2)
_DPI = 90
_COLUMNS = (
    ("cost", "float"),
    ("over_the_oracle", "float"),
    ("revenue", "float"),
    ("margin", "float"),
    ("jobs", "int"),
    ("finished", "int"),
    ("wait_median_s", "float"),
    ("wait_p95_s", "float"),
    ("missed_deadlines", "int"),
    ("interruptions", "int"),
    ("utilisation", "float"),
)


def reports_table(reports: Sequence[Report]) -> dg.TableMetadataValue:
    """One policy a row; each one's cost over that of who knew everything."""
    over = over_the_oracle(reports)
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"policy": each.policy, **_record(each, over.get(each.policy))}) for each in reports],
        schema=dg.TableSchema(
            columns=[dg.TableColumn("policy"), *(dg.TableColumn(name, kind) for name, kind in _COLUMNS)]
        ),
    )


def reports_plot(reports: Sequence[Report]) -> dg.MarkdownMetadataValue:
    """Cost, revenue and margin of each policy."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(reports))
    for offset, name, colour in ((-0.27, "cost", "#4c78a8"), (0.0, "revenue", "#54a24b"), (0.27, "margin", "#e6a23c")):
        axes.bar(places + offset, [float(getattr(each, name)) for each in reports], 0.25, label=name, color=colour)
    axes.set_xticks(places, [each.policy for each in reports])
    axes.set_ylabel("$")
    axes.grid(axis="y", alpha=0.3)
    if reports:
        axes.legend(frameon=False)
    return inline(figure, "The month under each policy")


def plan_plot(seen: Mapping[str, Seen], names: Mapping[str, str], start: datetime) -> dg.MarkdownMetadataValue:
    """By kind of machine: what is owned and planned, the bands of demand and of the price that are foreseen."""
    figure = Figure(figsize=(_SIZE[0], max(_SIZE[1], 2.6 * len(seen))), dpi=_DPI, layout="constrained")
    for axes, (sku, each) in zip(np.atleast_1d(figure.subplots(max(1, len(seen)))), seen.items(), strict=False):
        times: Any = [start + timedelta(hours=hour) for hour in range(len(each.owned))]
        low, middle, high = np.quantile(each.fast, (0.05, 0.5, 0.95), axis=1)
        axes.fill_between(times, low, high, alpha=0.2, linewidth=0, color="#4c78a8", label="demand, 90 % band")
        axes.plot(times, middle, color="#4c78a8", linewidth=1.2, label="demand, median")
        axes.step(times, each.owned, where="post", color="#777777", linewidth=1.2, label="owned")
        axes.step(times, each.planned, where="post", color="#e45756", linewidth=1.4, label="planned")
        axes.set_ylabel(f"nodes of {names.get(sku, sku)}")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
        price = axes.twinx()
        cheap, dear = each.prices.min(axis=1), each.prices.max(axis=1)
        price.fill_between(times[: len(cheap)], cheap, dear, alpha=0.12, linewidth=0, color="#54a24b")
        price.plot(times, each.hourly, color="#54a24b", linewidth=1.0, linestyle=":", label="price (right)")
        price.set_ylabel("$ per node-hour")
        price.set_ylim(bottom=0)
        axes.legend(
            handles=[*axes.get_legend_handles_labels()[0], *price.get_legend_handles_labels()[0]],
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            frameon=False,
            ncols=5,
        )
    return inline(figure, "What is owned, planned and foreseen")


def _record(report: Report, over: float | None) -> dict[str, float | int]:
    return {
        "cost": float(report.cost),
        **({} if over is None else {"over_the_oracle": round(over, 4)}),
        "revenue": float(report.revenue),
        "margin": float(report.margin),
        "jobs": report.jobs,
        "finished": report.finished,
        "wait_median_s": round(report.wait_median, 1),
        "wait_p95_s": round(report.wait_p95, 1),
        "missed_deadlines": report.missed_deadlines,
        "interruptions": report.interruptions,
        "utilisation": round(report.utilisation, 4),
    }
