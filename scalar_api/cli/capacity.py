"""`scalar capacity`, and what is kept of it: `reserve`, `release`."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import connect, fail
from scalar_api.cli.jobs import Json

_MOMENT = "%Y-%m-%d %H:%M"


def register(app: typer.Typer) -> None:
    for command in (capacity, reserve, release):
        app.command()(command)


def capacity(
    hours: Annotated[int, typer.Option(help="How far to look ahead.", min=1, max=336)] = 12,
    gpu_type: Annotated[str | None, typer.Option(help="Such as H100; all, if left out.")] = None,
    json: Json = False,
) -> None:
    """Show how many GPUs are owned, used, reserved and free, now and by hour."""
    found = connect().get("/v1/capacity", hours=hours, gpu_type=gpu_type)
    if json:
        view.as_json(found)
        return
    rows = [("now", level) for level in found["now"]]
    rows += [(_utc(hour["start"]), level) for hour in found["hours"] for level in hour["gpu_types"]]
    view.table(
        ["FROM (UTC)", "TYPE", "NODES", "OWNED", "USED", "RESERVED", "UNAVAILABLE", "FREE"],
        ([*_row(start, level)] for start, level in rows),
        empty="No GPUs yet: `scalar nodes` would show where they come from.",
    )
    if found["reservations"]:
        view.console.print()
        _reservations(found["reservations"])


def reserve(
    gpus: Annotated[int, typer.Argument(help="How many, in all.", min=1)],
    gpu_type: Annotated[str, typer.Argument(help="Such as H100.", metavar="TYPE")],
    hours: Annotated[float, typer.Option(help="For so long.", min=0.01, max=8784)],
    start: Annotated[str, typer.Option(help="`now`, or a time such as `2026-12-01T14:00` (UTC).")] = "now",
    organisation: Annotated[str | None, typer.Option(help="Whose: its id or name. For operators.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice is one reservation.")] = None,
    json: Json = False,
) -> None:
    """Keep GPUs for your organisation: all of them for the whole time, or none."""
    begin = _moment(start)
    body = {
        "gpu_type": gpu_type,
        "gpus": gpus,
        "start": begin.isoformat(),
        "end": (begin + timedelta(hours=hours)).isoformat(),
        "organisation": organisation,
    }
    client = connect(operator=organisation is not None)
    made = client.post("/v1/reservations", body, {"Idempotency-Key": idempotency_key or str(uuid.uuid4())})
    if json:
        view.as_json(made)
        return
    until = f"from {_utc(made['start'])} to {_utc(made['end'])} UTC"
    view.console.print(f"{made['id']}: {made['gpus']} {view.plain(made['gpu_type'])} GPUs are kept {until}.")


def release(
    reservation: Annotated[str, typer.Argument(help="Its id, as `scalar capacity` shows it.", metavar="RESERVATION")],
    operator: Annotated[bool, typer.Option("--operator", help="It is another organisation's.")] = False,
) -> None:
    """Let others have what a reservation keeps; your jobs that run there run on."""
    connect(operator=operator).delete(f"/v1/reservations/{reservation}")
    view.console.print(f"{reservation} is released.")


def _row(start: str, level: dict[str, Any]) -> list[Any]:
    short = level["overcommitted"]
    return [
        start,
        view.plain(level["gpu_type"]),
        level["nodes"],
        level["owned"],
        level["used"],
        level["reserved"],
        level["unavailable"],
        f"[red]{-short}[/red]" if short else level["free"],
    ]


def _reservations(found: list[dict[str, Any]]) -> None:
    view.table(
        ["RESERVATION", "ORGANISATION", "GPUS", "TYPE", "FROM (UTC)", "TO (UTC)"],
        (
            [
                each["id"],
                each["organisation_id"],
                each["gpus"],
                view.plain(each["gpu_type"]),
                _utc(each["start"]),
                _utc(each["end"]),
            ]
            for each in found
        ),
        empty="Nothing is reserved.",
    )


def _utc(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):{_MOMENT}}"


def _moment(text: str) -> datetime:
    """A time without an offset is UTC."""
    if text == "now":
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--start: {text!r} is no time; say now, 2026-12-01T14:00 or 2026-12-01T14:00+01:00.", 2)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
