"""`scalar coupons`: make, list and end them, for operators; redeem one, for customers."""

from decimal import Decimal
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import moment

app = typer.Typer(
    no_args_is_help=True,
    help="""Something off invoices: `redeem` one that you were given; for operators: list, make, end.

A coupon is one organisation's, everybody's, or of those who redeem it. It comes off the invoice of each month in which
it holds at some time; without `--every` off the first of them only.""",
)
Code = Annotated[str, typer.Argument(help="What it is called, such as HELLO.")]


@app.command()
def redeem(code: Code, json: Json = False) -> None:
    """Have a coupon for your organisation: it comes off the next invoice, this month's."""
    done = connect().post("/v1/coupons/redeem", {"code": code})
    if json:
        view.as_json(done)
        return
    when = f", redeemed {moment(done['redeemed_at'])} UTC" if done["redeemed_at"] else ""
    view.console.print(f"{view.plain(done['code'])} is yours{when}: {_off(done)}.")


@app.command(name="list")
def list_coupons(json: Json = False) -> None:
    """List coupons, newest first."""
    found = connect(operator=True).get("/v1/coupons")
    if json:
        view.as_json(found)
        return
    view.table(
        ["ID", "CODE", "WHOSE", "OFF", "FROM (UTC)", "UNTIL (UTC)", "REDEEMED"],
        (
            [
                each["id"],
                view.plain(each["code"]),
                _whose(each),
                _off(each),
                moment(each["starts_at"]),
                f"ended {moment(each['ended_at'])}" if each["ended_at"] else moment(each["ends_at"]),
                each["redemptions"],
            ]
            for each in found["data"]
        ),
        empty="No coupons.",
    )


@app.command()
def make(
    code: Code,
    percent: Annotated[str | None, typer.Option(help="Percent off an invoice.")] = None,
    amount: Annotated[str | None, typer.Option(help="Dollars off an invoice.")] = None,
    organisation: Annotated[str | None, typer.Option(help="Whose alone: its id or name.")] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Off everybody's invoices, without being redeemed.")
    ] = False,
    start: Annotated[str | None, typer.Option("--from", help="When it begins; now, if left out.")] = None,
    until: Annotated[
        str | None, typer.Option(help="When it ends, such as 2027-01-01T00:00Z for the end of 2026.")
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Off each invoice while it holds, not off one only.")] = False,
    json: Json = False,
) -> None:
    """Make a coupon. Without `--organisation` or `--everybody` it is for those who redeem it."""
    body = {
        "code": code,
        "percent_off": percent,
        "amount_off": amount,
        "organisation": organisation,
        "everybody": everybody,
        "starts_at": start,
        "ends_at": until,
        "once": not every,
    }
    made = connect(operator=True).post("/v1/coupons", body)
    told = f"{made['id']}: coupon {view.plain(made['code'])}, {_off(made)}, for {_whose(made)}."
    view.as_json(made) if json else view.console.print(told)


@app.command()
def end(coupon: Annotated[str, typer.Argument(help="Its id or code.")], json: Json = False) -> None:
    """Take a coupon back: off no invoice that isn't open yet, whoever has redeemed it."""
    ended = connect(operator=True).post(f"/v1/coupons/{coupon}/end")
    view.as_json(ended) if json else view.console.print(f"Coupon {view.plain(ended['code'])} is over.")


def _whose(coupon: dict[str, Any]) -> str:
    if coupon["everybody"]:
        return "everybody"
    return str(coupon["organisation_id"] or "who redeems it")


def _off(coupon: dict[str, Any]) -> str:
    off = coupon["percent_off"]
    much = f"{Decimal(off).normalize():f}%" if off is not None else view.dollars(coupon["amount_off"])
    return f"{much} off {'one invoice' if coupon['once'] else 'each invoice'}"
