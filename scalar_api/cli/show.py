"""Tables, times and durations for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Into a pipe, a row stays on its line.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)

_COLOURS = {
    "queued": "yellow",
    "placed": "cyan",
    "launched": "cyan",
    "starting": "cyan",
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "dead_letter": "red",
    "cancelled": "magenta",
    "ready": "green",
    "draining": "yellow",
    "proposed": "yellow",
    "intended": "cyan",
    "pending": "cyan",
    "standing": "blue",
    "partially_filled": "blue",
    "filled": "green",
    "rejected": "red",
    "withdrawn": "magenta",
}


def as_json(value: Any) -> None:
    """For programs: one JSON document on standard output."""
    print(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """`empty`: what to say where there are no rows."""
    shown = list(rows)
    if not shown:
        console.print(empty)
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, no_wrap=column != "NAME", overflow="fold")
    for row in shown:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(grid)


def facts(pairs: Iterable[tuple[str, Any]], *, to: Console = console) -> None:
    """One `name  value` a line; what is None is left out."""
    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value is not None:
            grid.add_row(f"[bold]{name}[/bold]", str(value))
    to.print(grid)


def state(name: str) -> str:
    return f"[{_COLOURS.get(name, 'white')}]{name}[/]"


def plain(text: str | None) -> str | None:
    """Somebody else's text: its brackets are no markup."""
    return escape(text) if text is not None else None


def ago(moment: str | None) -> str:
    if moment is None:
        return ""
    return f"{duration((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())} ago"


def between(start: str | None, end: str | None) -> str | None:
    """None where it hasn't started."""
    if start is None:
        return None
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return duration((until - datetime.fromisoformat(start)).total_seconds())


def dollars(amount: Any) -> str | None:
    """`$1,234.50`; fractions of a cent as far as there are any."""
    if amount is None:
        return None
    value = Decimal(amount)
    whole, _, fraction = f"{abs(value):,.6f}".partition(".")
    return f"{'-' if value < 0 else ''}${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, size, below, below_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below_size} {below}"
    return f"{whole} s"
