"""The `scalar` command: for customers, for operators, and `scalar up` for one machine.

Exit codes: 0 done, 1 the job failed without a code of its own, 2 the command line was wrong, 3 the API refused,
4 the API can't be reached, 130 cancelled. `submit --wait` and `submit --follow` end with the job's own exit code.
"""

import typer

from scalar_api.cli import (
    admin,
    capacity,
    coupons,
    demo,
    invoices,
    jobs,
    margin,
    market,
    nodes,
    orders,
    payments,
    periods,
    rates,
    replay,
    up,
    usage,
    wallets,
    webhooks,
)

app = typer.Typer(
    name="scalar",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Run GPU container jobs, and look after the machines that run them.

First steps on one machine: `scalar up`, then in another terminal
`scalar submit --follow busybox:1.37 -- echo hello`.

The API and the key are found in `SCALAR_API_URL` and `SCALAR_API_KEY`, or else in the data folder of a local
`scalar up` (`.scalar/`, or `SCALAR_DATA`).""",
)

up.register(app)
app.add_typer(demo.app, name="demo")
jobs.register(app)
margin.register(app)
replay.register(app)
nodes.register(app)
capacity.register(app)
wallets.register(app)
usage.register(app)
app.add_typer(admin.app, name="admin")
app.add_typer(market.app, name="market")
app.add_typer(orders.app, name="orders")
app.add_typer(rates.app, name="rates")
app.add_typer(coupons.app, name="coupons")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(wallets.app, name="billing")
payments.register_refund(invoices.app)
app.add_typer(invoices.app, name="invoices")
app.add_typer(payments.app, name="payments")
app.add_typer(periods.app, name="periods")
