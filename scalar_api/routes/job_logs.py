"""A job's output: plain text by byte offset, or a stream of server-sent events."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from scalar.database import Database
from scalar.errors import InvalidRequest, NotFound
from scalar.jobs import logs, store
from scalar.jobs.model import Job, JobRun
from scalar_api.dependencies import Db, Hub, Person
from scalar_api.log_stream import Position, follow_job
from scalar_api.problems import OF_A_JOB

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The text; or, with `follow`, events `log` (`{stream, text}`), `run` (another try began) and"
        " `end` (`{state, exit_code, reason}`).",
        "content": {"text/plain": {"schema": {"type": "string"}}, "text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/{job_id}/logs", response_class=Response, responses={**_TEXT, **OF_A_JOB})
def get_logs(
    job_id: str,
    caller: Person,
    database: Db,
    hub: Hub,
    run: Annotated[str | None, Query(max_length=40, description="A run's id; the last run, if left out.")] = None,
    rank: Annotated[int, Query(ge=0, description="Which node of a gang.")] = 0,
    offset: Annotated[int, Query(ge=0, le=2**62, description="Bytes to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=4 * 1024 * 1024, description="Most bytes to send.")] = 1024 * 1024,
    follow: Annotated[bool, Query(description="Stream what comes, until the job has ended.")] = False,
    last_event_id: Annotated[str | None, Header(max_length=80)] = None,
) -> Response:
    """What the job has written. `X-Log-Next-Offset` is where the next request goes on; `X-Log-Complete: true` says that
    nothing more will come. A stream that breaks is resumed by sending the id of its last event as `Last-Event-ID`.
    """
    job, chosen = _job_and_run(database, job_id, caller.organisation_id, run)
    if follow:
        position = Position(chosen.id if chosen else None, offset)
        if last_event_id:
            position = Position.parse(last_event_id)
            _job_and_run(database, job_id, caller.organisation_id, position.run_id)
        stream = follow_job(database, hub, job_id, position, rank=rank, only_run=run is not None)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    if chosen is None:
        return _text(b"", offset, complete=job.state.ended)
    with database.transaction() as tx:
        chunks = logs.read(tx, chosen.id, rank, offset=offset, limit=limit)
    text = b"".join(chunk.data for chunk in chunks)
    return _text(text, offset, complete=chosen.state.ended and len(text) < limit)


def _job_and_run(
    database: Database, job_id: str, organisation_id: str | None, run_id: str | None
) -> tuple[Job, JobRun | None]:
    with database.transaction() as tx:
        job = store.job(tx, job_id, organisation_id=organisation_id)
        if job is None:
            raise NotFound("There is no such job.")
        runs = store.runs_of_job(tx, job_id)
    if run_id is None:
        return job, runs[-1] if runs else None
    chosen = next((each for each in runs if each.id == run_id), None)
    if chosen is None:
        raise InvalidRequest(f"run: this job has no run {run_id!r}.")
    return job, chosen


def _text(text: bytes, offset: int, *, complete: bool) -> Response:
    headers = {"X-Log-Next-Offset": str(offset + len(text)), "X-Log-Complete": str(complete).lower()}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)
