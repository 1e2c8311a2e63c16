"""`scalar submit`, `ps`, `show`, `logs`, `cancel`, `requeue`."""

import os
import re
import sys
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NoReturn

import typer

from scalar_api.cli import show as view
from scalar_api.cli.client import Client, connect, error_console, fail

Json = Annotated[bool, typer.Option("--json", help="For programs: JSON instead of a table.")]
JobId = Annotated[str, typer.Argument(help="A job's id, as `scalar ps` shows it.", metavar="JOB")]

_CANCELLED = 130


def register(app: typer.Typer) -> None:
    arguments = {"ignore_unknown_options": False, "allow_interspersed_args": False}
    app.command(context_settings=arguments)(submit)
    for command in (ps, show, logs, cancel, requeue):
        app.command()(command)


def submit(
    image: Annotated[str, typer.Argument(help="Container image, such as `busybox:1.37`.", metavar="IMAGE")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Replaces the image's entrypoint; after `--`.", metavar="[-- COMMAND …]")
    ] = None,
    gpus: Annotated[int, typer.Option(help="GPUs on each node.", min=1)] = 1,
    gpu_type: Annotated[str | None, typer.Option(help="Such as H100; any, if left out.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes, all at once or not at all.", min=1)] = 1,
    cpus: Annotated[float | None, typer.Option(help="CPUs on each node; its GPUs' share, if left out.")] = None,
    memory: Annotated[float | None, typer.Option(help="GiB on each node; its GPUs' share, if left out.")] = None,
    tier: Annotated[str, typer.Option(help="`fast` starts as soon as it can, `flex` goes behind.")] = "fast",
    priority: Annotated[int, typer.Option(help="-100 to 100; higher goes first within a tier.")] = 0,
    max_runtime: Annotated[str | None, typer.Option(help="Stop it after so long: `90s`, `30m`, `12h`, `2d`.")] = None,
    max_price: Annotated[
        str | None, typer.Option(help="Dollars per GPU-hour: buy no node for it above that, such as `2.50`.")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="Dollars that it may cost you in all: it is stopped then. Such as `25`.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(help="Be done by then, or in so long: `2026-12-01T08:00Z`, `6h`. Flex, and with --max-runtime."),
    ] = None,
    max_attempts: Annotated[int, typer.Option(help="Tries in all, if it fails.", min=1, max=10)] = 1,
    retry_on: Annotated[
        list[str] | None, typer.Option(help="`error`, `out_of_memory`, `timeout`; can be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="For people; the image's name, if left out.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="`KEY=value`, or `KEY` to pass on your own; repeatable.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="`key=value`; repeatable.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice is one job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit with the job's exit code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait, and show its output meanwhile.")] = False,
    json: Json = False,
) -> None:
    """Submit a job. Example: `scalar submit --gpus 8 --follow pytorch/pytorch -- python train.py`."""
    client = connect()
    body: dict[str, Any] = {
        "image": image,
        "command": _without_dashes(command) or None,
        "resources": {"gpus": gpus, "gpu_type": gpu_type, "nodes": nodes, "cpus": cpus, "memory_gib": memory},
        "tier": tier,
        "priority": priority,
        "max_runtime_seconds": _seconds(max_runtime) if max_runtime else None,
        "max_price_per_gpu_hour": max_price,
        "max_cost": max_cost,
        "deadline": _moment(deadline) if deadline else None,
        "retries": {"max_attempts": max_attempts, **({"on": retry_on} if retry_on else {})},
        "env": dict(_variable(each) for each in env or ()),
        "labels": dict(_pair(each, "--label") for each in label or ()),
        "name": name,
    }
    job = client.post("/v1/jobs", body, {"Idempotency-Key": idempotency_key or str(uuid.uuid4())})
    if not (wait or follow):
        view.as_json(job) if json else _submitted(job)
        return
    if not json:
        error_console.print(f"{job['id']} submitted")
    _wait(client, job["id"], show_output=follow, json=json)


def ps(
    state: Annotated[list[str] | None, typer.Option(help="Only these states; repeatable.")] = None,
    tier: Annotated[str | None, typer.Option(help="`fast` or `flex`.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="`key=value`; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    client = connect()
    jobs: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(jobs) < limit:
        page = client.get(
            "/v1/jobs", state=state, tier=tier, label=label, limit=min(limit - len(jobs), 200), cursor=cursor
        )
        jobs += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if json:
        view.as_json(jobs)
        return
    view.table(
        ["ID", "NAME", "STATE", "GPUS", "TIER", "SUBMITTED", "RAN", "EXIT"],
        (
            [
                job["id"],
                view.plain(job["name"]),
                view.state(job["state"]),
                _gpus(job),
                job["tier"],
                view.ago(job["submitted_at"]),
                view.between(job["started_at"], job["ended_at"]),
                job["exit_code"],
            ]
            for job in jobs
        ),
        empty="No jobs yet. `scalar submit --follow busybox:1.37 -- echo hello` makes one.",
    )


def show(job: JobId, json: Json = False) -> None:
    """Everything about one job: why it waits or ended, its runs, where they ran."""
    client = connect()
    detail = client.get(f"/v1/jobs/{job}")
    said = client.get(f"/v1/jobs/{job}/explanation")
    if json:
        view.as_json({**detail, "explanation": said})
        return
    view.facts(
        [
            ("Job", f"{detail['id']}  {view.plain(detail['name'])}"),
            ("State", f"{view.state(detail['state'])}  {view.plain(said['summary'])}"),
            *(("", view.plain(text)) for text in said["details"]),
            ("Advice", view.plain(said["advice"])),
            ("Image", view.plain(detail["image"])),
            ("Command", view.plain(" ".join(detail["command"] or [])) or None),
            ("Asked for", f"{_gpus(detail)} GPU(s), {detail['tier']}, priority {detail['priority']}"),
            ("Submitted", f"{detail['submitted_at']}  ({view.ago(detail['submitted_at'])})"),
            ("GPU seconds", detail["gpu_seconds"]),
            ("Cost", _cost(detail)),
        ]
    )
    view.table(
        ["TRY", "STATE", "NODE", "WAITED", "RAN", "EXIT", "GPU SECONDS", "DAGSTER"],
        ([*_run_row(detail, run)] for run in detail["runs"]),
        empty="It has not been placed yet.",
    )


def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
    run: Annotated[str | None, typer.Option(help="A run's id; the last one, if left out.")] = None,
    rank: Annotated[int, typer.Option(help="Which node of a gang.", min=0)] = 0,
) -> None:
    """What a job has written. With `--follow`, ends with the job's own exit code."""
    client = connect()
    if follow:
        query = f"?follow=true&rank={rank}" + (f"&run={run}" if run else "")
        _exit(_stream(client, f"/v1/jobs/{job}/logs{query}"))
    offset = 0
    while True:
        answer = client.text(f"/v1/jobs/{job}/logs", run=run, rank=rank, offset=offset, limit=4 * 1024 * 1024)
        if not answer.content:
            return
        sys.stdout.buffer.write(answer.content)
        sys.stdout.flush()
        offset = int(answer.headers["X-Log-Next-Offset"])


def cancel(job: JobId, json: Json = False) -> None:
    """Stop a job, wherever it is."""
    answer = connect().post(f"/v1/jobs/{job}/cancel")
    view.as_json(answer) if json else view.console.print(f"{job} is being stopped ({answer['state']}).")


def requeue(job: JobId, json: Json = False) -> None:
    """Start a job that has ended once more."""
    answer = connect().post(f"/v1/jobs/{job}/requeue")
    view.as_json(answer) if json else view.console.print(f"{job} is in the queue again.")


def _submitted(job: dict[str, Any]) -> None:
    view.console.print(f"{job['id']} is {job['state']}. Follow it: scalar logs -f {job['id']}")


def _wait(client: Client, job_id: str, *, show_output: bool, json: bool) -> NoReturn:
    end = _stream(client, f"/v1/jobs/{job_id}/logs?follow=true", show_output=show_output and not json)
    detail = client.get(f"/v1/jobs/{job_id}")
    if json:
        view.as_json(detail)
    elif detail["state"] != "succeeded":
        said = client.get(f"/v1/jobs/{job_id}/explanation")
        error_console.print(f"{job_id} {detail['state']}: {said['summary']}", markup=False, soft_wrap=True)
    _exit(end)


def _stream(client: Client, path: str, *, show_output: bool = True) -> dict[str, Any]:
    """Show output as it comes; the `end` event."""
    for event, data in client.events(path):
        if event == "end":
            return data
        if event == "log" and show_output:
            stream = sys.stderr if data["stream"] == "stderr" else sys.stdout
            stream.write(data["text"])
            stream.flush()
    return fail("the stream ended without saying how the job did", 1)


def _exit(end: dict[str, Any]) -> NoReturn:
    """With the job's own exit code, where it has one."""
    if end["state"] == "succeeded":
        raise typer.Exit(0)
    if end["state"] == "cancelled":
        raise typer.Exit(_CANCELLED)
    raise typer.Exit(end["exit_code"] or 1)


def _run_row(job: dict[str, Any], run: dict[str, Any]) -> list[Any]:
    return [
        run["attempt"],
        view.state(run["state"]),
        view.plain(run["node"]),
        view.between(job["submitted_at"], run["started_at"]) if run["started_at"] else None,
        view.between(run["started_at"], run["ended_at"]),
        run["exit_code"],
        run["gpu_seconds"],
        run["dagster_url"] or run["dagster_run_id"],
    ]


def _gpus(job: dict[str, Any]) -> str:
    wanted = job["resources"]
    return f"{wanted['nodes']}x{wanted['gpus']}" if wanted["nodes"] > 1 else str(wanted["gpus"])


def _cost(job: dict[str, Any]) -> str:
    """`$1.25 so far, $2.35 held`."""
    cost, limit = job["cost"], job["max_cost"]
    parts = [f"{view.dollars(cost['so_far'])}{' so far' if job['ended_at'] is None else ''}"]
    parts += [f"{view.dollars(cost['held'])} held"] if Decimal(cost["held"]) else []
    parts += [f"{view.dollars(limit)} at most"] if limit else []
    return ", ".join(parts)


def _without_dashes(command: list[str] | None) -> list[str]:
    """The `--` between the image and the command is ours, not the command's."""
    return command[1:] if command and command[0] == "--" else command or []


def _seconds(text: str) -> int:
    seconds = _duration(text)
    if seconds is None:
        fail(f"--max-runtime: {text!r} is no time; say 90s, 30m, 12h or 2d.", 2)
    return seconds


def _duration(text: str) -> int | None:
    match = re.fullmatch(r"(\d+)([smhd]?)", text)
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]] if match else None


def _moment(text: str) -> str:
    """A time with its zone, or so long from now."""
    seconds = _duration(text)
    if seconds is not None:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--deadline: {text!r} is no time; say 2026-12-01T08:00Z, or 6h for in six hours.", 2)
    if moment.tzinfo is None:
        fail(f"--deadline: {text!r} has no time zone; say {text}Z for UTC.", 2)
    return moment.isoformat()


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if equals:
        return key, value
    if key not in os.environ:
        fail(f"--env: {key} is not set here; say {key}=value.", 2)
    return key, os.environ[key]


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        fail(f"{option}: {text!r} is not key=value.", 2)
    return key, value
