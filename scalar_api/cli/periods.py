"""`scalar periods`: months of the books, for operators."""

from typing import Annotated

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json

app = typer.Typer(help="Months of the books, for operators: list, close, reopen.")
Month = Annotated[str, typer.Argument(help="Such as 2026-01.", metavar="MONTH")]


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
