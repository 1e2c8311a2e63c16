"""`scalar periods`: months of the books, for operators."""

from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json

app = typer.Typer(help="Months of the books, for operators: list, close, reopen, rebuild-balances.")
Month = Annotated[str, typer.Argument(help="Such as 2026-01.", metavar="MONTH")]
Hour = Annotated[str, typer.Argument(help="Such as 2026-01-09T14:00Z.", metavar="HOUR")]


@app.callback(invoke_without_command=True)
def every(context: typer.Context) -> None:
    """List the months, if nothing else is asked for."""
    if context.invoked_subcommand is None:
        list_periods()


@app.command(name="list")
def list_periods(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=240)] = 24, json: Json = False
) -> None:
    """List the months: what each earned, what of it is invoiced and unpaid, and whether its books are closed."""
    found = connect(operator=True).get("/v1/periods", limit=limit)["data"]
    if json:
        view.as_json(found)
        return
    view.table(
        ["MONTH", "REVENUE", "INVOICES", "DRAFTS", "INVOICED", "CREDITED", "UNPAID", "BOOKS"],
        (
            [
                each["month"],
                view.dollars(each["revenue"]),
                each["invoices"],
                each["drafts"],
                *(view.dollars(each[name]) for name in ("invoiced", "credited", "unpaid")),
                f"closed by {view.plain(each['closed_by'])}" if each["closed_at"] else "open",
            ]
            for each in found
        ),
        empty="The books are empty.",
    )


@app.command()
def close(month: Month, json: Json = False) -> None:
    """Close a month's books: they take nothing more."""
    answer = connect(operator=True).post(f"/v1/periods/{month}/close")
    view.as_json(answer) if json else view.console.print(f"{month} is closed.")


@app.command()
def reopen(month: Month, reason: Annotated[str, typer.Option(help="Why; it is kept.")], json: Json = False) -> None:
    """Let a closed month be written to again."""
    answer = connect(operator=True).post(f"/v1/periods/{month}/reopen", {"reason": reason})
    view.as_json(answer) if json else view.console.print(f"{month} is open again.")


@app.command()
def rebuild_balances(json: Json = False) -> None:
    """Add every balance of the ledger up anew from its entries; say which were something else."""
    answer = connect(operator=True).post("/v1/balances/rebuild")
    if json:
        view.as_json(answer)
        return
    view.table(
        ["ACCOUNT", "WAS", "IS"],
        ([each["account"], view.dollars(each["was"]), view.dollars(each["now"])] for each in answer["changed"]),
        empty="Every balance was what its entries add up to.",
    )


@app.command()
def doubts(hour: Hour, json: Json = False) -> None:
    """Say why an hour's usage is in doubt, which holds back its rating and its month."""
    _doubts(connect(operator=True).get(f"/v1/metered-hours/{hour}/doubts"), json=json)


@app.command()
def accept(hour: Hour, reason: Annotated[str, typer.Option(help="Why; it is kept.")], json: Json = False) -> None:
    """Let an hour whose usage is in doubt be rated as it is metered."""
    _doubts(connect(operator=True).post(f"/v1/metered-hours/{hour}/accept", {"reason": reason}), json=json)


def _doubts(found: dict[str, Any], *, json: bool) -> None:
    if json:
        view.as_json(found)
        return
    rows = ([view.plain(each["says"]), "yes" if each["accepted"] else "no"] for each in found["data"])
    view.table(["DOUBT", "ACCEPTED"], rows, empty="Nothing about that hour's usage is in doubt.")
