"""`scalar market` and `scalar orders` as an operator types them."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from scalar.market import reconciliations, store
from scalar.market.model import Sku
from scalar.market.reconciling import Finding, Kind
from tests.api.conftest import Api
from tests.api.trading import H100, Trading, a_minute
from tests.made_up import a_block

SCALAR = Path(sys.executable).parent / "scalar"
DONE, NOT_FILLED, USAGE, REFUSED = 0, 1, 2, 3
Run = Callable[..., subprocess.CompletedProcess[str]]


def _command(api: Api) -> Run:
    key = api.operator().headers["authorization"].removeprefix("Bearer ")

    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
        return subprocess.run(
            [SCALAR, *arguments],
            env={**inherited, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key, "COLUMNS": "200"},
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def run(api: Api) -> Run:
    return _command(api)


@pytest.fixture
def scalar(trading: Trading) -> Run:
    """Beside a market."""
    return _command(trading.api)


def test_a_quote_is_shown(scalar: Run) -> None:
    shown = scalar("market", "quote", "--gpu-type", "H100", "--nodes", "2", "--for", "90m")
    assert shown.returncode == DONE, shown.stderr
    assert "2 x sea-3-h100 (H100)" in shown.stdout
    assert re.search(r"Total +\$\d", shown.stdout)
    quote = json.loads(scalar("market", "quote", "--sku", H100, "--for", "90m", "--json").stdout)
    assert Decimal(quote["total"]) == Decimal(quote["price"]) * Decimal("1.5")


def test_buy_shows_the_total_and_asks(scalar: Run, trading: Trading) -> None:
    no = scalar("market", "buy", "--gpu-type", "H100", "--for", "2h", answer="n\n")
    assert no.returncode == 1
    assert "Buy 1 node(s) at at most" in no.stderr
    assert trading.operator.get("/v1/orders").json()["data"] == []
    yes = scalar("market", "buy", "--gpu-type", "H100", "--for", "2h", "--json", answer="y\n")
    assert yes.returncode == DONE, yes.stderr
    order = json.loads(yes.stdout)
    assert f"${Decimal(order['worst_case']):,.2f} in all?" in yes.stderr
    assert (order["sku"], order["state"]) == (H100, "intended")


def test_buy_wait_follows_to_the_end(scalar: Run, trading: Trading) -> None:
    stop = threading.Event()

    def sensor() -> None:
        while not stop.wait(0.2):
            trading.tick()

    thread = threading.Thread(target=sensor)
    thread.start()
    try:
        filled = scalar("market", "buy", "--sku", H100, "--for", "1h", "--yes", "--wait")
        hopeless = scalar("market", "buy", "--sku", H100, "--for", "1h", "--limit-price", "0.5", "--yes", "--wait")
    finally:
        stop.set()
        thread.join()
    assert filled.returncode == DONE, filled.stderr
    assert "is filled" in filled.stderr
    assert re.fullmatch(r"paid \$\d+\.\d\d in \d+ fill\(s\)\n", filled.stdout)
    assert (hopeless.returncode, hopeless.stdout) == (NOT_FILLED, "")
    assert "is cancelled" in hopeless.stderr


def test_an_order_that_waits_says_how_to_approve_it(scalar: Run) -> None:
    order = ("--sku", H100, "--nodes", "13", "--for", "2h", "--limit-price", "20", "--yes")
    waits = scalar("market", "buy", *order)
    assert waits.returncode == DONE, waits.stderr
    order_id, command = re.search(r"(order_\w+) is proposed.*(scalar orders approve \w+)", waits.stdout).groups()
    assert command.endswith(order_id)
    assert "is approved (intended)" in scalar("orders", "approve", order_id).stdout
    assert f"{order_id} is withdrawn" in scalar("orders", "cancel", order_id).stdout


def test_orders_are_listed_and_one_is_shown_with_its_story(scalar: Run, trading: Trading) -> None:
    order_id = trading.bought(purpose="[bold]not markup[/bold]")["id"]
    trading.placed(limit_price="12")
    for command in (("orders", "list"), ("market", "orders")):
        listed = scalar(*command, "--state", "filled")
        assert (listed.stdout.count("order_"), order_id in listed.stdout) == (1, True)
    assert len(json.loads(scalar("orders", "list", "--json").stdout)) == 2
    for command in (("orders", "show"), ("market", "orders")):
        shown = scalar(*command, order_id).stdout
        for text in ("filled", "[bold]not markup[/bold]", "Fills", "Blocks", "Trail", "order.fill"):
            assert text in shown
    assert json.loads(scalar("orders", "show", "--json", order_id).stdout)["id"] == order_id


def test_what_the_guards_refuse_is_said_with_their_reason(scalar: Run) -> None:
    refused = scalar("market", "buy", "--sku", H100, "--limit-price", "41", "--yes")
    assert (refused.returncode, refused.stdout) == (REFUSED, "")
    assert "above the platform's own, $40.00" in refused.stderr
    nothing = scalar("market", "buy", "--sku", H100, "--nodes", "1000", answer="y\n")
    assert nothing.returncode == REFUSED
    assert "nobody sells that now (no_availability): say --limit-price" in nothing.stderr


def test_blocks_are_listed_with_what_ends_soon(run: Run, api: Api) -> None:
    assert "Nothing is owned" in run("market", "blocks").stdout
    with api.database.transaction() as tx:
        soon, _ = a_block(tx, start=a_minute(), hours=5, price="12.5")
        late, _ = a_block(tx, start=a_minute(), hours=200)
        over, _ = a_block(tx, start=a_minute(timedelta(hours=-9)))
    lines = run("market", "blocks").stdout.splitlines()
    assert [late in lines[2], soon in lines[1], "(ends soon)" in lines[1], "(ends soon)" in lines[2]] == [
        True,
        True,
        True,
        False,
    ]
    assert "$62.50" in lines[1]
    assert over in run("market", "blocks", "--all").stdout
    assert len(json.loads(run("market", "blocks", "--json").stdout)) == 2


def test_prices_are_a_chart(run: Run, api: Api) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with api.database.transaction() as tx:
        store.upsert_skus(tx, [Sku(id=H100, alias="sea-3-h100", gpu_type="H100", gpus_per_node=8)], now)
        for hour in range(48):
            tx.execute(
                """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
                   values (%s, %s, 1, 1, %s, %s, %s)""",
                [H100, now - timedelta(hours=hour), *[10 + hour / 10] * 3],
            )
    shown = run("market", "prices", "--gpu-type", "H100").stdout
    assert "sea-3-h100 (8 x H100)" in shown
    assert "48 with trades, of 48 looked at" in shown
    assert "$14.70 ┤█" in shown
    assert len(json.loads(run("market", "prices", "--sku", H100, "--json").stdout)["data"]) == 48


def test_status_stop_and_resume(run: Run, api: Api) -> None:
    stopped = run("market", "stop", "a bad day")
    assert (stopped.returncode, stopped.stdout.endswith("a bad day\n")) == (DONE, True)
    assert json.loads(run("market", "status", "--json").stdout)["stop_reason"] == "a bad day"
    finding = Finding(kind=Kind.MONEY_DIFFERS, what="It is [$5] short.", do="Look.")
    with api.database.transaction() as tx:
        reconciliations.record(tx, [finding], {}, datetime.now(UTC))
    shown = run("market", "status").stdout
    for text in ("none is configured", "dry run", "differ", "per hour", "in all", "$10,000.00", "It is [$5] short."):
        assert text in shown
    assert "The switch is off." in run("market", "resume").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("buy",), "say one of --sku and --gpu-type"),
        (("buy", "--sku", "x", "--gpu-type", "y"), "say one of --sku and --gpu-type"),
        (("buy", "--sku", "x", "--for", "soon"), "say 90m, 12h or 2d"),
        (("buy", "--sku", "x", "--start", "soon"), "say 2026-12-01T08:00"),
        (("buy", "--sku", "x", "--limit-price", "cheap"), "is no price"),
        (("buy", "--sku", "x", "--limit-price", "NaN"), "is no price"),
        (("buy", "--sku", "x", "--nodes", "0"), "--nodes"),
        (("quote", "--sku", "x", "--side", "both"), "neither buy nor sell"),
        (("prices",), "say one of --sku and --gpu-type"),
        (("stop",), "REASON"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_command_line_is_said_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [SCALAR, "market", *arguments],
        env={**os.environ, "SCALAR_API_URL": "http://127.0.0.1:9", "SCALAR_API_KEY": "sk_operator_x", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
