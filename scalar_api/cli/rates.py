"""`scalar rates`: what a GPU-second costs whom; for operators."""

import json as json_text
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect, fail
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import moment

app = typer.Typer(no_args_is_help=True, help="Rate cards, for operators: list, set, withdraw.")
Organisation = Annotated[str | None, typer.Option(help="Its id or name; if left out, the default.")]
Dollars = Annotated[str | None, typer.Option(help="Dollars per GPU-hour.")]


@app.command(name="list")
def list_cards(json: Json = False) -> None:
    """List rate cards, newest first; the built-in prices come last."""
    found = connect(operator=True).get("/v1/rate-cards")
    if json:
        view.as_json(found)
        return
    view.table(
        ["ID", "NAME", "ORGANISATION", "FROM (UTC)", "UNTIL (UTC)", "GPU TYPE", "TIER", "PRICE"],
        (row for card in found["data"] for row in _rows(card)),
        empty="No rate cards.",
    )


@app.command(name="set")
def set_card(
    file: Annotated[
        Path | None, typer.Argument(help="A card as JSON, as `POST /v1/rate-cards` takes it; `-`: standard input.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    organisation: Organisation = None,
    gpu_type: Annotated[str, typer.Option(help="What the prices are for.")] = "*",
    fast: Dollars = None,
    flex: Dollars = None,
    discount: Annotated[
        str | None, typer.Option(help="Percent off every price, in place of the default card's discount.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="A full hour, such as 2026-12-01T00:00Z.")] = None,
    json: Json = False,
) -> None:
    """Set prices, from an hour on: flat ones with `--fast` and `--flex`, any others from a file."""
    flat = {"fast": fast, "flex": flex}
    prices = [
        {"gpu_type": gpu_type, "tier": tier, "price": {"model": "flat", "per_gpu_hour": price}}
        for tier, price in flat.items()
        if price is not None
    ]
    options = {"name": name, "organisation": organisation, "effective_from": start}
    body = (
        _read(file) if file else {**options, "name": name or "Prices", "discount_percent": discount, "prices": prices}
    )
    card = connect(operator=True).post("/v1/rate-cards", body)
    if json:
        view.as_json(card)
        return
    whose = card["organisation_id"] or "everybody without a card of their own"
    view.console.print(f"{card['id']} holds from {moment(card['effective_from'])} UTC for {whose}.")


@app.command()
def withdraw(card: Annotated[str, typer.Argument(help="Its id.")], json: Json = False) -> None:
    """Take back a card that is yet to begin; the one that it would have ended holds on."""
    withdrawn = connect(operator=True).post(f"/v1/rate-cards/{card}/withdraw")
    view.as_json(withdrawn) if json else view.console.print(f"{withdrawn['id']} is withdrawn.")


def _read(file: Path) -> Any:
    try:
        return json_text.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}", 2)


def _rows(card: dict[str, Any]) -> list[list[Any]]:
    head = [
        card["id"],
        view.plain(card["name"]),
        card["organisation_id"] or "everybody",
        moment(card["effective_from"]),
        "withdrawn" if card["withdrawn_at"] else moment(card["effective_until"]),
    ]
    rows = [[view.plain(each["gpu_type"]), each["tier"], view.plain(_told(each["price"]))] for each in card["prices"]]
    extras = _extras(card)
    rows += [["", "", extras]] if extras or not rows else []
    return [[*(head if number == 0 else [""] * len(head)), *row] for number, row in enumerate(rows)]


def _told(price: dict[str, Any]) -> str:
    match price["model"]:
        case "flat":
            return f"{_hourly(price['per_gpu_second'])} per GPU-hour"
        case "package":
            return f"${price['price']} per {price['gpu_seconds']} GPU-seconds"
        case "market":
            return f"market + {price['margin_percent']}%, at most {_hourly(price['cap_per_gpu_second'])} per GPU-hour"
        case kind:
            parts = [_hourly(each["per_gpu_second"]) + _until(each["up_to"]) for each in price["brackets"]]
            return f"{kind}: {', '.join(parts)} per GPU-hour"


def _until(up_to: str | None) -> str:
    return f" up to {up_to} s" if up_to else ""


def _extras(card: dict[str, Any]) -> str:
    told = [
        f"{_plain(card['discount_percent'])}% off" if _says(card, "discount_percent") else "",
        f"{_plain(card['free_gpu_seconds'])} GPU-seconds free a month" if _says(card, "free_gpu_seconds") else "",
        f"at least ${_plain(card['minimum_commitment'])} a month" if Decimal(card["minimum_commitment"]) else "",
    ]
    return ", ".join(each for each in told if each)


def _says(card: dict[str, Any], name: str) -> bool:
    """An organisation's zero is in place of what the default card has."""
    return card[name] is not None and (card["organisation_id"] is not None or Decimal(card[name]) != 0)


def _hourly(per_second: str) -> str:
    return f"${Decimal(per_second) * 3600:,.4f}"


def _plain(number: str) -> str:
    return f"{Decimal(number).normalize():f}"
