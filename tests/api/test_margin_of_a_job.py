"""What a job earned, over HTTP and on the command line: for operators, and at once."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api
from tests.api.trading import Trading, a_minute
from tests.made_up import a_block

SCALAR = Path(sys.executable).parent / "scalar"


@pytest.fixture
def ran(trading: Trading) -> str:
    """The id of a job that ran for a while on a node that was bought, and has just ended."""
    with trading.api.database.transaction() as tx:
        a_block(tx, start=a_minute(timedelta(minutes=-30)), price="12")
    (agent,) = trading.machines_join()
    with trading.api.database.transaction() as tx:
        # As if it had come with the block.
        tx.execute("update seatings set during = tstzrange(lower(during) - interval '10 minutes', upper(during))")
    job_id, run = trading.api.launched(trading.api.customer(), gpus=4)
    now = datetime.now(UTC)
    begun = (now - timedelta(seconds=4)).isoformat()
    assert agent.report(run, "running", at=begun) == "accepted"
    assert agent.report(run, "ended", at=now.isoformat(), started_at=begun, exit_code=0) == "accepted"
    return job_id


def test_a_job_that_has_just_ended_has_a_margin(trading: Trading, ran: str) -> None:
    found = trading.operator.get(f"/v1/jobs/{ran}/margin").raise_for_status().json()
    (node,) = found["nodes"]
    block = trading.operator.get("/v1/blocks").json()["data"][0]
    assert (node["block_id"], node["order_id"], node["price"]) == (block["id"], block["order_id"], block["price"])
    seconds, price = Decimal(found["gpu_seconds"]), Decimal(block["price"])
    assert seconds == pytest.approx(16, rel=0.1)
    assert Decimal(found["revenue"]) == pytest.approx(seconds * Decimal("3.60") / 3600, abs=Decimal("0.000001"))
    assert Decimal(found["cost"]) == pytest.approx(seconds / 8 * price / 3600, abs=Decimal("0.000001"))
    assert Decimal(found["idle_cost"]) > 0
    assert Decimal(found["margin_before_idle"]) == Decimal(found["revenue"]) - Decimal(found["cost"])
    assert Decimal(found["margin"]) == Decimal(found["margin_before_idle"]) - Decimal(found["idle_cost"])
    assert (found["exact"], Decimal(found["gpu_seconds_not_bought"])) == (False, 0)


def test_a_node_that_was_not_bought_costs_nothing(api: Api) -> None:
    node = api.node()
    job_id, run = api.launched(api.customer())
    node.runs(run)
    node.ends(run)
    found = api.operator().get(f"/v1/jobs/{job_id}/margin").raise_for_status().json()
    assert (found["cost"], found["idle_cost"], found["nodes"]) == ("0.000000", "0.000000", [])
    assert found["gpu_seconds_not_bought"] == found["gpu_seconds"]


def test_a_job_that_waits_has_neither_cost_nor_revenue(api: Api) -> None:
    api.node()
    job_id = api.customer().post("/v1/jobs", json=a_body()).raise_for_status().json()["id"]
    found = api.operator().get(f"/v1/jobs/{job_id}/margin").raise_for_status().json()
    assert (found["revenue"], found["cost"], found["margin"]) == ("0.000000", "0.000000", "0.000000")
    assert (found["margin_percent"], found["exact"]) == (None, False)


def test_only_operators_see_it(api: Api) -> None:
    api.node()
    customer = api.customer()
    job_id = customer.post("/v1/jobs", json=a_body()).raise_for_status().json()["id"]
    assert_problem(customer.get(f"/v1/jobs/{job_id}/margin"), 403, "forbidden")
    assert_problem(api.operator().get("/v1/jobs/job_nowhere/margin"), 404, "not-found")


def test_the_command_shows_it(trading: Trading, ran: str) -> None:
    said = _scalar(trading, "margin", ran)
    assert f"{ran}  (provisional)" in said
    assert re.search(r"Margin +-?\$\d.* before idle time, -\$\d.* with it", said)
    assert re.search(r"block_\w+ +order_\w+ +12\.000000 +1\d", said)
    assert json.loads(_scalar(trading, "margin", ran, "--json"))["job_id"] == ran


def _scalar(trading: Trading, *arguments: str) -> str:
    key = trading.operator.headers["authorization"].removeprefix("Bearer ")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
    return subprocess.run(
        [SCALAR, *arguments],
        env={**inherited, "SCALAR_API_URL": trading.api.url, "SCALAR_API_KEY": key, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
