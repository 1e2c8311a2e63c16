"""The command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from sandbox.starting import loopback, moment

_TEACHES = """
A market to trade GPU nodes on, for machines that are not connected to the real one: SFCompute's HTTP API (preview v2,
with v1's balances and v0's quote), a matching engine, providers and other buyers with a price that moves, and
machines that are local processes.

    python -m sandbox.market --data /tmp/market --port 8090

starts one in real time. The token that a client needs is then in /tmp/market/token, and

    curl -H "Authorization: Bearer $(cat /tmp/market/token)" http://127.0.0.1:8090/preview/v2/pools

lists the pools. A market whose clock is moved by hand, for tests that drive a week:

    python -m sandbox.market --data /tmp/m2 --port 8091 --clock manual --start 2026-11-02T00:00Z --machines none
    curl -d '{"advance_seconds": 604800}' -H 'content-type: application/json' http://127.0.0.1:8091/sandbox/clock

What the real market leaves open is a rule: --rule execution=midpoint --rule fill_latency=2 (GET /sandbox/rules lists
them all). POST /sandbox/faults makes the market misbehave on demand. /sandbox needs no token, which is why the server
only ever listens on the loopback interface.

Everything lies under --data and survives a crash; start it again with the same folder and it goes on.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int = 8090
    port_file: Path | None = None
    token_file: Path | None = None
    clock: Literal["real", "manual"] = "real"
    start: float | None = None
    speed: float = 1.0
    tick: int = 60
    seed: str = "sandbox"
    balance: int = 10_000_000_000
    """µ$"""
    traders: bool = True
    prices: tuple[tuple[str, Path], ...] = ()
    machines: Literal["agent", "none"] = "agent"
    machine_runtime: Literal["auto", "docker", "process"] = "auto"
    machine_cpus: float | None = None
    machine_memory_gib: float | None = None
    machine_api: str | None = None
    rules: Path | None = None
    rule: tuple[str, ...] = ()


def parse(arguments: Sequence[str] | None = None) -> Options:
    given = vars(_parser().parse_args(arguments))
    manual = given["clock"] == "manual"
    given["tick"] = given["tick"] or (300 if manual else 60)
    given["speed"] = 0.0 if manual else given["speed"]
    return Options(**{**given, "prices": tuple(given["prices"]), "rule": tuple(given["rule"])})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.market", description=_TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of all that it keeps")
    parser.add_argument("--host", type=loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8090, help="0: one that is free")
    parser.add_argument("--port-file", type=Path, help="its port, written when it answers")
    parser.add_argument("--token-file", type=Path, help="the customer's token; made if absent (default: DATA/token)")
    _add_time(parser)
    _add_traders(parser)
    _add_machines(parser)
    parser.add_argument("--rules", type=Path, metavar="FILE.toml", help="a table of rules")
    parser.add_argument("--rule", action="append", default=[], metavar="NAME=VALUE", help="one rule; wins over --rules")
    return parser


def _add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clock", choices=("real", "manual"), default="real", help="manual: only /sandbox/clock moves it"
    )
    parser.add_argument(
        "--start", type=moment, metavar="TIME", help="the market's time at its first start (default: now)"
    )
    parser.add_argument("--speed", type=_speed, default=1.0, help="market seconds per real second (real clock)")
    parser.add_argument(
        "--tick", type=_tick, metavar="SECONDS", help="traders and automation act so often (60; manual: 300)"
    )


def _add_traders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--balance", type=_dollars, default="10000.00", metavar="DOLLARS", help="the customer's first money"
    )
    parser.add_argument("--seed", default="sandbox", help="of prices, traders and faults")
    parser.add_argument(
        "--no-traders", dest="traders", action="store_false", help="an empty book: only customers trade"
    )
    parser.add_argument(
        "--prices", type=_prices, action="append", default=[], metavar="H100=FILE.csv",
        help="real prices: columns ts and mean, $/GPU-hour",
    )  # fmt: skip


def _add_machines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machines", choices=("agent", "none"), default="agent",
        help="agent: an instance that runs is a local process of the node agent; none: it is only a row",
    )  # fmt: skip
    parser.add_argument(
        "--machine-runtime", choices=("auto", "docker", "process"), default="auto", help="what runs its tasks"
    )
    parser.add_argument("--machine-cpus", type=float, metavar="N", help="CPUs a machine declares (default: all)")
    parser.add_argument(
        "--machine-memory-gib", type=float, metavar="N", help="memory a machine declares (default: all)"
    )
    parser.add_argument(
        "--machine-api", metavar="URL",
        help="where agents find the platform, if it has moved since their user data was written",
    )  # fmt: skip


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed <= 100_000:
        raise argparse.ArgumentTypeError("the speed is above 0; --clock manual stops the clock")
    return speed


def _tick(text: str) -> int:
    tick = int(text)
    if tick <= 0 or tick % 60:
        raise argparse.ArgumentTypeError("a tick is a whole number of minutes")
    return tick


def _dollars(text: str) -> int:
    try:
        return int(Decimal(text) * 1_000_000)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount like 10000.00") from error


def _prices(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not H100=FILE.csv")
    return name, Path(path)
