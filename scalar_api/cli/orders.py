"""`scalar orders`: what was ordered at the market, and what became of it."""

import time
from decimal import Decimal
from typing import Annotated, Any, NoReturn

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import Client, connect, error_console
from scalar_api.cli.jobs import Json

app = typer.Typer(no_args_is_help=True, help="Orders at the market, for operators: list, show, approve, cancel.")
OrderId = Annotated[str, typer.Argument(help="An order's id, as `scalar orders list` shows it.", metavar="ORDER")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only these states; repeatable.")]
OneSide = Annotated[str | None, typer.Option("--side", help="`buy` or `sell`.")]
Limit = Annotated[int, typer.Option(help="How many, newest first.", min=1)]

_NOT_FILLED, _POLL_SECONDS = 1, 1.0


@app.command(name="list")
def list_orders(state: States = None, side: OneSide = None, limit: Limit = 20, json: Json = False) -> None:
    """List orders, newest first."""
    found = pages(connect(operator=True), "/v1/orders", limit, state=state, side=side)
    if json:
        view.as_json(found)
        return
    view.table(
        ["ID", "SIDE", "STATE", "SKU", "NODES", "START (UTC)", "END (UTC)", "LIMIT", "AMOUNT", "MESSAGE"],
        ([*_row(order)] for order in found),
        empty="No orders. `scalar market buy --gpu-type H100 --for 2h` makes one.",
    )


@app.command()
def show(order: OrderId, json: Json = False) -> None:
    """Everything about one order: its fills, the blocks that came of them, who did what."""
    detail = connect(operator=True).get(f"/v1/orders/{order}")
    if json:
        view.as_json(detail)
        return
    view.facts(_facts(detail))
    for title, rows in (("Fills", _fills(detail)), ("Blocks", _blocks(detail)), ("Trail", _trail(detail))):
        if rows:
            view.console.print(f"\n[bold]{title}[/bold]")
            view.table(rows[0], rows[1:], empty="")


@app.command()
def approve(order: OrderId, json: Json = False) -> None:
    """Let a proposed order go out."""
    answer = connect(operator=True).post(f"/v1/orders/{order}/approve")
    view.as_json(answer) if json else view.console.print(f"{order} is approved ({answer['state']}).")


@app.command()
def cancel(order: OrderId, json: Json = False) -> None:
    """Call an order off; what has filled of it stays."""
    answer = connect(operator=True).post(f"/v1/orders/{order}/cancel")
    if json:
        view.as_json(answer)
    elif answer["ended_at"]:
        view.console.print(f"{order} is {answer['state']}.")
    else:
        view.console.print(f"{order} is being cancelled at the market. See: scalar orders show {order}")


def pages(client: Client, path: str, limit: int, **query: Any) -> list[dict[str, Any]]:
    """The first `limit` rows of a list, in as many pages as it takes."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(rows) < limit:
        page = client.get(path, limit=min(limit - len(rows), 200), cursor=cursor, **query)
        rows += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return rows


def follow(client: Client, order_id: str, *, json: bool) -> NoReturn:
    """Say each state that it comes to, until it has ended; 0 where it has filled, 1 otherwise."""
    seen = None
    while True:
        order = client.get(f"/v1/orders/{order_id}")
        if order["state"] != seen and not json:
            seen = order["state"]
            error_console.print(f"{order_id} is {view.state(seen)}{_why(order)}", soft_wrap=True)
        if order["ended_at"] is not None:
            break
        time.sleep(_POLL_SECONDS)
    if json:
        view.as_json(order)
    elif order["fills"]:
        verb = "paid" if order["side"] == "buy" else "brought"
        view.console.print(f"{verb} {usd(order['amount'])} in {len(order['fills'])} fill(s)")
    raise typer.Exit(0 if order["state"] == "filled" else _NOT_FILLED)


def usd(amount: Any) -> str | None:
    """`$1,234.50`."""
    return None if amount is None else f"${Decimal(amount):,.2f}"


def price(amount: Any) -> str | None:
    """Dollars per node-hour: cents at least, and as much of their fractions as there is."""
    if amount is None:
        return None
    whole, _, fraction = f"{Decimal(amount):,.6f}".partition(".")
    return f"${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def moment(text: str | None) -> str | None:
    return None if text is None else text[:16].replace("T", " ")


def _why(order: dict[str, Any]) -> str:
    said = view.plain(order["message"])
    if order["state"] == "proposed":
        return f": {said} Approve it with: scalar orders approve {order['id']}"
    return f": {said}" if said else ""


def _row(order: dict[str, Any]) -> list[Any]:
    return [
        order["id"],
        order["side"],
        view.state(order["state"]),
        view.plain(order["sku"]),
        order["nodes"],
        moment(order["start"]),
        moment(order["end"]),
        price(order["limit_price"]),
        usd(order["amount"]),
        view.plain(order["message"]),
    ]


def _facts(order: dict[str, Any]) -> list[tuple[str, Any]]:
    sale = order["side"] == "sell"
    flags = [name for name in ("standing", "partial") if order[f"allow_{name}"]]
    return [
        ("Order", f"{order['id']}  ({order['market_id'] or 'not at the market'})"),
        ("State", f"{view.state(order['state'])}  {view.plain(order['message']) or ''}"),
        ("What", f"{order['side']} {order['nodes']} x {view.plain(order['sku'])}"),
        ("Window", f"{moment(order['start'])} to {moment(order['end'])} UTC"),
        ("Limit", f"{price(order['limit_price'])} per node-hour, {usd(order['worst_case'])} in all"),
        ("Brought" if sale else "Paid", usd(order["amount"])),
        ("Allows", ", ".join(flags) or None),
        ("Why", view.plain(order["purpose"])),
        ("Plan", order["plan_id"]),
        ("By", f"{order['requested_by']}{', approved by ' + order['approved_by'] if order['approved_by'] else ''}"),
        ("Kept free", ", ".join(order["kept_free"]) or None),
    ]


def _fills(order: dict[str, Any]) -> list[list[Any]]:
    rows = [
        [moment(fill["filled_at"]), part["nodes"], moment(part["start"]), moment(part["end"]), price(fill["price"])]
        for fill in order["fills"]
        for part in fill["parts"]
    ]
    return [["FILLED (UTC)", "NODES", "START (UTC)", "END (UTC)", "PRICE"], *rows] if rows else []


def _blocks(order: dict[str, Any]) -> list[list[Any]]:
    rows = [
        [block["id"], block["nodes"], moment(block["end"]), usd(block["cost"]), len(block["machines"])]
        for block in order["blocks"]
    ]
    return [["ID", "NODES", "END (UTC)", "COST", "MACHINES"], *rows] if rows else []


def _trail(order: dict[str, Any]) -> list[list[Any]]:
    rows = [
        [deed["at"][:19].replace("T", " "), view.plain(deed["actor"]), deed["action"], _details(deed["details"])]
        for deed in order["trail"]
    ]
    return [["AT (UTC)", "WHO", "DID", "DETAILS"], *rows] if rows else []


def _details(details: dict[str, Any]) -> str:
    return view.plain(", ".join(f"{name} {value}" for name, value in details.items() if name != "parts")) or ""
