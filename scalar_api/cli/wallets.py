"""`scalar balance`; for operators `scalar billing`: credit, terms and caps."""

import uuid
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect, fail
from scalar_api.cli.jobs import Json

app = typer.Typer(no_args_is_help=True, help="Credit, terms and caps of organisations, for operators.")
Organisation = Annotated[str, typer.Argument(help="Its id or name.", metavar="ORGANISATION")]
Dollars = Annotated[str, typer.Argument(help="Such as 250.00.", metavar="DOLLARS")]
Note = Annotated[str, typer.Option(help="Why; shown to the customer.")]
Key = Annotated[str | None, typer.Option(help="The same key twice is entered once.")]
_SCOPES = ("organisation", "key", "project")


def register(app: typer.Typer) -> None:
    app.command()(balance)


def balance(
    organisation: Annotated[str | None, typer.Option(help="Whose: its id or name. For operators.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for a spreadsheet.")] = False,
    json: Json = False,
) -> None:
    """Show what your organisation has, owes, holds for its jobs, and may still spend."""
    client = connect(operator=organisation is not None)
    if csv:
        print(client.text("/v1/balance", format="csv", organisation=organisation).text, end="")
        return
    found = client.get("/v1/balance", organisation=organisation)
    if json:
        view.as_json(found)
        return
    view.facts(_facts(found))
    if found["lots"]:
        view.console.print()
        _lots(found["lots"])
    if found["caps"]:
        view.console.print()
        _caps(found["caps"])


@app.command()
def grant(
    organisation: Organisation,
    dollars: Dollars,
    expires: Annotated[str | None, typer.Option(help="A time such as `2026-12-31T00:00Z`; never, if left out.")] = None,
    note: Note = "",
    idempotency_key: Key = None,
    json: Json = False,
) -> None:
    """Give an organisation credit."""
    _enter("grants", organisation, {"amount": dollars, "expires_at": expires, "note": note}, idempotency_key, json=json)


@app.command()
def top_up(
    organisation: Organisation, dollars: Dollars, note: Note = "", idempotency_key: Key = None, json: Json = False
) -> None:
    """Enter what an organisation has paid by transfer."""
    _enter("top-ups", organisation, {"amount": dollars, "note": note}, idempotency_key, json=json)


@app.command()
def terms(
    organisation: Organisation,
    terms: Annotated[str, typer.Argument(help="`prepaid` or `invoiced`.")],
    credit_limit: Annotated[str | None, typer.Option(help="Dollars that it may owe; `none`: no limit.")] = None,
    grace: Annotated[
        int | None, typer.Option(help="Seconds that its flex jobs run on with nothing left; 300 at first.", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Say how an organisation pays: ahead, or by invoice. What is left out stays as it is."""
    body: dict[str, Any] = {"terms": terms}
    body |= {} if credit_limit is None else {"credit_limit": None if credit_limit == "none" else credit_limit}
    body |= {} if grace is None else {"grace_seconds": grace}
    answer = connect(operator=True).put(f"/v1/organisations/{organisation}/billing", body)
    if json:
        view.as_json(answer)
        return
    limit = f" up to {view.dollars(answer['credit_limit'])}" if answer["credit_limit"] else ""
    view.console.print(f"{view.plain(organisation)} is {answer['terms']}{limit}.")


@app.command()
def cap(
    organisation: Organisation,
    scope: Annotated[str, typer.Argument(help="`organisation`, `key` or `project`.")],
    subject: Annotated[str, typer.Option(help="The key's id or prefix, or the project's name.")] = "",
    dollars: Annotated[str | None, typer.Option(help="In a month; no cap any more, if left out.")] = None,
    json: Json = False,
) -> None:
    """Cap what may be spent in a month: by all, with one key, or for one project (the jobs' label `project`)."""
    if scope not in _SCOPES:
        fail(f"{scope!r} is no scope; say {', '.join(_SCOPES)}.", 2)
    wanted = {"scope": scope, "subject": subject or None, "monthly_limit": dollars}
    answer = connect(operator=True).put(f"/v1/organisations/{organisation}/caps", {"caps": [wanted]})
    view.as_json(answer) if json else _caps(answer["data"])


def _enter(what: str, organisation: str, body: dict[str, Any], key: str | None, *, json: bool) -> None:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    lot = connect(operator=True).post(f"/v1/organisations/{organisation}/{what}", body, headers)
    if json:
        view.as_json(lot)
        return
    until = f" until {lot['expires_at'][:16].replace('T', ' ')} UTC" if lot["expires_at"] else ""
    view.console.print(f"{lot['id']}: {view.dollars(lot['amount'])} for {view.plain(organisation)}{until}.")


def _facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    limit = found["credit_limit"]
    unlimited = "no limit" if found["available"] is None else None
    empty = f"since {found['empty_since'][:16].replace('T', ' ')} UTC" if found["empty_since"] else None
    return [
        ("Available", unlimited or view.dollars(found["available"])),
        ("Terms", f"{found['terms']}{f', up to {view.dollars(limit)}' if limit else ''}"),
        ("Credit", view.dollars(found["credit"])),
        ("Held by jobs", view.dollars(found["held"])),
        ("Not billed yet", view.dollars(found["unbilled"])),
        ("On invoices", view.dollars(found["receivable"])),
        ("Written off", view.dollars(found["written_off"]) if float(found["written_off"]) else None),
        ("This month", view.dollars(found["spent_this_month"])),
        ("Nothing left", empty),
    ]


def _lots(lots: list[dict[str, Any]]) -> None:
    view.table(
        ["LOT", "KIND", "LEFT", "OF", "EXPIRES (UTC)", "NOTE"],
        (
            [
                lot["id"],
                lot["kind"],
                view.dollars(lot["left"]),
                view.dollars(lot["amount"]),
                lot["expires_at"][:16].replace("T", " ") if lot["expires_at"] else "never",
                view.plain(lot["note"]),
            ]
            for lot in lots
        ),
        empty="No credit.",
    )


def _caps(caps: list[dict[str, Any]]) -> None:
    view.table(
        ["CAP ON", "SUBJECT", "A MONTH", "SPENT", "HELD", "LEFT"],
        (
            [
                each["scope"],
                view.plain(each["subject"]),
                *(view.dollars(each[name]) for name in ("monthly_limit", "spent", "held", "left")),
            ]
            for each in caps
        ),
        empty="No caps.",
    )
