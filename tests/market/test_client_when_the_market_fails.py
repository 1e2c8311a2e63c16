"""What the client does when no answer comes: what it sends again, what it never does, and what it tells nobody."""

import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from scalar.errors import Unavailable
from scalar.market.errors import (
    MarketAnswerMalformed,
    MarketError,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketRefused,
    MarketUnavailable,
    OutcomeUnknown,
)
from scalar.market.model import Rectangle, Side
from scalar.market.patience import CircuitBreaker
from scalar.market.sfcompute import SfCompute
from tests.market.client_made_up import TOKEN, Scene, a_scene
from tests.market.wire_made_up import NOON, a_page, a_pool, a_procurement, an_error, an_instance, an_order
from tests.scripted_server import Fault, Scripted, closed_port

WHEN = datetime.fromtimestamp(NOON, UTC)
LATER = datetime.fromtimestamp(NOON + 3600, UTC)
USER_DATA = "#cloud-config\njoin: join_0123456789abcdef"

OK = Scripted(body=an_order())
DROPPED = Scripted(fault=Fault.DROPPED)
BROKEN = [
    Scripted(fault=Fault.DROPPED),
    Scripted(fault=Fault.DROPPED_UNREAD),
    Scripted(fault=Fault.CUT, body=an_order()),
    Scripted(fault=Fault.HANGS),
    Scripted(status=500, body=an_error("api_error")),
    Scripted(status=502, body=b"<html>bad gateway</html>"),
    Scripted(status=503, body=an_error("service_unavailable")),
    Scripted(status=408, body=an_error("request_timed_out")),
]
NAMES = ["dropped", "dropped unread", "cut", "hangs", "500", "502", "503", "408"]
broken = pytest.mark.parametrize("failure", BROKEN, ids=NAMES)

QUICK = {"timeout": 0.5}


def an_order_of(market: SfCompute, **changes: Any) -> Any:
    order = {
        "pool": "pool_1",
        "side": Side.BUY,
        "sku": "isku_1",
        "rectangle": Rectangle(start=WHEN, end=LATER, nodes=4),
        "limit_price": Decimal("12.34"),
        "idempotency_key": "ord_1",
    }
    return market.create_order(**{**order, **changes})


def an_instance_of(market: SfCompute) -> Any:
    return market.create_instance(pool="pool_1", image="image_1", sku="isku_1", name="ins-1", user_data=USER_DATA)


def a_procurement_of(market: SfCompute) -> Any:
    return market.create_procurement(
        pool="pool_1",
        sku="isku_1",
        target=1,
        min_sell_price=Decimal(1),
        max_buy_price=Decimal(2),
        managed_window_minutes=60,
    )


SENT_ONCE = [an_instance_of, lambda market: market.create_pool(workspace="wksp_1"), a_procurement_of]


@broken
def test_a_question_is_asked_again(failure: Scripted) -> None:
    with a_scene(failure, failure, OK, **QUICK) as scene:
        assert scene.market.order("ordr_1").id == "ordr_1"
        assert len(scene.server.seen) + scene.server.dropped_unread == 3
        assert scene.waits == [0.25, 0.5]
        assert scene.outcomes == ["unavailable", "unavailable", "ok"]
        assert [call.attempt for call in scene.calls] == [1, 2, 3]


@broken
def test_an_order_is_sent_again_under_the_same_key_and_with_the_same_body(failure: Scripted) -> None:
    with a_scene(failure, failure, failure, OK, **QUICK) as scene:
        assert an_order_of(scene.market).id == "ordr_1"
        assert {seen.headers["idempotency-key"] for seen in scene.server.seen} == {"ord_1"}
        assert all(seen.body == scene.server.seen[-1].body for seen in scene.server.seen)
        assert len(scene.server.seen) + scene.server.dropped_unread == 4


@broken
@pytest.mark.parametrize("do", SENT_ONCE, ids=["instance", "pool", "procurement"])
def test_what_must_not_be_made_twice_is_sent_once_and_its_outcome_is_unknown(
    failure: Scripted, do: Callable[[SfCompute], Any]
) -> None:
    spare = [Scripted(body=body) for body in (an_instance(), a_pool(), a_procurement())]
    with a_scene(failure, *spare, **QUICK) as scene:
        with pytest.raises(OutcomeUnknown) as caught:
            do(scene.market)
        assert caught.value.maybe_done
        assert len(scene.server.seen) + scene.server.dropped_unread == 1
        assert scene.waits == []


