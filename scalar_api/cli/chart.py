"""A figure over time as columns of blocks, as wide as the terminal."""

from collections.abc import Sequence
from datetime import datetime

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_HEIGHT = 10


def chart(points: Sequence[tuple[datetime, float | None]], *, width: int, unit: str = "$") -> list[str]:
    """Lines of text. `points`: not negative, evenly spaced, by time; None: not known, and its column stays empty.

    The vertical axis begins near the lowest value, not at zero: its labels say where.
    """
    known = [value for _, value in points if value is not None]
    if not known:
        return ["nothing to show"]
    floor, top = _axis(min(known), max(known))
    labels = {row: f"{unit}{floor + (top - floor) * row / _HEIGHT:,.2f}" for row in (0, _HEIGHT // 2, _HEIGHT)}
    margin = max(map(len, labels.values()))
    columns = _columns([value for _, value in points], max(width - margin - 3, 10))
    levels = [None if each is None else max(1, round((each - floor) / (top - floor) * _HEIGHT * 8)) for each in columns]
    lines = [
        f"{labels.get(row + 1, ''):>{margin}} {'┤' if row + 1 in labels else '│'}"
        + "".join(_EIGHTHS[min(max((level or 0) - row * 8, 0), 8)] for level in levels)
        for row in reversed(range(_HEIGHT))
    ]
    axis = f"{labels[0]:>{margin}} └{'─' * len(columns)}"
    return [*lines, axis, " " * (margin + 2) + _times(points[0][0], points[-1][0], len(columns))]


def _axis(low: float, high: float) -> tuple[float, float]:
    """From a little below the lowest, so that it has a column; and never of no height."""
    floor = max(0.0, low - (high - low or high) / 5)
    return floor, high if high > floor else floor + 1.0


def _columns(values: Sequence[float | None], most: int) -> list[float | None]:
    """One a column: the mean of its hours where they are too many, the same hour several times where they are few."""
    if len(values) <= most:
        return [value for value in values for _ in range(most // len(values))]
    shown: list[float | None] = []
    for column in range(most):
        hours = values[column * len(values) // most : (column + 1) * len(values) // most]
        known = [value for value in hours if value is not None]
        shown.append(sum(known) / len(known) if known else None)
    return shown


def _times(first: datetime, last: datetime, width: int) -> str:
    """The first and the last, and the middle where there is room."""
    begin, end = f"{first:%m-%d %H:%M}", f"{last:%m-%d %H:%M} UTC"
    between = width - len(begin) - len(end)
    if between < 1:
        return begin
    middle = f"{first + (last - first) / 2:%m-%d %H:%M}"
    return begin + (middle if between > len(middle) + 4 else "").center(between) + end
