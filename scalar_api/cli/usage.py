"""`scalar usage`: what was used, and what it costs."""

from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json

_COLUMNS = {
    "organisation_id": "ORGANISATION",
    "day": "DAY",
    "job_id": "JOB",
    "job_name": "NAME",
    "project": "PROJECT",
    "key_id": "KEY",
    "tier": "TIER",
    "gpu_type": "TYPE",
}


def register(app: typer.Typer) -> None:
    app.command()(usage)


def usage(
    start: Annotated[str | None, typer.Option(help="The first day (UTC); the first of the month, if left out.")] = None,
    end: Annotated[str | None, typer.Option(help="The last day; today, if left out.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Group by day, job, tier, gpu_type, project or key; repeatable.")
    ] = None,
    organisation: Annotated[str | None, typer.Option(help="Whose: its id or name. For operators.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for a spreadsheet.")] = False,
    json: Json = False,
) -> None:
    """Show what was used and what it costs, as it is rated by now."""
    client = connect(operator=organisation is not None)
    query = {"start": start, "end": end, "by": by, "organisation": organisation}
    if csv:
        print(client.text("/v1/usage", format="csv", **query).text, end="")
        return
    found = client.get("/v1/usage", **query)
    if json:
        view.as_json(found)
        return
    _table(found["data"])
    hours = float(found["gpu_seconds"]) / 3600
    view.console.print(f"\n{found['start']} to {found['end']}: {hours:,.2f} GPU-hours, {view.dollars(found['amount'])}")
    if found["rated_until"]:
        view.console.print(f"Rated until {found['rated_until'][:16].replace('T', ' ')} UTC.")


def _table(rows: list[dict[str, Any]]) -> None:
    shown = [name for name in _COLUMNS if any(row[name] is not None for row in rows)]
    if len({row["organisation_id"] for row in rows}) < 2:
        shown = [name for name in shown if name != "organisation_id"]
    view.table(
        [*(_COLUMNS[name] for name in shown), "GPU-SECONDS", "USAGE", "CREDITS", "AMOUNT"],
        (
            [
                *(view.plain(row[name]) for name in shown),
                f"{float(row['gpu_seconds']):,.1f}",
                *(view.dollars(row[name]) for name in ("usage", "credits", "amount")),
            ]
            for row in rows
        ),
        empty="Nothing was used and rated in these days.",
    )
