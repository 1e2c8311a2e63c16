"""`scalar demo`: the platform, played."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from scalar_api.cli.client import fail

A_DAY = timedelta(days=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

app = typer.Typer(no_args_is_help=True, help="The platform, played: nothing to set up, nothing to pay.")


@app.callback()
def demos() -> None:
    """So that `week` has to be named: there may be others."""


@app.command()
def week(
    data: Annotated[Path, typer.Option(help="Where everything of the demo is kept.")] = Path(".scalar/demo"),
    dagster_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's webserver.")] = 3000,
    days: Annotated[int, typer.Option(help="So many days of the week.", min=1, max=7)] = 7,
    seed: Annotated[int, typer.Option(help="Other customers, with another number.")] = 1,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="A day long past; the last whole week.")
    ] = None,
    weeks_before: Annotated[int, typer.Option(help="Weeks of demand before it, made up.", min=3, max=50)] = 8,
    forecast_days: Annotated[int, typer.Option(help="Of these, days with forecasts.", min=1, max=14)] = 8,
    again: Annotated[bool, typer.Option("--again", help="Replace an earlier demo's data.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop once the week was played.")] = False,
) -> None:
    """Watch a week go by in twenty-five minutes: plans, orders on a sandbox market, nodes, jobs, money; the replay.

    A week of the past is played by the platform's own sensors, schedules and assets. Ctrl-C stops it.
    """
    from scalar_api.up.demo import Played, last_week  # noqa: PLC0415 - half a second of imports
    from scalar_api.up.demo_session import run  # noqa: PLC0415
    from scalar_api.up.platform import Options  # noqa: PLC0415

    now = datetime.now(UTC)
    begin = start.replace(tzinfo=UTC) if start else last_week(now)
    latest = now - (days + 1) * A_DAY
    if not EARLIEST <= begin <= latest:
        since = f"and on {EARLIEST:%Y-%m-%d} at the earliest"
        fail(f"--from: what is played is past: {days} day(s) begin on {latest:%Y-%m-%d} at the latest, {since}.", 2)
    played = Played(
        start=begin,
        days=days,
        seed=seed,
        weeks_before=weeks_before,
        forecast_days=forecast_days,
    )
    sys.exit(run(Options(data=data, dagster_port=dagster_port), played, again=again, once=once))
