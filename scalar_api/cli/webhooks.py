"""`scalar webhooks`: endpoints that events are sent to, what became of the deliveries, replays."""

from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json

app = typer.Typer(no_args_is_help=True, help="Be told of what happens to your jobs and invoices, by HTTP.")

Endpoint = Annotated[str, typer.Argument(help="Its id, as `scalar webhooks list` shows it.", metavar="ENDPOINT")]
Events = Annotated[
    list[str] | None, typer.Option("--event", help="Only these, such as job.failed or `invoice.*`. Repeatable.")
]
Limit = Annotated[int, typer.Option(help="How many.", min=1, max=200)]


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="https://…, at a public address.", metavar="URL")],
    event: Events = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    json: Json = False,
) -> None:
    """Have events sent to a URL, and show the secret that its signatures are verified with: this once."""
    body = {"url": url, "event_types": event or [], "description": description}
    made = connect().post("/v1/webhook-endpoints", body)
    _with_secret(made, json)


@app.command("list")
def list_(json: Json = False) -> None:
    """Show your endpoints."""
    found = connect().get("/v1/webhook-endpoints", limit=200)
    if json:
        view.as_json(found)
        return
    view.table(
        ["ENDPOINT", "STATE", "EVENTS", "URL"],
        (
            [each["id"], _state(each), view.plain(", ".join(each["event_types"]) or "all"), view.plain(each["url"])]
            for each in found["data"]
        ),
        empty="No endpoints: `scalar webhooks add https://…` makes one.",
    )


@app.command("change")
def change(
    endpoint: Endpoint,
    url: Annotated[str | None, typer.Option(help="Send to this one from now on.")] = None,
    event: Events = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Every type of event again.")] = False,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it is sent to.")] = None,
    json: Json = False,
) -> None:
    """Change an endpoint; what is not named stays."""
    body = {"url": url, "event_types": [] if all_events else event, "enabled": enable}
    changed = connect().post(f"/v1/webhook-endpoints/{endpoint}", body)
    if json:
        view.as_json(changed)
        return
    view.console.print(f"{endpoint} is changed: {_state(changed)}.")


@app.command("delete")
def delete(endpoint: Endpoint) -> None:
    """Delete an endpoint, with what waits for it."""
    connect().delete(f"/v1/webhook-endpoints/{endpoint}")
    view.console.print(f"{endpoint} is deleted.")


@app.command("rotate")
def rotate(endpoint: Endpoint, json: Json = False) -> None:
    """Make a new secret; the former one signs for a day more."""
    _with_secret(connect().post(f"/v1/webhook-endpoints/{endpoint}/rotate"), json)


@app.command("ping")
def ping(endpoint: Endpoint, json: Json = False) -> None:
    """Send a test event; `scalar webhooks deliveries` shows what became of it."""
    sent = connect().post(f"/v1/webhook-endpoints/{endpoint}/ping")
    if json:
        view.as_json(sent)
        return
    view.console.print(f"{sent['id']} is on its way.")


@app.command("events")
def events(
    type: Annotated[str | None, typer.Option(help="Such as job.failed; all, if left out.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Show what happened in the last 30 days."""
    found = connect().get("/v1/webhook-events", type=type, limit=limit)
    if json:
        view.as_json(found)
        return
    view.table(
        ["EVENT", "TYPE", "SUBJECT", "WHEN"],
        (
            [each["id"], each["type"], view.plain(_subject(each["data"])), view.ago(each["timestamp"])]
            for each in found["data"]
        ),
        empty="Nothing happened in the last 30 days.",
    )


@app.command("deliveries")
def deliveries(
    endpoint: Annotated[str | None, typer.Option(help="Only to this one.")] = None,
    event: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Show what was sent, and how the last try of each ended."""
    found = connect().get("/v1/webhook-deliveries", endpoint_id=endpoint, event_id=event, state=state, limit=limit)
    if json:
        view.as_json(found)
        return
    view.table(
        ["DELIVERY", "EVENT", "TYPE", "STATE", "TRIES", "STATUS", "TRIED", "WHY"],
        (_row(each) for each in found["data"]),
        empty="Nothing was sent.",
    )


@app.command("replay")
def replay(
    event: Annotated[str, typer.Argument(help="Its id, as `scalar webhooks events` shows it.", metavar="EVENT")],
    endpoint: Annotated[str | None, typer.Option(help="To this one; to all that want it, if left out.")] = None,
    json: Json = False,
) -> None:
    """Send an event of the last 30 days again."""
    sent = connect().post(f"/v1/webhook-events/{event}/replay", {"endpoint_id": endpoint})
    if json:
        view.as_json(sent)
        return
    for each in sent["data"]:
        view.console.print(f"{each['id']} is on its way to {each['endpoint_id']}.")


def _subject(data: dict[str, Any]) -> str:
    """The job, or the invoice."""
    return str(data.get("id") or data.get("invoice_id") or "")


def _with_secret(made: dict[str, Any], json: bool) -> None:
    if json:
        view.as_json(made)
        return
    view.facts([("endpoint", made["id"]), ("url", view.plain(made["url"])), ("secret", made["secret"])])
    view.console.print("The secret is not shown again.")


def _row(delivery: dict[str, Any]) -> list[Any]:
    return [
        delivery["id"],
        delivery["event_id"],
        delivery["event_type"],
        view.state(delivery["state"]),
        delivery["tries"],
        delivery["status"],
        view.ago(delivery["last_tried_at"]),
        view.plain(delivery["message"]),
    ]


def _state(endpoint: dict[str, Any]) -> str:
    if not endpoint["enabled"]:
        return f"[red]disabled[/red] ({view.plain(endpoint['disabled_reason'])})"
    return "[yellow]failing[/yellow]" if endpoint["failing_since"] else "[green]enabled[/green]"
