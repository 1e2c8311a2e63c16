"""The command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sandbox.starting import loopback, moment

_TEACHES = """
A small Stripe for machines that are not connected to the real one: customers, cards that decline, invoices that are
finalized and collected by themselves, credit notes, refunds, disputes, events and signed webhooks.

    python -m sandbox.stripe --data /tmp/stripe --port 8092

starts one in real time. The secret key that a client needs is then in /tmp/stripe/key:

    import stripe
    client = stripe.StripeClient(open("/tmp/stripe/key").read().strip(),
                                 base_addresses={"api": "http://127.0.0.1:8092"})
    customer = client.v1.customers.create({"name": "Ada", "payment_method": "pm_card_visa"})

A Stripe whose clock is moved by hand, for tests that drive a month, and that tells a server of every event:

    python -m sandbox.stripe --data /tmp/s2 --port 8093 --clock manual --start 2026-11-02T00:00Z \\
        --webhook-url http://127.0.0.1:8000/v1/stripe/webhook
    curl -d '{"seconds": 259200}' -H 'content-type: application/json' http://127.0.0.1:8093/sandbox/v1/advance

The endpoint's signing secret is then in /tmp/s2/webhook_secret. POST /sandbox/v1/faults makes it misbehave on demand;
GET /sandbox/v1 lists all controls. /sandbox needs no key, which is why the server only listens on the loopback
interface.

Everything lies under --data and survives a crash; start it again with the same folder and it goes on.
"""
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int = 8092
    port_file: Path | None = None
    key_file: Path | None = None
    clock: Literal["real", "manual"] = "real"
    start: float | None = None
    webhook_url: str | None = None
    webhook_secret_file: Path | None = None
    webhook_timeout: float = 10.0
    retry_days: tuple[int, ...] = (3, 5, 7)
    after_retries: Literal["leave", "uncollectible"] = "leave"
    idempotency_hours: float = 24.0

    @property
    def retry_seconds(self) -> tuple[int, ...]:
        return tuple(days * _DAY for days in self.retry_days)


def parse(arguments: Sequence[str] | None = None) -> Options:
    return Options(**vars(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.stripe", description=_TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of all that it keeps")
    parser.add_argument("--host", type=loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8092, help="0: one that is free")
    parser.add_argument("--port-file", type=Path, help="its port, written when it answers")
    parser.add_argument("--key-file", type=Path, help="the secret key; made if absent (default: DATA/key)")
    parser.add_argument(
        "--clock", choices=("real", "manual"), default="real", help="manual: only /sandbox/v1/advance moves it"
    )
    parser.add_argument("--start", type=moment, metavar="TIME", help="its time at its first start (default: now)")
    _add_webhooks(parser)
    _add_rules(parser)
    return parser


def _add_webhooks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--webhook-url", metavar="URL", help="an endpoint that is told every event")
    parser.add_argument(
        "--webhook-secret-file", type=Path, help="its signing secret; made if absent (default: DATA/webhook_secret)"
    )
    parser.add_argument(
        "--webhook-timeout", type=float, default=10.0, metavar="SECONDS", help="how long an endpoint may take (10)"
    )


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retry-days", type=_days, default=(3, 5, 7), metavar="3,5,7",
        help="days between the attempts to collect an invoice; empty: only one attempt",
    )  # fmt: skip
    parser.add_argument(
        "--after-retries", choices=("leave", "uncollectible"), default="leave",
        help="what becomes of an invoice when the last attempt has failed",
    )  # fmt: skip
    parser.add_argument(
        "--idempotency-hours", type=float, default=24.0, metavar="HOURS", help="how long a key is remembered (24)"
    )


def _days(text: str) -> tuple[int, ...]:
    try:
        days = tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of days like 3,5,7") from error
    if any(day < 1 for day in days):
        raise argparse.ArgumentTypeError("at least a day lies between two attempts")
    return days
