"""Jobs: submit, list, look, cancel, requeue, explain."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from scalar.billing.holds import job_costs
from scalar.capacity.fleet import refuse_unsatisfiable
from scalar.capacity.store import nodes
from scalar.errors import InvalidRequest, NotFound, PaymentRequired
from scalar.jobs import life, store
from scalar.jobs.explanation import explain
from scalar.jobs.model import JobState, Tier
from scalar.jobs.store import JobFilter
from scalar.jobs.tasks import tasks_of_runs
from scalar.market.catalogue import could_buy
from scalar_api.dependencies import Config, Customer, Db, Now, Person
from scalar_api.problems import OF_A_JOB, OF_A_SUBMISSION, responses
from scalar_api.views import ExplanationView, JobDetail, JobPage, JobSubmission, JobView, detail_of, view_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_UNPAID = responses(PaymentRequired)


@router.post("", status_code=201, responses={200: {"model": JobView}, **OF_A_SUBMISSION, **_UNPAID})
def submit_job(
    body: JobSubmission,
    caller: Customer,
    database: Db,
    now: Now,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> JobView:
    """Ask for a job to be run.

    Send an `Idempotency-Key`, and a request that is sent twice is one job: the second answer is 200 with the job of the
    first. The same key with another body is a 409.

    What the job may cost at worst is held: where that is more than is available, the answer is 402 `payment-required`
    and says how much is missing.
    """
    spec = body.spec()
    with database.transaction() as tx:
        submission = life.submit(
            tx,
            spec,
            organisation_id=str(caller.organisation_id),
            key_id=caller.key_id,
            idempotency_key=idempotency_key,
            now=now,
        )
        if submission.created and not could_buy(tx, spec.requirements):
            refuse_unsatisfiable(tx, spec.requirements)
        latest = store.latest_runs(tx, [submission.job.id])
        cost = job_costs(tx, [submission.job.id])[submission.job.id]
    response.status_code = 201 if submission.created else 200
    response.headers["Location"] = f"/v1/jobs/{submission.job.id}"
    return view_of(submission.job, latest.get(submission.job.id), cost)


@router.get("", responses=OF_A_JOB)
def list_jobs(
    caller: Person,
    database: Db,
    state: Annotated[list[JobState] | None, Query(description="Any of these states.")] = None,
    tier: Tier | None = None,
    label: Annotated[list[str] | None, Query(description="`key=value`; all must match.", max_length=32)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")] = None,
) -> JobPage:
    """Your organisation's jobs, newest first; an operator sees everybody's."""
    which = JobFilter(
        organisation_id=caller.organisation_id,
        states=state or (),
        tier=tier,
        labels=dict(_label(each) for each in label) if label else None,
        before=cursor,
        limit=limit + 1,
    )
    with database.transaction() as tx:
        found = store.jobs(tx, which)
        latest = store.latest_runs(tx, [job.id for job in found])
        costs = job_costs(tx, [job.id for job in found])
    page = [view_of(job, latest.get(job.id), costs[job.id]) for job in found[:limit]]
    return JobPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.get("/{job_id}", responses=OF_A_JOB)
def get_job(job_id: str, caller: Person, database: Db, settings: Config) -> JobDetail:
    """One job, with its runs, where they ran, how they ended, the GPU seconds that they used, and what they cost."""
    with database.transaction() as tx:
        job = store.job(tx, job_id, organisation_id=caller.organisation_id)
        if job is None:
            raise NotFound("There is no such job.")
        runs = store.runs_of_job(tx, job_id)
        tasks = tasks_of_runs(tx, [run.id for run in runs])
        cost = job_costs(tx, [job_id])[job_id]
    return detail_of(job, runs, tasks, cost, settings.dagster_public_url)


@router.post("/{job_id}/cancel", responses=OF_A_JOB)
def cancel_job(job_id: str, caller: Person, database: Db, now: Now) -> JobView:
    """Stop a job, wherever it is. Cancelling twice is the same as once."""
    with database.transaction() as tx:
        job = life.cancel(tx, job_id, organisation_id=caller.organisation_id, actor=caller.actor, now=now)
        latest = store.latest_runs(tx, [job_id])
        cost = job_costs(tx, [job_id])[job_id]
    return view_of(job, latest.get(job_id), cost)


@router.post("/{job_id}/requeue", responses={**OF_A_JOB, **_UNPAID})
def requeue_job(job_id: str, caller: Person, database: Db, now: Now) -> JobView:
    """Start a job that has ended again, with all its tries: the way out of `dead_letter`."""
    with database.transaction() as tx:
        job = life.requeue(tx, job_id, organisation_id=caller.organisation_id, actor=caller.actor, now=now)
        cost = job_costs(tx, [job_id])[job_id]
    return view_of(job, None, cost)


@router.get("/{job_id}/explanation", responses=OF_A_JOB)
def explain_job(job_id: str, caller: Person, database: Db, now: Now) -> ExplanationView:
    """Why it waits, runs or ended, in a sentence; and what you can do about it."""
    with database.transaction() as tx:
        job = store.job(tx, job_id, organisation_id=caller.organisation_id)
        if job is None:
            raise NotFound("There is no such job.")
        runs = store.runs_of_job(tx, job_id)
        tasks = tasks_of_runs(tx, [runs[-1].id]) if runs else []
        silent = frozenset(node.id for node in nodes(tx, with_gone=True) if node.silent(now))
    said = explain(job, runs, tasks, silent, now)
    return ExplanationView(state=job.state, summary=said.summary, details=list(said.details), advice=said.advice)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidRequest(f"label: {text!r} is not `key=value`.")
    return key, value
