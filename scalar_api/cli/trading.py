"""`scalar market quote`, `buy`, `sell`: what is shown is what is then ordered."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from scalar_api.cli import orders
from scalar_api.cli import show as view
from scalar_api.cli.client import REFUSED, Client, connect, error_console, fail
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import moment, price, usd

SkuName = Annotated[str | None, typer.Option("--sku", help="A kind of machine, by id or alias; or say --gpu-type.")]
GpuType = Annotated[str | None, typer.Option(help="Such as H100.")]
Nodes = Annotated[int, typer.Option(help="Whole machines.", min=1)]
Start = Annotated[str | None, typer.Option(help="UTC, such as `2026-12-01T08:00`; the next minute, if left out.")]
For = Annotated[str, typer.Option("--for", help="How long: `90m`, `12h`, `2d`.")]
LimitPrice = Annotated[str | None, typer.Option(help="Dollars per node-hour; the quote with 5 % of room, if left out.")]
Standing = Annotated[bool, typer.Option("--standing", help="Wait in the book for what is not there now.")]
Partial = Annotated[bool, typer.Option("--partial", help="Fewer nodes, or a part of the time, will do.")]
Purpose = Annotated[str | None, typer.Option(help="Why, for whoever looks at it later.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; 0 where it has filled, 1 otherwise.")]
Key = Annotated[str | None, typer.Option(help="The same key twice is one order.")]


def register(app: typer.Typer) -> None:
    app.command()(quote)
    example = "`scalar market buy --gpu-type H100 --nodes 2 --for 4h --wait`"
    app.command("buy")(_placing("buy", f"Buy nodes for a while. Example: {example}."))
    selling = "Sell what is owned and idle. The nodes that it takes do no work until it is decided."
    app.command("sell")(_placing("sell", selling))


def quote(
    sku: SkuName = None,
    gpu_type: GpuType = None,
    nodes: Nodes = 1,
    start: Start = None,
    duration: For = "1h",
    side: Annotated[str, typer.Option(help="`buy` or `sell`.")] = "buy",
    json: Json = False,
) -> None:
    """What the market would take, or give, now. Nothing is ordered."""
    asked = _asked(side, sku, gpu_type, nodes, start, duration)
    answer = connect(operator=True).get("/v1/market/quote", **asked)
    view.as_json(answer) if json else view.facts(_quote_facts(answer))


def _placing(side: str, about: str) -> Callable[..., None]:
    """The command that places an order of this side; `about` is its help."""

    def place(
        sku: SkuName = None,
        gpu_type: GpuType = None,
        nodes: Nodes = 1,
        start: Start = None,
        duration: For = "1h",
        limit_price: LimitPrice = None,
        standing: Standing = False,
        partial: Partial = False,
        purpose: Purpose = None,
        idempotency_key: Key = None,
        yes: Yes = False,
        wait: Wait = False,
        json: Json = False,
    ) -> None:
        asked = _asked(side, sku, gpu_type, nodes, start, duration)
        body = {"allow_standing": standing, "allow_partial": partial, **({"purpose": purpose} if purpose else {})}
        _order(asked, limit_price, body, key=idempotency_key, yes=yes, wait=wait, json=json)

    place.__doc__ = about
    return place


def one_of(sku: str | None, gpu_type: str | None) -> None:
    if (sku is None) == (gpu_type is None):
        fail("say one of --sku and --gpu-type.", 2)


def _order(
    asked: dict[str, Any],
    limit_price: str | None,
    body: dict[str, Any],
    *,
    key: str | None,
    yes: bool,
    wait: bool,
    json: bool,
) -> None:
    client = connect(operator=True)
    limit = _dollars(limit_price) if limit_price is not None else None
    body |= {**asked, "limit_price": str(limit) if limit is not None else None}
    if not yes:
        body |= _confirmed(client, asked, limit)
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    order = client.post("/v1/orders", {name: value for name, value in body.items() if value is not None}, headers)
    if wait:
        orders.follow(client, order["id"], json=json)
    if json:
        view.as_json(order)
        return
    said = f": {order['message']} Approve it with: scalar orders approve {order['id']}" if order["message"] else "."
    view.console.print(f"{order['id']} is {order['state']}{said} Follow it: scalar orders show {order['id']}")


def _confirmed(client: Client, asked: dict[str, Any], limit: Decimal | None) -> dict[str, Any]:
    """What the order then says: the kind of machine and the limit that were shown. Ends the command at a no."""
    answer = client.get("/v1/market/quote", **asked)
    limit = limit if limit is not None else _limit_of(answer)
    sale = asked["side"] == "sell"
    view.facts(_quote_facts(answer), to=error_console)
    total = limit * asked["nodes"] * asked["duration_minutes"] / 60
    verb, bound = ("Sell", "at least") if sale else ("Buy", "at most")
    question = f"{verb} {asked['nodes']} node(s) at {bound} {price(limit)} per node-hour: {usd(total)} in all?"
    typer.confirm(question, abort=True, err=True)
    named = {"sku": answer["sku"], "gpu_type": None} if answer["sku"] else {}
    return {**named, "limit_price": str(limit)}


def _limit_of(answer: dict[str, Any]) -> Decimal:
    if answer["limit_price"] is None:
        verb = "buys" if answer["side"] == "sell" else "sells"
        fail(f"nobody {verb} that now ({answer['reason']}): say --limit-price, and --standing to wait for it.", REFUSED)
    return Decimal(answer["limit_price"])


def _asked(
    side: str, sku: str | None, gpu_type: str | None, nodes: int, start: str | None, duration: str
) -> dict[str, Any]:
    one_of(sku, gpu_type)
    if side not in ("buy", "sell"):
        fail(f"--side: {side!r} is neither buy nor sell.", 2)
    return {
        "side": side,
        "sku": sku,
        "gpu_type": gpu_type,
        "nodes": nodes,
        "start": _start(start) if start is not None else None,
        "duration_minutes": _minutes(duration),
    }


def _minutes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not match:
        fail(f"--for: {text!r} is no time; say 90m, 12h or 2d.", 2)
    return int(match[1]) * {"m": 1, "h": 60, "d": 1440}[match[2]]


def _start(text: str) -> str:
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--start: {text!r} is no time; say 2026-12-01T08:00 (UTC).", 2)
    return (start if start.tzinfo else start.replace(tzinfo=UTC)).isoformat()


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        fail(f"--limit-price: {text!r} is no price; say dollars per node-hour, such as 12.50.", 2)
    return amount


def _quote_facts(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    usual = answer["to_usual"] and f"{price(answer['usual_price'])} (this is {Decimal(answer['to_usual']):.0%} of it)"
    cost = f"{price(answer['price'])} per node-hour" if answer["available"] else f"none now ({answer['reason']})"
    kind = answer["sku_alias"] or answer["gpu_type"]
    return [
        ("Kind", f"{answer['nodes']} x {view.plain(kind)} ({view.plain(answer['gpu_type'])})"),
        ("Window", f"{moment(answer['start'])} to {moment(answer['end'])} UTC"),
        ("Price", cost),
        ("Usual price", usual),
        ("Total", usd(answer["total"])),
        ("Fee", usd(answer["fee"])),
        ("Default limit", answer["limit_price"] and f"{price(answer['limit_price'])} ({usd(answer['worst_case'])})"),
        *(("Notice", view.plain(notice)) for notice in answer["notices"]),
    ]
