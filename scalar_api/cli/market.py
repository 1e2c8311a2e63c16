"""`scalar market`: what it costs, buying and selling, what is owned, and the stop switch."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from scalar_api.cli import orders as order_commands
from scalar_api.cli import show as view
from scalar_api.cli import trading
from scalar_api.cli.chart import chart
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json
from scalar_api.cli.orders import moment, pages, price, usd
from scalar_api.cli.trading import GpuType, SkuName, one_of

app = typer.Typer(no_args_is_help=True, help="The market, for operators: quotes, orders, blocks, prices, the switch.")
trading.register(app)


@app.command()
def orders(
    order: Annotated[
        str | None, typer.Argument(help="One order, with its fills and its trail.", metavar="[ORDER]")
    ] = None,
    state: order_commands.States = None,
    side: order_commands.OneSide = None,
    limit: order_commands.Limit = 20,
    json: Json = False,
) -> None:
    """List orders, newest first; or show one."""
    if order is not None:
        order_commands.show(order, json)
    else:
        order_commands.list_orders(state, side, limit, json)


@app.command()
def blocks(
    all: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    soon_hours: Annotated[int, typer.Option(help="Point out what ends within so many hours.", min=1)] = 72,
    limit: Annotated[int, typer.Option(help="How many, what ends first first.", min=1)] = 200,
    json: Json = False,
) -> None:
    """What is owned, what ends first first, with the machines on it."""
    found = pages(connect(operator=True), "/v1/blocks", limit, all=all, soon_hours=soon_hours)
    if json:
        view.as_json(found)
        return
    view.table(
        ["ID", "SKU", "NODES", "START (UTC)", "END (UTC)", "HOURS LEFT", "PRICE", "COST", "SOLD FOR", "MACHINES"],
        ([*_block_row(block)] for block in found),
        empty="Nothing is owned. `scalar market buy --gpu-type H100 --for 2h` buys something.",
    )


@app.command()
def prices(
    sku: SkuName = None,
    gpu_type: GpuType = None,
    hours: Annotated[int, typer.Option(help="How far back.", min=1)] = 168,
    json: Json = False,
) -> None:
    """What a node-hour was traded at, hour by hour, as a chart."""
    one_of(sku, gpu_type)
    answer = connect(operator=True).get("/v1/market/prices", sku=sku, gpu_type=gpu_type, hours=hours)
    if json:
        view.as_json(answer)
        return
    view.facts(_price_facts(answer))
    for line in chart(_points(answer["data"]), width=min(view.console.width, 160)):
        view.console.print(line, markup=False, no_wrap=True)


@app.command()
def status(json: Json = False) -> None:
    """Whether anything may be bought, what was spent, whether the books agree, the balance."""
    answer = connect(operator=True).get("/v1/market/status")
    if json:
        view.as_json(answer)
        return
    view.facts(_status_facts(answer))
    view.console.print()
    view.table(
        ["CAP", "DOLLARS", "USED", "LEFT"],
        (
            [f"per {cap['name']}".replace("per in", "in"), *map(usd, (cap["cap"], cap["used"], cap["left"]))]
            for cap in answer["caps"]
        ),
        empty="",
    )
    for finding in (answer["last_reconciliation"] or {}).get("findings", ()):
        view.console.print(f"\n[red]{finding['kind']}[/red]  {view.plain(finding['what'])}", soft_wrap=True)
        view.console.print(f"  {view.plain(finding['do'])}", soft_wrap=True)


@app.command()
def stop(
    reason: Annotated[str, typer.Argument(help="Why, for whoever wants to buy meanwhile.", metavar="REASON")],
    json: Json = False,
) -> None:
    """Let no order to buy go out. What the market has already is not cancelled: `scalar orders cancel` does that."""
    answer = connect(operator=True).post("/v1/market/stop", {"reason": reason})
    said = f"Buying is stopped by {answer['stopped_by']}: {answer['stop_reason']}"
    view.as_json(answer) if json else view.console.print(said, markup=False)


@app.command()
def resume(json: Json = False) -> None:
    """Let orders to buy go out again."""
    client = connect(operator=True)
    answer = client.post("/v1/market/resume")
    if json:
        view.as_json(answer)
        return
    why_not = client.get("/v1/market/status")["why_not"]
    view.console.print(f"The switch is off. {why_not or 'Orders go out again.'}", markup=False)


@app.command()
def accept(
    number: Annotated[int, typer.Argument(help="Of the line, as the finding names it.", metavar="NUMBER", min=1)],
    why: Annotated[str, typer.Argument(help="What it is for.", metavar="WHY")],
    json: Json = False,
) -> None:
    """Answer for a charge of the market's that is of no order of ours, so that it stops no purchase any more."""
    answer = connect(operator=True).post(f"/v1/market/statement/{number}/accept", {"why": why})
    said = f"Accepted by {answer['accepted_by']}: {answer['why']}. The next comparison of the books leaves it out."
    view.as_json(answer) if json else view.console.print(said, markup=False)


def _block_row(block: dict[str, Any]) -> list[Any]:
    live = [each for each in block["machines"] if each["state"] != "ended"]
    names = ", ".join(view.plain(each["node"] or each["state"]) or "" for each in live)
    return [
        block["id"],
        view.plain(block["sku_alias"]),
        block["nodes"],
        moment(block["start"]),
        moment(block["end"]),
        f"{block['hours_left']}{' [yellow](ends soon)[/yellow]' if block['ends_soon'] else ''}",
        price(block["price"]),
        usd(block["cost"]),
        usd(block["proceeds"]) if Decimal(block["sold_node_hours"]) else None,
        names,
    ]


def _price_facts(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    traded = [hour for hour in answer["data"] if hour["average"] is not None]
    return [
        ("Kind", f"{view.plain(answer['sku_alias'])} ({answer['gpus_per_node']} x {view.plain(answer['gpu_type'])})"),
        ("Usual price", price(answer["usual_price"])),
        ("Last", f"{price(traded[-1]['average'])} at {moment(traded[-1]['hour'])} UTC" if traded else None),
        ("Hours", f"{len(traded)} with trades, of {len(answer['data'])} looked at"),
    ]


def _points(hours: list[dict[str, Any]]) -> list[tuple[datetime, float | None]]:
    """One for every hour from the first to the last: those that nobody looked at, too."""
    averages = {datetime.fromisoformat(hour["hour"]): hour["average"] for hour in hours}
    if not averages:
        return []
    first, last = min(averages), max(averages)
    every = [first + timedelta(hours=number) for number in range((last - first) // timedelta(hours=1) + 1)]
    return [(hour, float(averages[hour]) if averages.get(hour) is not None else None) for hour in every]


def _status_facts(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    last, balance = answer["last_reconciliation"], answer["balance"]
    books = (
        f"{'agree' if last['agrees'] else '[red]differ[/red]'}, {view.ago(last['at'])}" if last else "never compared"
    )
    return [
        ("Market", view.plain(answer["url"]) or "none is configured"),
        (
            "Buying",
            "[green]allowed[/green]" if answer["may_buy"] else f"[red]stopped[/red]  {view.plain(answer['why_not'])}",
        ),
        ("Plans", "dry run: shown, and not executed" if answer["dry_run"] else "executed"),
        ("Books", books),
        (
            "Balance",
            f"{usd(balance['available'])} available of {usd(balance['current'])}"
            if balance
            else view.plain(answer["balance_problem"]),
        ),
        ("Approval", f"above {usd(answer['approval_above'])} an order"),
        (
            "Highest limit",
            f"{price(answer['highest_price'])} per node-hour, {answer['highest_price_ratio']} x the usual price",
        ),
    ]
