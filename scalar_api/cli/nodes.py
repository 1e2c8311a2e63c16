"""`scalar nodes`, and what operators do with them."""

from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect
from scalar_api.cli.jobs import Json

NodeId = Annotated[str, typer.Argument(help="A node's id, as `scalar nodes` shows it.", metavar="NODE")]


def register(app: typer.Typer) -> None:
    for command in (nodes, drain, resume, gone):
        app.command()(command)
    app.command(name="join-token")(join_token)


def nodes(json: Json = False) -> None:
    """List the nodes, with what they have and what is in use."""
    found = connect(operator=True).get("/v1/nodes")["data"]
    if json:
        view.as_json(found)
        return
    view.table(
        ["ID", "NAME", "STATE", "GPUS USED", "TYPE", "CPUS", "MEMORY", "RUNTIME", "LAST SEEN"],
        ([*_row(node)] for node in found),
        empty="No nodes yet. `scalar join-token` makes a token for one to join with: see docs/operations.md.",
    )


def drain(node: NodeId) -> None:
    """Let a node finish what it runs, and place nothing new on it."""
    _act(node, "drain", "finishes what it runs, and takes nothing new")


def resume(node: NodeId) -> None:
    """Place work on a node again."""
    _act(node, "resume", "takes work again")


def gone(
    node: NodeId,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask: you know that the machine is off.")] = False,
) -> None:
    """Say that a machine is off for good: its runs are tried elsewhere. Never say so of one that may still run."""
    if not yes:
        typer.confirm(f"Is the machine of {node} really off? Its jobs are started elsewhere", abort=True)
    _act(node, "gone", "is gone; what it ran is tried elsewhere")


def join_token(
    uses: Annotated[int, typer.Option(help="How many nodes it admits.", min=1)] = 1,
    hours: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=720)] = 1,
) -> None:
    """Make a token with which a machine's agent joins; it is shown once."""
    body = {"uses": uses, "lifetime_seconds": hours * 3600}
    print(connect(operator=True).post("/v1/join-tokens", body)["token"])


def _act(node: str, verb: str, said: str) -> None:
    connect(operator=True).post(f"/v1/nodes/{node}/{verb}")
    view.console.print(f"{node} {said}.")


def _row(node: dict[str, Any]) -> list[Any]:
    return [
        node["id"],
        view.plain(node["name"]),
        view.state(node["state"]) + (" [red](silent)[/red]" if node["silent"] else ""),
        f"{node['gpus_in_use']}/{node['gpus']}",
        view.plain(node["gpu_type"]),
        f"{node['cpus']:g}",
        f"{node['memory_gib']:.0f} GiB",
        node["runtime_notice"],
        view.ago(node["last_seen_at"]),
    ]
