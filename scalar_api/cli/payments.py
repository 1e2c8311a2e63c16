"""`scalar payments`, `scalar invoices refund`: what was paid by card, and what follows where it wasn't."""

import uuid
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect, fail
from scalar_api.cli.invoices import InvoiceId, Why
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import pages

app = typer.Typer(help="Payments by card: list, show how an invoice is collected; for operators try again, set a card.")
Whose = Annotated[str | None, typer.Option(help="Whose: its id or name. For operators.")]
Key = Annotated[str | None, typer.Option(help="The same key twice is done once.")]


def register_refund(invoices: typer.Typer) -> None:
    """`scalar invoices refund`."""
    invoices.command()(refund)


@app.callback(invoke_without_command=True)
def every(context: typer.Context) -> None:
    """List payments, if nothing else is asked for."""
    if context.invoked_subcommand is None:
        list_payments()


@app.command(name="list")
def list_payments(
    organisation: Whose = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    json: Json = False,
) -> None:
    """List payments, newest first."""
    client = connect(operator=organisation is not None)
    found = pages(client, "/v1/payments", limit, organisation=organisation)
    if json:
        view.as_json(found)
        return
    _table(found)


@app.command()
def show(
    invoice: InvoiceId,
    operator: Annotated[bool, typer.Option("--operator", help="Anybody's, with the operator's key.")] = False,
    json: Json = False,
) -> None:
    """Show how an invoice is collected: payments, refunds, tries, and when the next one is."""
    found = connect(operator=operator).get(f"/v1/invoices/{invoice}/payments")
    if json:
        view.as_json(found)
        return
    dunning = found["dunning"] or {}
    view.facts(
        [
            ("Invoice", found["invoice_id"]),
            ("Pay at", found["pay_at"]),
            ("Next try", _when(dunning.get("next_attempt_at"))),
            ("Ended", dunning.get("outcome")),
        ]
    )
    _table(found["payments"])
    view.table(
        ["TRY", "STATE", "AMOUNT", "WHEN (UTC)", "WHY"],
        (
            [
                each["number"],
                view.state(each["state"]),
                view.dollars(each["amount"]),
                _when(each["ended_at"] or each["made_at"]),
                view.plain(each["decline_code"] or each["message"]),
            ]
            for each in found["attempts"]
        ),
        empty="Nothing was charged yet.",
    )
    for each in found["refunds"]:
        view.console.print(_refund_line(each), markup=False)


@app.command()
def retry(invoice: InvoiceId, json: Json = False) -> None:
    """Try to collect an invoice once more, now."""
    answer = connect(operator=True).post(f"/v1/invoices/{invoice}/collect")
    view.as_json(answer) if json else view.console.print("It is tried again within a minute.", markup=False)


@app.command()
def card(
    organisation: Annotated[str, typer.Argument(help="Its id or name.", metavar="ORGANISATION")],
    payment_method: Annotated[str, typer.Argument(help="Of Stripe: pm_….", metavar="PAYMENT_METHOD")],
) -> None:
    """Charge an organisation's invoices to this card from now on."""
    connect(operator=True).put(f"/v1/organisations/{organisation}/card", {"payment_method": payment_method})
    view.console.print(f"{organisation} is charged by that card from now on.", markup=False)


def refund(
    invoice: InvoiceId,
    reason: Why,
    line: Annotated[
        list[str] | None,
        typer.Option(help="What a line should have been: `3=1800s` (GPU-seconds) or `3=12.50` (dollars); repeatable."),
    ] = None,
    dollars: Annotated[
        str | None, typer.Option(help="Instead of lines: so much of the credit that its credit notes have given.")
    ] = None,
    idempotency_key: Key = None,
    json: Json = False,
) -> None:
    """Give money back to the card that paid an invoice."""
    if line and dollars is not None:
        fail("--dollars: it follows from the lines; say one of the two.", 2)
    body: dict[str, Any] = {"reason": reason, "amount": dollars, "lines": [_correction(each) for each in line or []]}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    made = connect(operator=True).post(f"/v1/invoices/{invoice}/refunds", body, headers=headers)
    view.as_json(made) if json else view.console.print(_refund_line(made), markup=False)


def _correction(text: str) -> dict[str, Any]:
    number, _, value = text.partition("=")
    if not number.isdigit() or not value:
        fail(f"--line {text}: write it like 3=1800s or 3=12.50.", 2)
    field = {"gpu_seconds": value[:-1]} if value.endswith("s") else {"amount": value}
    return {"line": int(number), **field}


def _refund_line(refund: dict[str, Any]) -> str:
    said = f": {refund['message']}" if refund["message"] else ""
    return f"Refund {refund['id']}: {view.dollars(refund['amount'])} is {refund['state']}{said} ({refund['reason']})"


def _table(payments: list[dict[str, Any]]) -> None:
    view.table(
        ["PAYMENT", "INVOICE", "PAID (UTC)", "AMOUNT", "FEES", "REFUNDED", "DISPUTED"],
        (
            [
                each["id"],
                each["invoice_id"] or "top-up",
                _when(each["paid_at"]),
                *(view.dollars(each[name]) for name in ("amount", "fees", "refunded", "disputed")),
            ]
            for each in payments
        ),
        empty="No payments by card yet.",
    )


def _when(moment: str | None) -> str | None:
    return moment[:16].replace("T", " ") if moment else None
