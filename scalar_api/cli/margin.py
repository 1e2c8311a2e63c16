"""`scalar margin`: what a job earned. For operators."""

from typing import Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import JobId, Json


def register(app: typer.Typer) -> None:
    app.command()(margin)


def margin(job: JobId, json: Json = False) -> None:
    """Show what a job brought, what its nodes really cost, and what is left."""
    found = connect(operator=True).get(f"/v1/jobs/{job}/margin")
    if json:
        view.as_json(found)
        return
    view.facts(
        [
            ("Job", f"{found['job_id']}  ({'exact' if found['exact'] else 'provisional'})"),
            ("Revenue", view.dollars(found["revenue"])),
            ("Cost", view.dollars(found["cost"])),
            ("Idle time", view.dollars(found["idle_cost"])),
            ("Margin", shown(found)),
            ("GPU seconds", found["gpu_seconds"]),
            ("Not bought", not_bought(found)),
        ]
    )
    view.table(
        ["BLOCK", "ORDER", "$ PER NODE-HOUR", "GPU SECONDS"],
        ([each["block_id"], each["order_id"], each["price"], each["gpu_seconds"]] for each in found["nodes"]),
        empty="It used no node that was bought.",
    )


def shown(found: dict[str, Any]) -> str:
    """`$0.01 before idle time, -$2.10 with it`."""
    percent = f" ({found['margin_percent']} %)" if found["margin_percent"] is not None else ""
    with_idle = f"{view.dollars(found['margin'])}{percent} with it"
    return f"{view.dollars(found['margin_before_idle'])} before idle time, {with_idle}"


def not_bought(found: dict[str, Any]) -> str | None:
    if not float(found["gpu_seconds_not_bought"]):
        return None
    return f"{found['gpu_seconds_not_bought']} GPU seconds on nodes that were not bought: they cost nothing here"
