"""Hours whose usage is in doubt, over HTTP, and `scalar periods doubts`."""

import os
import subprocess
import sys
from datetime import timedelta

from tests.api.calls import assert_problem
from tests.api.conftest import Api
from tests.made_up import NOON, a_customer, a_job_of, a_node, ended, launch, running, told

HOUR = "2026-11-21T12:00Z"


def test_an_operator_sees_why_an_hour_is_in_doubt_and_accepts_it(api: Api) -> None:
    operator = api.operator()
    path = f"/v1/metered-hours/{HOUR}"
    assert operator.get(f"{path}/doubts").json()["data"] == []
    assert_problem(operator.post(f"{path}/accept", json={"reason": "none"}), 404, "not-found")
    with api.database.transaction() as tx:
        a_node(tx)
        run = launch(tx, a_job_of(tx, a_customer(tx)).id)
        told(tx, run, running(run))
        told(tx, run, ended(run, at=NOON + timedelta(minutes=10)))
        # Built without it.
        tx.execute("insert into metered_hours values (%s, 1, %s)", [NOON, NOON + timedelta(hours=1)])
    doubt = {"says": f"{run.id} ran 600.000000 GPU-seconds, and 0 are metered", "accepted": False}
    assert operator.get(f"{path}/doubts").json()["data"] == [doubt]
    assert_problem(operator.post(f"{path}/accept", json={}), 422, "invalid-request")
    for _ in range(2):
        accepted = operator.post(f"{path}/accept", json={"reason": "It was a test"}).raise_for_status().json()
        assert accepted["data"] == [{**doubt, "accepted": True}]
    key = operator.headers["Authorization"].removeprefix("Bearer ")
    shown = subprocess.run(
        [sys.executable, "-m", "scalar_api.cli", "periods", "doubts", HOUR],
        env={**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "600.000000 GPU-seconds" in shown
    with api.database.transaction() as tx:
        rows = tx.execute("select details from audit_log where action = 'usage.accept'").fetchall()
    assert [row["details"]["reason"] for row in rows] == ["It was a test"]
