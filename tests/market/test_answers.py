"""How the market's answers are read: strictly where it matters, leniently where it grows."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.market import wire
from scalar.market.answers import (
    FOREVER,
    BookQuote,
    Instance,
    InstanceStatus,
    LogChunk,
    MarketOrder,
    MarketTransaction,
    OrderStatus,
    Page,
    Pool,
    Previewed,
    Procurement,
    Quoted,
    Sku,
    Unavailable,
    reader,
    refusal,
)
from scalar.market.answers.refusals import quotes
from scalar.market.errors import (
    Fault,
    InsufficientFunds,
    MarketAnswerMalformed,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketRefused,
)
from scalar.market.model import Rectangle, Side
from tests.market.wire_made_up import NOON, SKU, a_fill, a_page, a_pool, a_procurement, a_range, an_instance, an_order

WHEN = datetime.fromtimestamp(NOON, UTC)
LATER = datetime.fromtimestamp(NOON + 7200, UTC)
RECTANGLE = Rectangle(start=WHEN, end=LATER, nodes=4)


def read(kind: type[Any], said: Any) -> Any:
    return reader(kind)(json.dumps(said).encode())


def without(said: dict[str, Any], *path: str) -> dict[str, Any]:
    copy = json.loads(json.dumps(said))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return copy


def test_an_order_with_its_fills() -> None:
    order = read(
        MarketOrder,
        an_order(
            status="filled",
            fills=[a_fill()],
            filled_allocation_schedule_delta=[a_range()],
            filled_at=NOON - 60,
            filled_average_price_dollars_per_node_hour="11.200020",
        ),
    )
    assert (order.id, order.pool_id, order.side, order.sku) == ("ordr_1", "pool_1", Side.BUY, "isku_1")
    assert (order.schedule, order.filled_schedule) == ((RECTANGLE,), (RECTANGLE,))
    assert (order.limit_price, order.average_price) == (Decimal("12.34"), Decimal("11.200020"))
    assert order.status is OrderStatus.FILLED
    (fill,) = order.fills
    assert (fill.contract, fill.price, fill.schedule) == ("cont_1", Decimal("11.200020"), (RECTANGLE,))


def test_an_order_that_still_speaks_of_a_capacity() -> None:
    assert read(MarketOrder, without(an_order(), "pool")).pool_id == "cap_1"


def test_values_are_frozen_and_can_be_made_by_our_names() -> None:
    order = MarketOrder(
        id="ordr_1",
        pool_id="pool_1",
        side=Side.BUY,
        sku="isku_1",
        schedule=(RECTANGLE,),
        filled_schedule=(),
        limit_price=Decimal(12),
        status=OrderStatus.PENDING,
        allow_standing=False,
        created_at=WHEN,
    )
    assert order.schedule == (RECTANGLE,)
    with pytest.raises(ValueError, match="frozen"):
        order.id = "ordr_2"  # type: ignore[misc]


@pytest.mark.parametrize(
    "path",
    [
        ("id",),
        ("side",),
        ("instance_sku",),
        ("instance_sku", "id"),
        ("allocation_schedule_delta",),
        ("filled_allocation_schedule_delta",),
        ("limit_price_dollars_per_node_hour",),
        ("status",),
        ("allow_standing",),
        ("created_at",),
    ],
)
def test_a_missing_field_is_an_error_that_names_it(path: tuple[str, ...]) -> None:
    with pytest.raises(MarketAnswerMalformed) as caught:
        read(MarketOrder, without(an_order(), *path))
    assert caught.value.path.startswith(path[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit_price_dollars_per_node_hour", 12.34),
        ("limit_price_dollars_per_node_hour", "-1.000000"),
        ("limit_price_dollars_per_node_hour", "1e3"),
        ("limit_price_dollars_per_node_hour", "NaN"),
        ("created_at", "2026-11-21T12:00:00Z"),
        ("created_at", NOON * 1000),
        ("created_at", True),
        ("created_at", None),
        ("side", "borrow"),
        ("allow_standing", "false"),
        ("fills", {}),
        ("allocation_schedule_delta", {}),
        ("allocation_schedule_delta", [3]),
        ("allocation_schedule_delta", [{"start_at": NOON, "end_at": NOON + 60}]),
        ("allocation_schedule_delta", [{"start_at": NOON, "end_at": NOON + 60, "node_count": 1.5}]),
        ("allocation_schedule_delta", [{"start_at": NOON, "end_at": NOON + 60, "node_count": -1}]),
        ("allocation_schedule_delta", [{"start_at": NOON, "end_at": NOON, "node_count": 1}]),
        ("allocation_schedule_delta", [{"start_at": NOON, "end_at": None, "node_count": 1}]),
        ("allocation_schedule_delta", [{"start_at": NOON, "node_count": 1}]),
        ("allocation_schedule_delta", [a_range(), a_range(NOON + 3600)]),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_an_error_that_names_it(field: str, value: Any) -> None:
    with pytest.raises(MarketAnswerMalformed) as caught:
        read(MarketOrder, an_order(**{field: value}))
    assert caught.value.path == field


@pytest.mark.parametrize("body", [b"", b"<html>down</html>", b"null", b"[]", b'"ok"', b"{", b"\xff\xfe"])
def test_what_is_no_answer_at_all_is_an_error(body: bytes) -> None:
    with pytest.raises(MarketAnswerMalformed):
        reader(MarketOrder)(body)


def test_fields_and_words_that_are_new_are_no_error() -> None:
    order = read(MarketOrder, an_order(status="paused", mood="good"))
    assert order.status == "paused"
    assert isinstance(order.status, OrderStatus)
    assert (order.status.known, order.status.ended) == (False, False)
    assert {order.status: 1}["paused"] == 1
    assert OrderStatus("filled").known
    assert not read(Instance, an_instance(status="hibernating")).status.ended
    assert [status for status in OrderStatus if status == "paused"] == []


def test_an_error_quotes_nothing_of_the_answer() -> None:
    with pytest.raises(MarketAnswerMalformed) as caught:
        read(Instance, an_instance(created_at="sk_live_abc"))
    error: BaseException | None = caught.value
    while error:
        assert "sk_live_abc" not in repr(error) + str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("kind", [MarketOrder, Instance])
def test_a_list_without_data_or_without_the_word_on_more_is_an_error(kind: type[Any]) -> None:
    for missing in ("data", "has_more"):
        with pytest.raises(MarketAnswerMalformed) as caught:
            read(Page[kind], without(a_page(), missing))
        assert caught.value.path == missing


def test_a_fault_in_a_list_says_in_which_row() -> None:
    with pytest.raises(MarketAnswerMalformed) as caught:
        read(Page[MarketOrder], a_page(an_order(), an_order(fills=[a_fill(), a_fill(filled_at="x")])))
    assert caught.value.path == "data.1.fills.1.filled_at"


def test_an_end_that_is_left_out_is_the_next_start_and_gaps_are_no_nodes() -> None:
    schedule = [
        {"start_at": NOON, "node_count": 4},
        {"start_at": NOON + 60, "end_at": NOON + 120, "node_count": 0},
        {"start_at": NOON + 180, "end_at": None, "node_count": 2},
    ]
    pool = read(Pool, a_pool(allocation_schedule={"total": schedule, "by_instance_sku": {"isku_1": schedule}}))
    at = [datetime.fromtimestamp(NOON + seconds, UTC) for seconds in (0, 60, 180)]
    assert pool.schedule_by_sku == {
        "isku_1": (
            Rectangle(start=at[0], end=at[1], nodes=4),
            Rectangle(start=at[2], end=FOREVER, nodes=2),
        )
    }


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 300), st.integers(1, 64)), max_size=8), st.randoms())
def test_a_schedule_is_read_as_it_was_meant_in_whatever_order_it_comes(
    steps: list[tuple[int, int, int]], random: Any
) -> None:
    rows, start = [], NOON
    for minutes, gap, nodes in steps:
        rows.append({"start_at": start, "end_at": start + minutes * 60, "node_count": nodes})
        start += (minutes + gap) * 60
    shuffled = random.sample(rows, len(rows))
    order = read(MarketOrder, an_order(filled_allocation_schedule_delta=shuffled))
    assert [wire.schedule(rectangle)[0] for rectangle in order.filled_schedule] == rows


def test_an_instance_and_one_without_tags() -> None:
    instance = read(Instance, an_instance())
    assert (instance.image, instance.tags, instance.status) == (
        "image_1",
        {"scalar": "ins_1"},
        InstanceStatus.RUNNING,
    )
    assert read(Instance, an_instance(tags=None, priority_level=None)).tags == {}


def test_a_sku_by_its_properties() -> None:
    sku = read(
        Sku,
        {
            **SKU,
            "accelerator": {"value": "H100", "display_value": "NVIDIA H100"},
            "num_accelerators": {"value": 8, "display_value": "8"},
            "memory": {"value": 2**40, "display_value": "1 TiB"},
            "supports_public_ipv4": {"value": False, "display_value": "no"},
            "region": None,
        },
    )
    assert (sku.accelerator, sku.num_accelerators, sku.memory_bytes, sku.region) == ("H100", 8, 2**40, None)
    assert sku.properties == {
        "accelerator": "H100",
        "num_accelerators": 8,
        "memory": 2**40,
        "supports_public_ipv4": False,
    }


@pytest.mark.parametrize("held", [{"display_value": "8"}, {"value": "8"}, {"value": None}, []])
def test_a_property_without_a_value_is_an_error_and_not_none(held: Any) -> None:
    with pytest.raises(MarketAnswerMalformed, match="num_accelerators"):
        read(Sku, {**SKU, "num_accelerators": held})


def test_a_preview_is_a_quote_or_a_reason() -> None:
    fee = {"flat_dollars_per_node_hour": "0.010000", "percentage_bps": 250}
    body = {
        "pool": "pool_1",
        "side": "buy",
        "instance_sku": "isku_1",
        "allocation_schedule_delta": [a_range()],
        "limit_price_dollars_per_node_hour": "11.000040",
    }
    quoted = read(Previewed, {"type": "quoted", "post_order_body": body, "fee": fee}).root
    assert isinstance(quoted, Quoted)
    assert (quoted.sku, quoted.price, quoted.schedule) == ("isku_1", Decimal("11.000040"), (RECTANGLE,))
    assert (quoted.fee.flat, quoted.fee.bps, quoted.body) == (Decimal("0.01"), 250, body)
    nothing = read(Previewed, {"type": "unavailable", "reason": "no_availability"}).root
    assert isinstance(nothing, Unavailable)
    with pytest.raises(MarketAnswerMalformed):
        read(Previewed, {"type": "maybe"})


def test_an_empty_book_is_not_a_missing_one() -> None:
    echo = {"requirements": {}, "start_at": NOON, "end_at": NOON + 3600, "requested_at": NOON}
    assert read(BookQuote, echo).best_ask is None
    with pytest.raises(MarketAnswerMalformed):
        read(BookQuote, {})


def test_a_transaction_of_an_order_and_one_of_none() -> None:
    row = {
        "object": "transaction",
        "cursor": "txc_1",
        "transaction_time": NOON,
        "amount_cents": 1234,
        "balance": 99,
        "details": {"object": "details", "type": "buy_order", "order_id": "ordr_1"},
    }
    bought = read(MarketTransaction, row)
    assert (bought.kind, bought.order_id, bought.amount_cents, bought.balance_cents) == (
        "buy_order",
        "ordr_1",
        1234,
        99,
    )
    assert read(MarketTransaction, {**row, "details": {"type": "credit_grant"}}).order_id is None
    with pytest.raises(MarketAnswerMalformed, match="amount_cents"):
        read(MarketTransaction, {**row, "amount_cents": 12.34})


def test_a_procurements_target_is_a_number_or_as_many_as_there_are() -> None:
    assert read(Procurement, a_procurement()).target == 3
    assert read(Procurement, a_procurement(target="node_count")).target == "node_count"
    with pytest.raises(MarketAnswerMalformed):
        read(Procurement, a_procurement(target=-1))


def test_a_log_chunk_is_base64() -> None:
    row = {"seqnum": 3, "timestamp_realtime": NOON, "data": "aGk="}
    assert read(LogChunk, row).data == b"hi"
    with pytest.raises(MarketAnswerMalformed, match="data"):
        read(LogChunk, {**row, "data": "hi!"})


FAULT = {"field": "node_count", "code": "too_many", "message": "at most 3"}


@pytest.mark.parametrize(
    ("body", "type", "details"),
    [
        ({"error": {"type": "unprocessable_entity", "message": "no"}}, "unprocessable_entity", ()),
        (
            {"error": {"type": "unprocessable_entity", "message": "no", "details": [FAULT], "request_id": "req_1"}},
            "unprocessable_entity",
            (Fault(**FAULT),),
        ),
        ({"type": "invalid_request_error", "message": "no", "details": None}, "invalid_request_error", ()),
        (
            {"object": "error", "code": "order.invalid", "message": "no", "details": {"node_count": "at most 3"}},
            "order.invalid",
            (Fault(field="node_count", code="", message="at most 3"),),
        ),
        ({"error": {"type": "brand_new", "message": "no", "details": ["odd"]}}, "brand_new", ()),
    ],
)
def test_a_refusal_in_each_of_its_shapes(body: Any, type: str, details: tuple[Fault, ...]) -> None:
    error = refusal(422, json.dumps(body).encode(), about="create_order")
    assert isinstance(error, MarketRefused)
    assert (error.status, error.type, error.details) == (422, type, details)
    assert str(error) == f"create_order: 422 {type}: no"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, MarketNotAuthenticated), (402, InsufficientFunds), (404, MarketNotFound), (409, MarketRefused)],
)
def test_a_refusal_by_its_status(status: int, kind: type[MarketRefused]) -> None:
    error = refusal(status, b'{"error": {"type": "x", "message": "no"}}')
    assert type(error) is kind


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", b'{"detail": "Not Found"}', b"[]", b'{"error": "no"}'])
def test_a_gateways_404_does_not_say_that_a_thing_is_gone(body: bytes) -> None:
    assert isinstance(refusal(404, body), MarketAnswerMalformed)
    assert isinstance(refusal(401, body), MarketNotAuthenticated)


def test_a_message_that_quotes_a_secret_is_left_out() -> None:
    said = {
        "type": "invalid",
        "message": "bad: join=0123456789abcdef",
        "details": [{**FAULT, "message": "0123456789ab"}],
    }
    error = refusal(422, json.dumps({"error": said}).encode(), ("#cloud-config\njoin=0123456789abcdef",))
    assert isinstance(error, MarketRefused)
    assert "0123456789" not in repr(error) + str(error.details)
    assert error.details[0].field == "node_count"


@pytest.mark.parametrize(
    ("text", "secret", "quoted"),
    [
        ("abc", "", False),
        ("xabcx", "abc", True),
        ("xabx", "abc", False),
        ("", "abc", False),
        ("a" * 11, "a" * 40, False),
    ],
)
def test_a_quote_is_a_run_of_characters(text: str, secret: str, quoted: bool) -> None:
    assert quotes(text, secret) is quoted
