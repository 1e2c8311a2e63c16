"""A deadline, as a customer sends it: over HTTP, and by the command line."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api

FLEX = {"tier": "flex", "max_runtime_seconds": 600}


def soon(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def test_it_is_shown_as_it_was_sent(shared_api: Api) -> None:
    customer, due = shared_api.customer(), soon(5)
    job = customer.post("/v1/jobs", json=a_body(**FLEX, deadline=due)).raise_for_status().json()
    shown = customer.get(f"/v1/jobs/{job['id']}").json()["deadline"]
    assert datetime.fromisoformat(shown) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"deadline": "2099-01-01T00:00:00Z", "tier": "fast", "max_runtime_seconds": 600}, "needs the tier `flex`"),
        ({"deadline": "2099-01-01T00:00:00Z", "tier": "flex"}, "`max_runtime_seconds`"),
        ({**FLEX, "deadline": "2099-01-01T00:00:00"}, "timezone"),
        ({**FLEX, "deadline": "2020-01-01T00:00:00Z"}, "it would have had to start by 2019-12-31 23:50:00 UTC"),
    ],
)
def test_one_that_cannot_be_kept_is_refused_with_the_reason(shared_api: Api, body: dict[str, Any], said: str) -> None:
    answer = shared_api.customer().post("/v1/jobs", json=a_body(**body))
    assert_problem(answer, 422, "invalid-request")
    assert said in answer.text
