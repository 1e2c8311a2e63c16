"""Usage events in batches: who may say what of which task, and what becomes of each event."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from scalar.database import Transaction, one
from scalar.jobs.model import JobRun
from scalar.metering import store
from scalar.metering.usage import gpu_seconds
from tests.api.calls import NodeAgent, assert_problem
from tests.api.conftest import Api
from tests.made_up import ended, told

_LONG_AGO = datetime(2026, 3, 29, 0, 30, 0, 123456, tzinfo=UTC)


def _event(run: JobRun, kind: str = "alive", sequence: int | None = None, **changes: Any) -> dict[str, Any]:
    """A sign of life a minute after the start, unless told otherwise."""
    number = (1 if kind == "alive" else 0) if sequence is None else sequence
    at = _LONG_AGO + timedelta(minutes=number)
    return {"run_id": run.id, "rank": 0, "kind": kind, "sequence": number, "at": at.isoformat(), **changes}


def _post(client: httpx.Client, *events: Any) -> dict[str, Any]:
    return dict(client.post("/v1/usage-events", json={"events": events}).raise_for_status().json())


def _reasons(receipt: dict[str, Any]) -> dict[int, str]:
    assert all(each["detail"] for each in receipt["refused"])
    return {each["index"]: each["reason"] for each in receipt["refused"]}


def _taken(accepted: int = 0, known: int = 0) -> dict[str, Any]:
    return {"accepted": accepted, "known": known, "refused": []}


def _running(api: Api, node: NodeAgent, *, customer: httpx.Client | None = None, **body: Any) -> JobRun:
    """A run that has been up since long ago, and of which nothing but its start was heard."""
    _, run = api.launched(customer or api.customer(), **body)
    node.runs(run)
    with api.database.transaction() as tx:
        tx.execute("update run_tasks set started_at = %s where run_id = %s", [_LONG_AGO, run.id])
    return run


def _ended(api: Api, run: JobRun, *, minutes: float) -> None:
    at = _LONG_AGO + timedelta(minutes=minutes)
    query = "update run_tasks set state = 'ended', ending = 'exited', ended_at = %s where run_id = %s"
    with api.database.transaction() as tx:
        tx.execute(query, [at, run.id])


def _events_of(tx: Transaction, run: JobRun) -> list[tuple[Any, ...]]:
    rows = tx.execute(
        """select kind, sequence, at, gpus, organisation_id, tier, gpu_type, node_id from usage_events
           where run_id = %s and at < '2026-11-01' order by at, kind""",
        [run.id],
    )
    return [tuple(row.values()) for row in rows]


def test_whose_an_event_is_comes_from_the_database_alone(api: Api, node: NodeAgent) -> None:
    run = _running(api, node, gpus=3)
    lies = {"gpus": 64, "organisation_id": "org_other", "tier": "flex", "gpu_type": "H200", "node_id": "node_other"}
    assert _post(node.client, _event(run, **lies)) == _taken(accepted=1)
    with api.database.transaction() as tx:
        (row,) = tx.execute(
            """select j.organisation_id from job_runs r join jobs j on j.id = r.job_id where r.id = %s""", [run.id]
        )
        at = _LONG_AGO + timedelta(minutes=1)
        assert _events_of(tx, run) == [("alive", 1, at, 3, row["organisation_id"], "fast", "H100", node.id)]


def test_what_is_sent_again_is_known_and_changes_nothing(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    events = [_event(run, sequence=n) for n in (1, 2, 3)]
    assert _post(node.client, *events, events[0]) == _taken(accepted=3, known=1)
    later = {**events[0], "at": events[2]["at"]}
    assert _post(node.client, later, *events[1:], _event(run, sequence=4)) == _taken(accepted=1, known=3)
    with api.database.transaction() as tx:
        assert [(kind, n, at) for kind, n, at, *_ in _events_of(tx, run)] == [
            ("alive", n, _LONG_AGO + timedelta(minutes=n)) for n in (1, 2, 3, 4)
        ]


def test_events_of_reports_and_of_batches_are_the_same_events(api: Api, node: NodeAgent) -> None:
    _, run = api.launched(api.customer(), gpus=2)
    started = datetime.now(UTC)
    node.report(run, "running", at=started.isoformat())
    first, second = (started + timedelta(minutes=n) for n in (1, 2))
    assert node.report(run, "alive", sequence=1, at=first.isoformat()) == "accepted"
    batch = [
        _event(run, "started", at=started.isoformat()),
        _event(run, sequence=1, at=first.isoformat()),
        _event(run, sequence=2, at=second.isoformat()),
    ]
    assert _post(node.client, *batch) == _taken(accepted=1, known=2)
    assert node.report(run, "alive", sequence=2, at=second.isoformat()) == "duplicate"
    with api.database.transaction() as tx:
        assert gpu_seconds(store.spans_of_run(tx, run.id)) == 2 * 120


def test_a_node_speaks_of_its_own_tasks_alone(api: Api, node: NodeAgent) -> None:
    other = api.node()
    run = _running(api, node, gpus=8)
    elsewhere = _running(api, other, gpus=8)
    made_up = {**_event(run), "run_id": "run_none"}
    receipt = _post(node.client, _event(elsewhere), _event(run), made_up, _event(run, rank=1), _event(run, sequence=2))
    assert receipt["accepted"] == 2
    assert _reasons(receipt) == {0: "unknown_task", 2: "unknown_task", 3: "unknown_task"}
    assert len({each["detail"] for each in receipt["refused"]}) == 1
    with api.database.transaction() as tx:
        assert _events_of(tx, elsewhere) == []


def test_an_operator_fills_in_what_any_node_has_missed_and_it_is_on_record(api: Api, node: NodeAgent) -> None:
    other, operator = api.node(), api.operator()
    runs = [_running(api, node, gpus=8), _running(api, other, gpus=8)]
    assert _post(operator, *(_event(run) for run in runs)) == _taken(accepted=2)
    assert _post(operator, *(_event(run) for run in runs)) == _taken(known=2)
    with api.database.transaction() as tx:
        rows = tx.execute("select actor, details from audit_log where action = 'usage_events.add'").fetchall()
    assert [(row["actor"].partition(":")[0], row["details"]) for row in rows] == [("operator", {"accepted": 2})]


def test_a_customer_says_nothing_of_usage(api: Api, node: NodeAgent) -> None:
    customer = api.customer()
    run = _running(api, node, customer=customer)
    body = {"events": [_event(run)]}
    assert_problem(customer.post("/v1/usage-events", json=body), 403, "forbidden")
    assert_problem(api.client().post("/v1/usage-events", json=body), 401, "not-authenticated")


def test_nothing_is_taken_of_a_task_that_is_not_known_to_have_started(api: Api, node: NodeAgent) -> None:
    _, run = api.launched(api.customer())
    receipt = _post(node.client, _event(run, "started"), _event(run), _event(run, "ended"))
    assert (receipt["accepted"], set(_reasons(receipt).values())) == (0, {"not_started"})


def test_an_event_lies_within_its_tasks_own_time(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    _ended(api, run, minutes=90)
    good = [("alive", 0), ("alive", 90), ("ended", 90)]
    bad = [("started", 1), ("started", -1), ("alive", -0.0001), ("alive", 90.0001), ("ended", 89), ("ended", 91)]
    events = [
        _event(run, kind, n if kind == "alive" else 0, at=(_LONG_AGO + timedelta(minutes=minutes)).isoformat())
        for n, (kind, minutes) in enumerate(good + bad, start=1)
    ]
    receipt = _post(node.client, *events, _event(run, "started"))
    # Its start was reported.
    assert (receipt["accepted"], receipt["known"]) == (3, 1)
    assert _reasons(receipt) == dict.fromkeys(range(3, 9), "outside_its_time")


def test_a_task_that_runs_has_no_end_and_no_future(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    soon, later = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (4, 6))
    receipt = _post(
        node.client,
        _event(run, "ended"),
        _event(run, sequence=1, at=soon.isoformat()),
        _event(run, sequence=2, at=later.isoformat()),
    )
    assert (receipt["accepted"], _reasons(receipt)) == (1, {0: "not_ended", 2: "outside_its_time"})


def test_bad_items_are_told_of_by_their_place_and_the_good_ones_are_taken(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    bad: list[Any] = [
        None,
        "x",
        [],
        {},
        {"why": "an event has other fields"},
        _event(run, "asleep"),
        _event(run, sequence=0),
        _event(run, "started", sequence=1),
        _event(run, sequence=-1),
        _event(run, sequence=2**31),
        _event(run, rank=-1),
        _event(run, rank="none"),
        _event(run, at="2026-03-29T00:31:00"),
        _event(run, at="yesterday"),
        _event(run, run_id="x" * 101),
        _event(run, run_id=7),
    ]
    receipt = _post(node.client, _event(run), *bad, _event(run, run_id="\x00"), _event(run, sequence=2))
    assert receipt["accepted"] == 2
    assert _reasons(receipt) == {
        **dict.fromkeys(range(1, len(bad) + 1), "malformed"),
        len(bad) + 1: "unknown_task",
    }


def test_a_leap_second_is_malformed_and_the_moments_beside_it_are_taken(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    before_midnight = (_LONG_AGO + timedelta(days=1)).strftime("%Y-%m-%dT23:59:")
    midnight = (_LONG_AGO + timedelta(days=2)).strftime("%Y-%m-%dT00:00:00Z")
    moments = [f"{before_midnight}59.999999Z", f"{before_midnight}60Z", f"{before_midnight}60.5Z", midnight]
    receipt = _post(node.client, *(_event(run, sequence=n, at=at) for n, at in enumerate(moments, start=1)))
    assert (receipt["accepted"], _reasons(receipt)) == (2, {1: "malformed", 2: "malformed"})


def test_what_is_malformed_is_not_told_back(node: NodeAgent) -> None:
    secret = "hunter2-hunter2"
    receipt = _post(node.client, secret, {"run_id": [secret], "kind": secret, "at": secret, "rank": secret})
    assert _reasons(receipt) == {0: "malformed", 1: "malformed"}
    assert secret not in str(receipt)


def test_ten_thousand_events_are_one_request(api: Api, node: NodeAgent) -> None:
    runs = [_running(api, node, gpus=2), _running(api, node, gpus=1)]
    events = [_event(run, sequence=n) for n in range(1, 5001) for run in runs]
    assert _post(node.client, *events) == _taken(accepted=10_000)
    assert _post(node.client, *events) == _taken(known=10_000)
    with api.database.transaction() as tx:
        found = one(tx, "select count(*) as n, count(distinct (run_id, sequence)) as keys from usage_events")
    # The two starts were reported.
    assert (found["n"], found["keys"]) == (10_002, 10_002)


def test_more_than_ten_thousand_are_too_many(node: NodeAgent) -> None:
    answer = node.client.post("/v1/usage-events", json={"events": [{}] * 10_001})
    assert_problem(answer, 422, "invalid-request")
    assert _post(node.client) == _taken()


@pytest.mark.parametrize(("path", "status"), [("/v1/usage-events", 403), ("/v1/jobs", 413)])
def test_a_large_body_is_let_in_here_alone(shared_api: Api, path: str, status: int) -> None:
    events = [{"run_id": "run_" + "x" * 90, "kind": "alive", "sequence": n, "at": 1e9} for n in range(10_000)]
    body = {"events": events, "image": "busybox:local", "tier": "fast"}
    assert shared_api.customer().post(path, json=body).status_code == status


def test_five_megabytes_are_too_large_here_too(shared_api: Api) -> None:
    content = b'{"events": [], "more": "' + b"x" * 5 * 1024 * 1024 + b'"}'
    answer = shared_api.operator().post(
        "/v1/usage-events", content=content, headers={"Content-Type": "application/json"}
    )
    assert "4096 KiB" in assert_problem(answer, 413, "too-large")["detail"]


def test_a_batch_waits_for_a_report_that_ends_its_task(api: Api, node: NodeAgent) -> None:
    run = _running(api, node)
    end = datetime.now(UTC)
    late = [_event(run, sequence=n, at=(end + timedelta(minutes=n - 2)).isoformat()) for n in (1, 2, 3)]
    with ThreadPoolExecutor(1) as pool:
        with api.database.transaction() as tx:
            told(tx, run, ended(run, at=end, started_at=_LONG_AGO), now=end)
            answer = pool.submit(_post, node.client, *late)
            _until_somebody_waits_for(api, tx)
        receipt = answer.result(timeout=20)
    assert (receipt["accepted"], _reasons(receipt)) == (2, {2: "outside_its_time"})


def _until_somebody_waits_for(api: Api, tx: Transaction) -> None:
    """A lock that this transaction holds."""
    me = tx.info.backend_pid
    deadline = time.monotonic() + 20
    with api.database.transaction() as watcher:
        while not one(
            watcher, "select count(*) as n from pg_stat_activity where %s = any(pg_blocking_pids(pid))", [me]
        )["n"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_batches_that_overlap_and_come_at_once_write_each_event_once(api: Api, node: NodeAgent) -> None:
    runs = [_running(api, node) for _ in range(4)]
    events = [_event(run, sequence=n) for run in runs for n in range(1, 101)]
    shuffled = [events, events[::-1], events[200:] + events[:200], events[::2] + events[1::2]]
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda batch: _post(node.client, *batch), shuffled))
    assert all(receipt["accepted"] + receipt["known"] == 400 for receipt in receipts)
    assert sum(receipt["accepted"] for receipt in receipts) == 400