def test_an_unreadable_answer_to_what_must_not_be_made_twice_leaves_its_outcome_unknown() -> None:
    for said in (b"<html>hello</html>", {"object": "instance"}):
        with a_scene(Scripted(status=201, body=said), Scripted(status=201, body=an_instance())) as scene:
            with pytest.raises(OutcomeUnknown):
                an_instance_of(scene.market)
            assert scene.lines == ["POST /preview/v2/instances"]
            assert scene.outcomes == ["malformed"]


def test_an_instance_that_was_never_sent_for_is_no_unknown_outcome() -> None:
    with a_scene(url=f"http://127.0.0.1:{closed_port()}") as scene:
        with pytest.raises(MarketUnavailable) as caught:
            an_instance_of(scene.market)
        assert type(caught.value) is MarketUnavailable
        assert not caught.value.maybe_done
        assert len(scene.calls) == 1


def test_an_instance_that_is_refused_for_now_was_not_made() -> None:
    limited = Scripted(status=429, body=an_error("rate_limited"), headers={"Retry-After": "3"})
    with a_scene(limited, Scripted(status=201, body=an_instance())) as scene:
        with pytest.raises(MarketUnavailable) as caught:
            an_instance_of(scene.market)
        assert type(caught.value) is MarketUnavailable
        assert caught.value.retry_after == 3.0
        assert len(scene.server.seen) == 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.25),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:09 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 9.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:09 GMT"}, 0.25),
        ({"Retry-After": "whenever"}, 0.25),
        ({}, 0.25),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(status: int, headers: dict[str, str], wait: float) -> None:
    with a_scene(Scripted(status=status, headers=headers, body=an_error("slow_down")), OK) as scene:
        scene.market.order("ordr_1")
        assert scene.waits == [wait]


def test_a_wait_beyond_our_patience_is_the_callers_to_decide() -> None:
    with a_scene(Scripted(status=429, headers={"Retry-After": "31"}, body=an_error("slow_down")), OK) as scene:
        with pytest.raises(MarketUnavailable) as caught:
            scene.market.order("ordr_1")
        assert (caught.value.retry_after, scene.waits, len(scene.server.seen)) == (31.0, [], 1)


def test_patience_ends() -> None:
    with a_scene(*[Scripted(status=500)] * 9, attempts=3) as scene:
        with pytest.raises(MarketUnavailable, match="order: 500") as caught:
            scene.market.order("ordr_1")
        assert isinstance(caught.value, Unavailable)
        assert (len(scene.server.seen), len(scene.waits)) == (3, 2)


def test_a_cancelling_is_asked_for_again() -> None:
    with a_scene(DROPPED, Scripted(status=204)) as scene:
        scene.market.cancel_order("ordr_1")
        assert scene.lines == ["DELETE /preview/v2/orders/ordr_1"] * 2


@pytest.mark.parametrize(
    "do",
    [
        lambda market: market.terminate_instance("inst_1"),
        lambda market: market.delete_instance("inst_1"),
        lambda market: market.delete_pool("pool_1"),
    ],
)
def test_what_is_gone_after_an_answer_was_lost_was_removed_by_us(do: Callable[[SfCompute], Any]) -> None:
    gone = Scripted(status=404, body=an_error("not_found"))
    with a_scene(DROPPED, gone) as scene:
        do(scene.market)
    with a_scene(gone) as scene, pytest.raises(MarketNotFound):
        do(scene.market)
    with a_scene(Scripted(status=429), gone) as scene, pytest.raises(MarketNotFound):
        do(scene.market)


def test_each_attempt_reads_the_token_anew() -> None:
    tokens = iter(["sk_live_old_old_old", "sk_live_new_new_new\n"])
    with a_scene(DROPPED, OK, token=lambda: SecretStr(next(tokens))) as scene:
        scene.market.order("ordr_1")
        assert [seen.headers["authorization"] for seen in scene.server.seen] == [
            "Bearer sk_live_old_old_old",
            "Bearer sk_live_new_new_new",
        ]


@pytest.mark.parametrize("token", ["", "  ", "sk_live_a\nb", "sk_live_ä", "sk live"])
def test_a_token_that_cannot_be_sent_is_not(token: str) -> None:
    with a_scene(OK, token=lambda: SecretStr(token)) as scene:
        with pytest.raises(MarketNotAuthenticated) as caught:
            scene.market.order("ordr_1")
        assert scene.server.seen == []
        assert "sk_live" not in everything_told(caught.value)


def everything_told(error: BaseException | None) -> str:
    """Of an exception and all that led to it: what a log, a report or a debugger would print."""
    told = "".join(traceback.format_exception(error)) if error else ""
    while error:
        told += repr(error) + str(error) + repr(error.args) + repr(vars(error))
        told += repr(getattr(getattr(error, "_request", None), "headers", {}))
        assert not isinstance(error, httpx.HTTPError), "it holds the request, and so the token"
        error = error.__cause__ or error.__context__
    return told


