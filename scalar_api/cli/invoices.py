"""`scalar invoices`: what is to be paid; for operators: open, enter transfers, void, write off and correct."""

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect, fail
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import pages

app = typer.Typer(help="Invoices: list and show; for operators open, paid, void, write off and credit.")
InvoiceId = Annotated[str, typer.Argument(help="An invoice's number or id.", metavar="INVOICE")]
Why = Annotated[str, typer.Option(help="Why; it is kept.")]
_FORMATS = ("html", "pdf", "csv")


@app.callback(invoke_without_command=True)
def every(context: typer.Context) -> None:
    """List invoices, if nothing else is asked for."""
    if context.invoked_subcommand is None:
        list_invoices()


@app.command(name="list")
def list_invoices(
    state: Annotated[list[str] | None, typer.Option("--state", help="Only these states; repeatable.")] = None,
    month: Annotated[str | None, typer.Option(help="Such as 2026-01.")] = None,
    organisation: Annotated[str | None, typer.Option(help="Whose: its id or name. For operators.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    json: Json = False,
) -> None:
    """List invoices, newest first."""
    client = connect(operator=organisation is not None)
    found = pages(client, "/v1/invoices", limit, state=state, month=month, organisation=organisation)
    if json:
        view.as_json(found)
        return
    view.table(
        ["NUMBER", "ID", "MONTH", "STATE", "TOTAL", "FROM CREDIT", "DUE", "LEFT TO PAY", "DUE BY"],
        ([*_row(invoice)] for invoice in found),
        empty="No invoices yet: a month's are made once it is over.",
    )


@app.command()
def show(
    invoice: InvoiceId,
    format: Annotated[str | None, typer.Option(help="`html`, `pdf` or `csv`, into a file.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; named by the invoice.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Anybody's, with the operator's key.")] = False,
    json: Json = False,
) -> None:
    """Show an invoice with its lines, or write it to a file."""
    client = connect(operator=operator)
    if format is not None:
        if format not in _FORMATS:
            fail(f"--format: one of {', '.join(_FORMATS)}.", 2)
        path = output or Path(f"{invoice}.{format}")
        path.write_bytes(client.text(f"/v1/invoices/{invoice}", format=format).content)
        view.console.print(f"Written to {path}.", markup=False)
        return
    found = client.get(f"/v1/invoices/{invoice}")
    if json:
        view.as_json(found)
        return
    view.facts(_facts(found))
    view.console.print()
    _lines(found["lines"])
    for note in found["credit_notes"]:
        _note(note)


@app.command(name="open")
def open_draft(invoice: InvoiceId, json: Json = False) -> None:
    """Give a draft its number: it is due, and never changes again."""
    answer = connect(operator=True).post(f"/v1/invoices/{invoice}/open")
    _said(answer, f"{answer['number']} is {answer['state']}: {view.dollars(answer['due'])} due.", json=json)


@app.command()
def void(invoice: InvoiceId, reason: Why, json: Json = False) -> None:
    """Take an open invoice back as if it had never been; what was on it goes to the next draft."""
    answer = connect(operator=True).post(f"/v1/invoices/{invoice}/void", {"reason": reason})
    _said(answer, f"{answer['number']} is void.", json=json)


@app.command()
def uncollectible(invoice: InvoiceId, reason: Why, json: Json = False) -> None:
    """Write off what is left of an invoice: a bad debt."""
    answer = connect(operator=True).post(f"/v1/invoices/{invoice}/uncollectible", {"reason": reason})
    _said(answer, f"{answer['number']}: {view.dollars(answer['outstanding'])} written off.", json=json)


@app.command()
def paid(
    invoice: InvoiceId,
    dollars: Annotated[str, typer.Argument(help="What has come, such as 1250.00.", metavar="DOLLARS")],
    note: Annotated[str, typer.Option(help="Which transfer; shown to the customer.")] = "",
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice is entered once.")] = None,
    json: Json = False,
) -> None:
    """Enter what has come for an invoice by bank transfer: `scalar invoices paid INV-2026-0001 1250.00`."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    body = {"amount": dollars, "note": note}
    answer = connect(operator=True).post(f"/v1/invoices/{invoice}/payments", body, headers=headers)
    left = view.dollars(answer["outstanding"])
    _said(answer, f"{answer['number']} is {answer['state']}: {left} left to pay.", json=json)


@app.command()
def credit(
    invoice: InvoiceId,
    reason: Why,
    line: Annotated[
        list[str],
        typer.Option(help="What a line should have been: `3=1800s` (GPU-seconds) or `3=12.50` (dollars); repeatable."),
    ],
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice is one credit note.")] = None,
    json: Json = False,
) -> None:
    """Correct an invoice with a credit note: off what is due, or credit in the wallet."""
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    body = {"reason": reason, "lines": [_correction(each) for each in line]}
    note = connect(operator=True).post(f"/v1/invoices/{invoice}/credit-notes", body, headers=headers)
    view.as_json(note) if json else _note(note)


def _correction(text: str) -> dict[str, Any]:
    number, _, value = text.partition("=")
    if not number.isdigit() or not value:
        fail(f"--line {text}: write it like 3=1800s or 3=12.50.", 2)
    field = {"gpu_seconds": value[:-1]} if value.endswith("s") else {"amount": value}
    return {"line": int(number), **field}


def _said(answer: dict[str, Any], text: str, *, json: bool) -> None:
    view.as_json(answer) if json else view.console.print(text, markup=False)


def _row(invoice: dict[str, Any]) -> list[Any]:
    return [
        invoice["number"],
        invoice["id"],
        invoice["month"],
        view.state(invoice["state"]),
        *(view.dollars(invoice[name]) for name in ("total", "from_credit", "due", "outstanding")),
        (invoice["due_at"] or "")[:10],
    ]


def _facts(invoice: dict[str, Any]) -> list[tuple[str, Any]]:
    def money(name: str) -> str | None:
        return view.dollars(invoice[name]) if float(invoice[name]) else None

    return [
        ("Invoice", f"{invoice['number'] or 'draft'}  ({invoice['id']})"),
        ("Month", invoice["month"]),
        ("State", view.state(invoice["state"])),
        ("Bill to", view.plain(invoice["bill_to"].get("name"))),
        ("Subtotal", view.dollars(invoice["subtotal"])),
        ("Tax", money("tax")),
        ("Carried in", money("carried_in")),
        ("Total", view.dollars(invoice["total"])),
        ("From credit", money("from_credit")),
        ("Carried out", money("carried_out")),
        ("Due", f"{view.dollars(invoice['due'])}{_by(invoice)}"),
        ("Credit notes", money("credited")),
        ("Paid", money("paid")),
        ("Left to pay", view.dollars(invoice["outstanding"])),
    ]


def _by(invoice: dict[str, Any]) -> str:
    return f" by {invoice['due_at'][:10]}" if invoice["due_at"] and float(invoice["due"]) else ""


def _lines(lines: list[dict[str, Any]]) -> None:
    view.table(
        ["LINE", "NAME", "JOB", "GPU-SECONDS", "PER GPU-HOUR", "AMOUNT"],
        (
            [
                each["line"],
                view.plain(each["description"]),
                each["job_id"],
                f"{float(each['gpu_seconds']):,.1f}" if each["gpu_seconds"] else None,
                view.dollars(each["unit_price"]),
                view.dollars(each["amount"]),
            ]
            for each in lines
        ),
        empty="It has no lines.",
    )


def _note(note: dict[str, Any]) -> None:
    view.console.print(f"\n[bold]Credit note {note['number']}[/bold]  {view.plain(note['reason'])}")
    view.table(
        ["LINE", "NAME", "AS IT WAS", "AS IT SHOULD HAVE BEEN", "DIFFERENCE"],
        (
            [
                each["line"],
                view.plain(each["description"]),
                *(view.dollars(each[name]) for name in ("amount_before", "amount_after", "difference")),
            ]
            for each in note["lines"]
        ),
        empty="",
    )
    where = f"{view.dollars(note['off_due'])} off what was due, {view.dollars(note['to_wallet'])} to the wallet"
    view.console.print(f"{view.dollars(note['total'])} given back: {where}.")
