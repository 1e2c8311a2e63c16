"""What the client sends, and what it makes of the answers: against a real HTTP server that is told what to say."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from scalar.errors import InvalidRequest
from scalar.market.answers import Quoted
from scalar.market.errors import MarketAnswerMalformed, MarketNotFound, MarketRefused
from scalar.market.model import Rectangle, Side
from scalar.market.sfcompute import SfCompute
from tests.market.client_made_up import TOKEN, a_scene
from tests.market.wire_made_up import (
    NOON,
    SKU,
    a_fill,
    a_page,
    a_pool,
    a_procurement,
    a_range,
    an_error,
    an_instance,
    an_order,
)
from tests.scripted_server import Scripted, Seen

WHEN = datetime.fromtimestamp(NOON, UTC)
RECTANGLE = Rectangle(start=WHEN, end=WHEN + timedelta(hours=2), nodes=4)


def an_order_of(market: SfCompute, **changes: Any) -> Any:
    order = {
        "pool": "pool_1",
        "side": Side.BUY,
        "sku": "isku_1",
        "rectangle": RECTANGLE,
        "limit_price": Decimal("12.34"),
        "idempotency_key": "ord_1",
    }
    return market.create_order(**{**order, **changes})


def asked(do: Callable[[SfCompute], Any], *said: Any, status: int = 200) -> tuple[Any, list[Seen]]:
    """What it returned, and the requests that came."""
    with a_scene(*(Scripted(status=status, body=body) for body in said)) as scene:
        return do(scene.market), scene.server.seen


def test_an_order_as_it_is_written() -> None:
    order, (seen,) = asked(an_order_of, an_order(), status=201)
    assert order.id == "ordr_1"
    assert seen.line == "POST /preview/v2/orders"
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["idempotency-key"] == "ord_1"
    assert seen.body == {
        "pool": "pool_1",
        "side": "buy",
        "instance_sku": "isku_1",
        "allocation_schedule_delta": [{"start_at": NOON, "end_at": NOON + 7200, "node_count": 4}],
        "limit_price_dollars_per_node_hour": "12.340000",
        "allow_standing": False,
        "allow_partial": False,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"limit_price": Decimal("12.3456789")},
        {"limit_price": Decimal(-1)},
        {"limit_price": Decimal("NaN")},
        {"limit_price": Decimal("Infinity")},
        {"idempotency_key": ""},
        {"idempotency_key": "zwölf"},
        {"idempotency_key": "a\r\nb"},
        {"rectangle": Rectangle(start=WHEN.replace(tzinfo=None), end=WHEN, nodes=1)},
        {"rectangle": Rectangle(start=WHEN.replace(microsecond=1), end=WHEN, nodes=1)},
    ],
)
def test_what_cannot_be_written_is_never_sent(change: dict[str, Any]) -> None:
    with a_scene() as scene:
        with pytest.raises(InvalidRequest):
            an_order_of(scene.market, **change)
        assert scene.server.seen == []


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a?b", "a b", "ordr_1\n", "%2e%2e", "#"])
def test_an_id_that_would_make_another_url_is_never_sent(id: str) -> None:
    with a_scene() as scene:
        for call in (scene.market.cancel_order, scene.market.terminate_instance, scene.market.pool):
            with pytest.raises(InvalidRequest):
                call(id)
        assert scene.server.seen == []


def test_orders_are_asked_for_by_repeated_keys_and_page_by_page() -> None:
    first = a_page(an_order(id="ordr_1"), an_order(id="ordr_2"), cursor="ordrc_1")
    orders, (one, two) = asked(
        lambda market: list(
            market.orders(
                pool="pool_1",
                statuses=["standing", "pending"],
                created_after=WHEN.replace(microsecond=700_000),
                created_before=WHEN.replace(microsecond=700_000),
            )
        ),
        first,
        a_page(an_order(id="ordr_3")),
    )
    assert [order.id for order in orders] == ["ordr_1", "ordr_2", "ordr_3"]
    query = {
        "pool": ["pool_1"],
        "status": ["standing", "pending"],
        "created_after": [str(NOON)],
        "created_before": [str(NOON + 1)],
        "limit": ["200"],
    }
    assert one.query == query
    assert two.query == {**query, "starting_after": ["ordrc_1"]}


def test_an_empty_list_is_empty() -> None:
    orders, seen = asked(lambda market: list(market.orders()), a_page())
    assert (orders, len(seen)) == ([], 1)


def test_a_page_may_be_empty_before_the_end() -> None:
    pools, seen = asked(lambda market: list(market.pools()), a_page(cursor="poolc_1"), a_page(a_pool()))
    assert (len(pools), len(seen)) == (1, 2)


@pytest.mark.parametrize(
    "pages",
    [
        [a_page(an_order(), cursor="c1"), a_page(an_order(), cursor="c1")],
        [a_page(cursor="c1"), a_page(cursor="c2"), a_page(cursor="c1")],
        [a_page(an_order(), has_more=True)],
    ],
)
def test_a_list_whose_cursor_repeats_or_is_missing_never_ends_well(pages: list[Any]) -> None:
    with a_scene(*(Scripted(body=page) for page in pages)) as scene:
        with pytest.raises(MarketAnswerMalformed) as caught:
            list(scene.market.orders())
        assert caught.value.path == "cursor"
        assert len(scene.server.seen) == len(pages)


def test_a_fault_on_a_later_page_is_an_error_and_no_short_list() -> None:
    with a_scene(Scripted(body=a_page(an_order(), cursor="c1")), Scripted(body={"object": "list"})) as scene:
        with pytest.raises(MarketAnswerMalformed) as caught:
            list(scene.market.orders())
        assert caught.value.path == "data"
        assert str(caught.value).startswith("orders: data")


def test_an_instance_is_started_with_its_user_data() -> None:
    instance, (seen,) = asked(
        lambda market: market.create_instance(
            pool="pool_1",
            image="sfc:image:sfcompute:public:ubuntu",
            sku="isku_1",
            name="ins-1",
            user_data="#cloud-config\nä",
            tags={"scalar": "ins_1"},
        ),
        an_instance(),
        status=201,
    )
    assert instance.tags == {"scalar": "ins_1"}
    assert seen.body == {
        "pool": "pool_1",
        "image": "sfc:image:sfcompute:public:ubuntu",
        "instance_sku": "isku_1",
        "name": "ins-1",
        "cloud_init_user_data": base64.b64encode("#cloud-config\nä".encode()).decode(),
        "tags": {"scalar": "ins_1"},
    }
    assert "idempotency-key" not in seen.headers


def test_instances_by_their_tags() -> None:
    _, (seen,) = asked(lambda market: list(market.instances(tags={"scalar": "ins_1", "a": "b"})), a_page())
    assert seen.query["tag"] == ["scalar=ins_1", "a=b"]


REQUIREMENTS = {"accelerator": ["H100", "H200"], "region": ["us-east"]}
ECHO = {"requirements": {}, "start_at": NOON, "end_at": NOON + 3600, "requested_at": NOON}
LEVEL = {
    "instance_sku": "isku_1",
    "dollars_per_node_hour": "11.000000",
    "allocation_schedule_delta": [a_range(hours=1)],
}


def test_the_book_of_a_window() -> None:
    window = {"start": WHEN, "end": WHEN + timedelta(hours=1), "requirements": REQUIREMENTS}
    quote, (seen,) = asked(lambda market: market.quote(**window), {**ECHO, "best_ask": LEVEL})
    assert (quote.best_bid, quote.best_ask.price) == (None, Decimal(11))
    assert seen.query == {
        "start_at": [str(NOON)],
        "end_at": [str(NOON + 3600)],
        "requirements": ["accelerator:H100,H200;region:us-east"],
    }
    depth, (seen,) = asked(
        lambda market: market.depth(**window, levels=3), {**ECHO, "bids": [], "asks": [LEVEL, LEVEL]}
    )
    assert (len(depth.bids), len(depth.asks), seen.query["depth"]) == (0, 2, ["3"])


def test_windows_and_fills_of_the_book() -> None:
    row = {
        "instance_sku": "isku_1",
        "start_at": NOON,
        "end_at": NOON + 3600,
        "duration_hours": 1,
        "total_bid_order_count": 0,
        "total_ask_order_count": 2,
        "best_ask": LEVEL,
    }
    end = WHEN + timedelta(days=1)
    windows, (seen,) = asked(lambda market: list(market.windows(start=WHEN, end=end)), a_page(row))
    assert (windows[0].ask_orders, seen.query["range_end_at"]) == (2, [str(NOON + 86400)])
    fill = {**LEVEL, "filled_at": NOON}
    fills, (seen,) = asked(lambda market: list(market.fills(start=WHEN, end=end, since=WHEN)), a_page(fill))
    assert (fills[0].filled_at, seen.query["since_at"]) == (WHEN, [str(NOON)])


def test_a_preview_is_asked_for_and_orders_nothing() -> None:
    body = {
        "pool": "pool_1",
        "side": "buy",
        "instance_sku": "isku_1",
        "allocation_schedule_delta": [a_range()],
        "limit_price_dollars_per_node_hour": "11.000000",
    }
    said = {
        "type": "quoted",
        "post_order_body": body,
        "fee": {"flat_dollars_per_node_hour": "0.0", "percentage_bps": 0},
    }
    preview, (seen,) = asked(
        lambda market: market.preview_order(
            side=Side.BUY, requirements=REQUIREMENTS, start=WHEN, seconds=7200, nodes=4
        ),
        said,
    )
    assert isinstance(preview, Quoted)
    assert seen.body == {
        "side": "buy",
        "requirements": REQUIREMENTS,
        "start_at": NOON,
        "duration_seconds": 7200,
        "node_count": 4,
    }


def test_what_has_no_body_is_done() -> None:
    for do, line in (
        (lambda market: market.cancel_order("ordr_1"), "DELETE /preview/v2/orders/ordr_1"),
        (lambda market: market.delete_pool("pool_1"), "DELETE /preview/v2/pools/pool_1"),
        (lambda market: market.delete_instance("inst_1"), "DELETE /preview/v2/instances/inst_1"),
        (lambda market: market.delete_procurement("proc_1"), "DELETE /preview/v2/procurements/proc_1"),
        (lambda market: market.terminate_instance("inst_1"), "POST /preview/v2/instances/inst_1/terminate"),
    ):
        result, (seen,) = asked(do, None, status=204)
        assert (result, seen.line, seen.body) == (None, line, None)


def test_ssh_is_none_until_the_market_has_it() -> None:
    told = {"hostname": "h", "port": 22, "host_keys": [{"key_type": "ssh-ed25519", "key": "AAAA"}]}
    ssh, _ = asked(lambda market: market.ssh("inst_1"), told)
    assert (ssh.hostname, ssh.port, ssh.host_keys[0].key) == ("h", 22, "AAAA")
    assert asked(lambda market: market.ssh("inst_1"), an_error("not_found"), status=404)[0] is None


def test_logs_are_read_to_where_they_are() -> None:
    chunks = [{"seqnum": 5 + n, "timestamp_realtime": NOON, "data": "aGk="} for n in range(1001)]
    read, (one, two) = asked(
        lambda market: list(market.instance_logs("inst_1", after=4)),
        {"object": "list", "data": chunks[:1000]},
        {"object": "list", "data": chunks[1000:]},
    )
    assert [chunk.seqnum for chunk in read] == list(range(5, 1006))
    assert (one.query["seqnum_after"], two.query["seqnum_after"]) == (["5"], ["1005"])


def test_logs_that_go_back_are_an_error() -> None:
    with (
        a_scene(Scripted(body={"data": [{"seqnum": 3, "timestamp_realtime": NOON, "data": ""}]})) as scene,
        pytest.raises(MarketAnswerMalformed),
    ):
        list(scene.market.instance_logs("inst_1", after=3))


def test_priorities_are_set_together() -> None:
    instances, (seen,) = asked(
        lambda market: market.set_priorities({"inst_1": "yield", "inst_2": "critical"}),
        {"object": "list", "data": [an_instance(), an_instance(id="inst_2")]},
    )
    assert [instance.id for instance in instances] == ["inst_1", "inst_2"]
    assert seen.body == {
        "data": [{"id": "inst_1", "priority_level": "yield"}, {"id": "inst_2", "priority_level": "critical"}]
    }
    assert asked(lambda market: market.set_priorities({})) == ([], [])


def test_a_machine_is_replaced_under_a_key() -> None:
    _, (seen,) = asked(
        lambda market: market.replace_instance("inst_1", image="image_2", user_data="x", idempotency_key="k"),
        an_instance(id="inst_2"),
        status=201,
    )
    assert (seen.line, seen.headers["idempotency-key"]) == ("POST /preview/v2/instances/inst_1/replace", "k")
    assert seen.body == {"image": "image_2", "cloud_init_user_data": "eA=="}


def test_kinds_of_machines_their_availability_and_their_properties() -> None:
    skus, _ = asked(lambda market: list(market.skus()), a_page({**SKU, "num_accelerators": {"value": 8}}))
    assert skus[0].num_accelerators == 8
    row = {"object": "instance_sku_availability", "instance_sku": SKU, "schedule": [a_range()]}
    availability, (seen,) = asked(lambda market: market.availability(accelerator="H100"), a_page(row))
    assert availability == {"isku_1": (RECTANGLE,)}
    assert seen.query["accelerator"] == ["H100"]
    named = {"name": "accelerator", "display_name": "GPU"}
    catalog, _ = asked(
        lambda market: market.property_catalog(),
        a_page({"type": "enumeration", "key": named, "values": [{"name": "H100", "display_name": "H100"}]}),
    )
    assert catalog == {"accelerator": ("H100",)}


def test_a_procurement_is_made_and_changed() -> None:
    made, (seen,) = asked(
        lambda market: market.create_procurement(
            pool="pool_1",
            sku="isku_1",
            target=0,
            min_sell_price=Decimal(8),
            max_buy_price=Decimal(16),
            managed_window_minutes=60,
            enabled=False,
        ),
        a_procurement(),
        status=201,
    )
    assert made.target == 3
    assert (seen.body["target"], seen.body["enabled"], seen.body["max_buy_price_dollars_per_node_hour"]) == (
        0,
        False,
        "16.000000",
    )
    _, (seen,) = asked(lambda market: market.patch_procurement("proc_1", enabled=False), a_procurement())
    assert (seen.line, seen.body) == ("PATCH /preview/v2/procurements/proc_1", {"enabled": False})
    _, (seen,) = asked(lambda market: list(market.procurements(pool="pool_1")), a_page(a_procurement()))
    assert seen.query == {"pool": ["pool_1"], "limit": ["50"]}


def test_workspaces_come_whole_or_not_at_all() -> None:
    row = {"id": "wksp_1", "name": "default", "created_at": NOON}
    assert asked(lambda market: market.workspaces(), a_page(row))[0][0].name == "default"
    with a_scene(Scripted(body=a_page(row, has_more=True))) as scene, pytest.raises(MarketAnswerMalformed):
        scene.market.workspaces()


def test_single_things() -> None:
    image = {"id": "image_1", "name": "u", "upload_status": "completed", "workspace_id": "wksp_1", "created_at": NOON}
    for do, said, path in (
        (lambda market: market.me(), {"account_id": "acct_1", "created_at": NOON}, "/me"),
        (lambda market: market.order("ordr_1"), an_order(fills=[a_fill()]), "/orders/ordr_1"),
        (lambda market: market.instance("inst_1"), an_instance(), "/instances/inst_1"),
        (lambda market: market.pool("sfc:pool:a:b:c"), a_pool(), "/pools/sfc:pool:a:b:c"),
        (lambda market: market.procurement("proc_1"), a_procurement(), "/procurements/proc_1"),
        (lambda market: market.image("image_1"), image, "/images/image_1"),
        (lambda market: market.create_pool(workspace="wksp_1", name="main"), a_pool(), "/pools"),
        (lambda market: next(market.images(workspace="wksp_1")), a_page(image), "/images"),
    ):
        _, (seen,) = asked(do, said)
        assert seen.path == f"/preview/v2{path}"


def test_balances_in_cents() -> None:
    said = {
        "object": "balances",
        "available_balance_cents": 900,
        "current_balance_cents": 1000,
        "current_overage_cents": 0,
        "overage_limit_cents": 0,
        "updated_at": NOON,
    }
    balances, (seen,) = asked(lambda market: market.balances(), said)
    assert (balances.available_cents, balances.current_cents, seen.line) == (900, 1000, "GET /v1/balances")


def a_transaction(number: int) -> dict[str, Any]:
    return {
        "cursor": f"txc_{number}",
        "transaction_time": NOON,
        "amount_cents": 1,
        "balance": 1,
        "details": {"type": "refund"},
    }


@pytest.mark.parametrize("said", [{}, {"has_more": True}])
def test_transactions_from_behind_a_cursor(said: dict[str, Any]) -> None:
    rows = [a_transaction(number) for number in range(101)]
    last = {"has_more": False} if said else {}
    read, (one, two) = asked(
        lambda market: list(market.transactions(after="txc_start")),
        {"data": rows[:100], **said},
        {"data": rows[100:], **last},
    )
    assert [row.cursor for row in read] == [row["cursor"] for row in rows]
    assert one.query["starting_after_cursor"] == ["txc_start"]
    assert two.query["starting_after_cursor"] == ["txc_99"]


def test_transactions_that_come_twice_are_an_error() -> None:
    with (
        a_scene(Scripted(body={"data": [a_transaction(1), a_transaction(1)]})) as scene,
        pytest.raises(MarketAnswerMalformed),
    ):
        list(scene.market.transactions())


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, an_error("not_found"), MarketNotFound),
        (409, an_error("conflict"), MarketRefused),
        (404, b"<html>no such page</html>", MarketAnswerMalformed),
        (200, b"<html>hello</html>", MarketAnswerMalformed),
        (302, b"", MarketAnswerMalformed),
        (304, b"", MarketAnswerMalformed),
    ],
)
def test_an_answer_that_says_no_or_nothing_is_not_asked_for_again(status: int, body: Any, kind: type) -> None:
    with a_scene(Scripted(status=status, body=body, headers={"Location": "/elsewhere"})) as scene:
        with pytest.raises(kind):
            scene.market.order("ordr_1")
        assert scene.lines == ["GET /preview/v2/orders/ordr_1"]
        assert scene.waits == []


def test_a_page_of_html_does_not_say_that_an_order_is_cancelled() -> None:
    with a_scene(Scripted(body=b"<html>back soon</html>")) as scene, pytest.raises(MarketAnswerMalformed):
        scene.market.cancel_order("ordr_1")
