"""Pictures of forecasts: what is ahead, what came of what was said, and skill over time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from scalar.forecasts.issuing import Made
from scalar.forecasts.model import HOUR
from scalar.forecasts.store import ScoredDay, Subject, Told
from scalar_orchestration.forecast_tables import called
from scalar_orchestration.pictures import inline

_DPI = 90
_MOST = 4
_WEEK = 168
_SAID, _CAME = "#4c78a8", "black"


def ahead_plot(made: Sequence[Made], names: Mapping[str, str], unit: str) -> dg.MarkdownMetadataValue:
    """The largest series: a week of what was, and a week of what is forecast, with its 50 % and 90 % bands."""
    shown = sorted(made, key=lambda each: -float(each.forecast.median.mean()))[:_MOST]
    figure, rows = _drawings(len(shown))
    for each, axes in zip(shown, rows, strict=True):
        past = each.series.last(_WEEK)
        _band(axes, each)
        axes.plot(_hours(past.start, len(past.values)), past.values, color=_CAME, linewidth=1.2, label="was")
        _dress(axes, called(each.subject, names), unit)
    if shown:
        rows[0].legend(loc="upper left", frameon=False, ncols=3, fontsize=8)
    return inline(figure, "The week ahead")


def told_plot(found: Mapping[Subject, Sequence[Told]], names: Mapping[str, str]) -> dg.MarkdownMetadataValue:
    """What was forecast a day ahead, and what came."""
    figure, rows = _drawings(len(found))
    for (subject, hours), axes in zip(found.items(), rows, strict=False):
        times: Any = [each.hour for each in hours]
        low, high = [each.low for each in hours], [each.high for each in hours]
        axes.fill_between(times, low, high, color=_SAID, alpha=0.2, linewidth=0, label="90 % band")
        axes.plot(times, [each.median for each in hours], color=_SAID, linewidth=1.2, label="forecast")
        axes.plot(times, [each.truth for each in hours], color=_CAME, linewidth=1.0, label="came")
        _dress(axes, called(subject, names), "GPUs" if subject.tier else "$ per node-hour")
    if found:
        rows[0].legend(loc="upper left", frameon=False, ncols=3, fontsize=8)
    return inline(figure, "What was forecast a day ahead, and what came")


def skill_plot(days: Sequence[ScoredDay], names: Mapping[str, str]) -> dg.MarkdownMetadataValue:
    """Each series' error by the best naive copy's, by day: below one is better than the copy."""
    figure, (axes,) = _drawings(1)
    by_series: dict[Subject, list[ScoredDay]] = defaultdict(list)
    for each in days:
        by_series[each.subject].append(each)
    for subject, scored in list(by_series.items())[: 2 * _MOST]:
        times: Any = [each.day for each in scored if 0 < each.naive < float("inf")]
        ratios = [min(each.mase / each.naive, 3.0) for each in scored if 0 < each.naive < float("inf")]
        axes.plot(times, ratios, marker=".", linewidth=1.2, label=called(subject, names))
    axes.axhline(1.0, color=_CAME, linewidth=0.8)
    _dress(axes, "Error by the naive copy's", "ratio")
    if by_series:
        axes.legend(loc="upper left", frameon=False, ncols=4, fontsize=8)
    return inline(figure, "Skill by day")


def _band(axes: Axes, made: Made) -> None:
    quantiles = made.forecast.quantiles
    times = _hours(made.forecast.start, len(quantiles))
    for low, high, shade in ((0, -1, 0.18), (2, -3, 0.3)):
        axes.fill_between(times, quantiles[:, low], quantiles[:, high], color=_SAID, alpha=shade, linewidth=0)
    axes.plot(times, made.forecast.median, color=_SAID, linewidth=1.4, label=made.forecast.member)


def _hours(start: Any, count: int) -> Any:
    return [start + hour * HOUR for hour in range(count)]


def _drawings(count: int) -> tuple[Figure, list[Axes]]:
    rows = max(count, 1)
    figure = Figure(figsize=(9.0, 2.4 * rows), dpi=_DPI, layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def _dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
