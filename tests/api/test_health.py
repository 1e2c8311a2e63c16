"""Load balancers and Prometheus."""

import pytest

from tests.api.conftest import Api


@pytest.mark.parametrize("i", range(4))
def test_the_process_answers_without_a_key(api: Api, i) -> None:
    assert api.client().get("/healthz").json() == {"status": "ok"}
