"""Pictures in asset metadata: a PNG inside the markdown, so that it shows wherever the metadata does."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import dagster as dg
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from scalar.market.figures import PriceHour

_SIZE = (9.0, 3.2)
_DPI = 90


def price_plot(history: Mapping[str, Sequence[PriceHour]]) -> dg.MarkdownMetadataValue:
    """Each kind of machine's trades over time: the hourly average, and the range from the lowest to the highest."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for name, hours in history.items():
        _draw(axes, name, [hour for hour in hours if hour.average is not None])
    axes.set_ylabel("$ per node-hour")
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    axes.grid(alpha=0.3)
    if history:
        axes.legend(loc="upper left", frameon=False)
    return inline(figure, "Prices of the last 7 days")


def inline(figure: Figure, title: str) -> dg.MarkdownMetadataValue:
    """The figure as markdown. `Figure` by itself needs no display and keeps nothing open."""
    png = BytesIO()
    figure.savefig(png, format="png")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{b64encode(png.getvalue()).decode()})")


def _draw(axes: Axes, name: str, hours: Sequence[PriceHour]) -> None:
    times: Any = [hour.hour for hour in hours]
    low, average, high = ([float(getattr(hour, which)) for hour in hours] for which in ("low", "average", "high"))
    (line,) = axes.plot(times, average, label=name, linewidth=1.4, marker="." if len(hours) < 3 else None)
    axes.fill_between(times, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