QUOTING = f"bad token {TOKEN} or {USER_DATA}"


@pytest.mark.parametrize(
    "failure",
    [
        *BROKEN,
        Scripted(status=401, body=an_error("authentication_error", QUOTING)),
        Scripted(
            status=422,
            body=an_error("invalid", QUOTING, details=[{"field": USER_DATA, "code": TOKEN, "message": QUOTING}]),
        ),
        Scripted(status=500, body=an_error("api_error", QUOTING)),
        Scripted(status=201, body=an_instance(created_at=QUOTING, status=7)),
        Scripted(status=201, body=QUOTING.encode()),
        Scripted(status=400, body=QUOTING.encode()),
    ],
)
def test_no_secret_is_ever_told(failure: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs, a_scene(failure, failure, **QUICK, attempts=2) as scene:
        for do in (an_instance_of, lambda market: market.order("ordr_1")):
            with pytest.raises(MarketError) as caught:
                do(scene.market)
            told = everything_told(caught.value) + repr(scene.market) + repr(scene.calls) + repr(logs) + caplog.text
            assert TOKEN not in told
            assert "join_0123456789abcdef" not in told
            assert TOKEN not in "".join(str(seen.query) + seen.path for seen in scene.server.seen)


def a_circuit() -> dict[str, Any]:
    return {"breaker": CircuitBreaker(failures=3, seconds=30), "attempts": 1}


def fail(scene: Scene, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(MarketUnavailable):
            scene.market.order("ordr_1")


def test_the_circuit_opens_and_nothing_more_is_sent() -> None:
    with a_scene(*[DROPPED] * 3, **a_circuit()) as scene:
        fail(scene, 3)
        with pytest.raises(MarketUnavailable, match="circuit is open") as caught:
            an_instance_of(scene.market)
        assert type(caught.value) is MarketUnavailable
        assert caught.value.retry_after == 30.0
        assert len(scene.server.seen) == 3
        assert scene.outcomes[-1] == "circuit_open"
        assert scene.calls[-1].status is None


def test_the_circuit_lets_one_through_and_closes_when_it_is_answered() -> None:
    with a_scene(*[DROPPED] * 3, OK, OK, **a_circuit()) as scene:
        fail(scene, 3)
        scene.clock.now += 30
        scene.market.order("ordr_1")
        scene.market.order("ordr_1")
        assert len(scene.server.seen) == 5


def test_the_circuit_stays_open_when_the_one_fails() -> None:
    with a_scene(*[DROPPED] * 4, OK, **a_circuit()) as scene:
        fail(scene, 3)
        scene.clock.now += 30
        fail(scene, 2)
        assert len(scene.server.seen) == 4


@pytest.mark.parametrize("answered", [Scripted(status=404, body=an_error("not_found")), Scripted(body=b"<html>")])
def test_a_refusal_or_nonsense_is_an_answer_to_the_circuit(answered: Scripted) -> None:
    with a_scene(DROPPED, DROPPED, answered, DROPPED, DROPPED, OK, **a_circuit()) as scene:
        fail(scene, 2)
        with pytest.raises((MarketRefused, MarketAnswerMalformed)):
            scene.market.order("ordr_1")
        fail(scene, 2)
        scene.market.order("ordr_1")


def test_retries_open_the_circuit_too() -> None:
    breaker = CircuitBreaker(failures=2, seconds=30)
    with a_scene(*[DROPPED] * 5, breaker=breaker) as scene:
        fail(scene)
        assert len(scene.server.seen) == 2
        assert scene.outcomes == ["unavailable", "unavailable", "circuit_open"]


def test_a_gauge_that_breaks_loses_no_answer() -> None:
    def observe(_: object) -> None:
        raise RuntimeError("full")

    with capture_logs() as logs, a_scene(Scripted(status=201, body=an_instance()), observe=observe) as scene:
        assert an_instance_of(scene.market).id == "inst_1"
    assert [line["event"] for line in logs] == ["market.observe_failed"]


def test_calls_are_measured() -> None:
    with a_scene(Scripted(status=402, body=an_error("payment_required"))) as scene:
        with pytest.raises(MarketRefused):
            an_order_of(scene.market)
        (call,) = scene.calls
        assert (call.operation, call.method, call.status, call.outcome) == ("create_order", "POST", 402, "refused")


def test_many_threads_share_one_client() -> None:
    with a_scene(*[Scripted(body=a_page(an_order()))] * 40) as scene:
        with ThreadPoolExecutor(8) as pool:
            lists = list(pool.map(lambda _: list(scene.market.orders()), range(40)))
        assert [len(orders) for orders in lists] == [1] * 40
