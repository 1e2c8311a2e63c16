"""`scalar replay`: a time again, under one policy or several. For operators, and for anybody with a file of jobs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from scalar.errors import InvalidRequest, ScalarError
from scalar_api.cli import show as view
from scalar_api.cli.client import fail
from scalar_api.cli.jobs import Json

if TYPE_CHECKING:
    from scalar.replay.model import Report
    from scalar_api.replay import Recording

POLICIES = ("reactive", "optimal", "oracle")
RECORDED = "recorded"
LONGEST = timedelta(days=366)
EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    start: Annotated[datetime, typer.Option("--from", formats=FORMATS, help="Its start, UTC.")],
    end: Annotated[datetime, typer.Option("--to", formats=FORMATS, help="Its end, UTC.")],
    policy: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(POLICIES)}; all, if left out.")] = None,
    history: Annotated[
        str, typer.Option(help="`recorded`: our own. Or a CSV (.gz) with timestamp, duration in seconds, num_gpus.")
    ] = RECORDED,
    price: Annotated[str, typer.Option(help="Dollars per node-hour, where no --prices are given.")] = "16.80",
    prices: Annotated[Path | None, typer.Option(help="A CSV by hour with `mean`: dollars per GPU-hour.")] = None,
    flex: Annotated[
        float, typer.Option(min=0, max=1, help="Of jobs whose file says no tier: this share is flex.")
    ] = 0.0,
    slack_hours: Annotated[int, typer.Option(min=0, max=8784, help="How long flex jobs may wait.")] = 24,
    json: Json = False,
) -> None:
    """Replay a time under other policies: cost, revenue, margin, waits, missed deadlines, utilisation.

    With `--history recorded`, jobs and prices are those of our own database (`SCALAR_DATABASE_URL`).
    """
    named = policy or list(POLICIES)
    begin, until = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    _check(named, begin, until)
    try:
        found = _history(history, begin, until, price=price, prices=prices, flex=flex, slack_hours=slack_hours)
        reports = _played(found, named, quiet=json)
    except InvalidRequest as error:
        fail(error.message, 2)
    except ScalarError as error:
        fail(error.message, 3)
    if json:
        view.as_json([_record(each) for each in reports])
        return
    view.console.print(f"{found.jobs:,} jobs from {begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC")
    over = _over(reports)
    view.table(_COLUMNS, (_row(each, over.get(each.policy)) for each in reports), empty="Nothing was replayed.")


_COLUMNS = [
    "POLICY",
    "COST",
    "OVER THE ORACLE",
    "REVENUE",
    "MARGIN",
    "FINISHED",
    "WAIT, MEDIAN",
    "WAIT, P95",
    "DEADLINES MISSED",
    "INTERRUPTED",
    "UTILISATION",
]


def _check(policies: list[str], start: datetime, end: datetime) -> None:
    unknown = [each for each in policies if each not in POLICIES]
    if unknown:
        fail(f"There is no policy {unknown[0]!r}: of {', '.join(POLICIES)}.", 2)
    if end <= start:
        fail("--to must be after --from.", 2)
    if end - start > LONGEST:
        fail(f"At most {LONGEST.days} days can be replayed at a time.", 2)
    if start < EARLIEST or end > LATEST:
        fail(f"What is replayed lies between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}.", 2)


def _history(
    where: str, start: datetime, end: datetime, *, price: str, prices: Path | None, flex: float, slack_hours: int
) -> "Recording":
    try:
        from scalar_api import replay as deeds  # noqa: PLC0415 - numpy and the solver take a second
    except ImportError as missing:
        fail(f"{missing.name} isn't installed: `pip install scalar-platform[api,planning]`.", 2)
    if where == RECORDED:
        return deeds.recorded(start, end)
    return deeds.from_files(Path(where), start, end, price=price, prices=prices, flex=flex, slack_hours=slack_hours)


def _played(history: "Recording", policies: list[str], *, quiet: bool) -> "list[Report]":
    from scalar_api import replay as deeds  # noqa: PLC0415 - see above

    with Progress(console=view.console, transient=True, disable=quiet or not view.console.is_terminal) as bar:
        tasks = {name: bar.add_task(name, total=1.0) for name in policies}
        return deeds.played(history, policies, lambda name, done: bar.update(tasks[name], completed=done))


def _over(reports: "list[Report]") -> dict[str, float]:
    from scalar.replay.model import over_the_oracle  # noqa: PLC0415 - see above

    return over_the_oracle(reports)


def _record(report: "Report") -> dict[str, object]:
    return {
        "policy": report.policy,
        "jobs": report.jobs,
        "finished": report.finished,
        "cost": f"{report.cost:.6f}",
        "revenue": f"{report.revenue:.6f}",
        "margin": f"{report.margin:.6f}",
        "wait_median_seconds": report.wait_median,
        "wait_p95_seconds": report.wait_p95,
        "deadlines": report.deadlines,
        "missed_deadlines": report.missed_deadlines,
        "interruptions": report.interruptions,
        "utilisation": report.utilisation,
    }


def _row(report: "Report", over: float | None) -> list[object]:
    return [
        report.policy,
        f"${report.cost:,.2f}",
        f"{over:.2f} x" if over else "",
        f"${report.revenue:,.2f}",
        f"${report.margin:,.2f}",
        f"{report.finished:,} of {report.jobs:,}",
        view.duration(report.wait_median),
        view.duration(report.wait_p95),
        f"{report.missed_deadlines:,} of {report.deadlines:,}" if report.deadlines else "",
        report.interruptions,
        f"{report.utilisation:.0%}",
    ]
