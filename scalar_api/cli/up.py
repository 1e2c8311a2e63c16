"""`scalar up`: the whole platform on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(up)


def up(
    data: Annotated[Path, typer.Option(help="Where everything is kept.", envvar="SCALAR_DATA")] = Path(".scalar"),
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8000,
    dagster_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's webserver.")] = 3000,
    market: Annotated[
        bool, typer.Option(help="Buy nodes on a sandbox market; without it, this machine is the only node.")
    ] = True,
    gpus: Annotated[int, typer.Option(help="GPUs that a node without a market declares.", min=1, max=64)] = 8,
    database_url: Annotated[
        str | None, typer.Option(help="A Postgres of your own, instead of the embedded one.", envvar="SCALAR_UP_DB")
    ] = None,
    runtime: Annotated[str, typer.Option(help="`auto`, `docker` or `process`.")] = "auto",
    sample: Annotated[bool, typer.Option(help="Run a sample job once everything is up.")] = True,
    once: Annotated[bool, typer.Option("--once", help="Stop after the sample job, with its outcome.")] = False,
) -> None:
    """Start the whole platform here: Postgres, the API, Dagster, a sandbox market, and the node that it buys there.

    Ctrl-C stops it; the data stays.
    """
    # Half a second of imports, which no other command is to pay.
    from scalar_api.up.platform import Options  # noqa: PLC0415
    from scalar_api.up.session import run  # noqa: PLC0415

    options = Options(
        data=data,
        api_port=api_port,
        dagster_port=dagster_port,
        gpus=gpus,
        database_url=database_url,
        runtime=runtime,
        market=market,
    )
    sys.exit(run(options, sample=sample, once=once))
