"""What is owned, over HTTP: by its end, with what was sold of it and the machines on it."""

from datetime import datetime, timedelta
from decimal import Decimal

from tests.api.conftest import Api
from tests.api.trading import H100, Trading, a_minute
from tests.made_up import a_block

_HOUR = timedelta(hours=1)


def test_what_ends_first_comes_first_and_what_has_ended_only_when_asked_for(api: Api) -> None:
    with api.database.transaction() as tx:
        over, _ = a_block(tx, start=a_minute(-5 * _HOUR))
        long, _ = a_block(tx, start=a_minute(-_HOUR), hours=24 * 30)
        short, _ = a_block(tx, start=a_minute(-_HOUR), hours=2)
        later, _ = a_block(tx, start=a_minute(24 * _HOUR), hours=2)
    operator = api.operator()
    assert [block["id"] for block in operator.get("/v1/blocks").json()["data"]] == [short, later, long]
    every = operator.get("/v1/blocks", params={"all": True}).json()["data"]
    assert [block["id"] for block in every] == [over, short, later, long]
    assert [block["ends_soon"] for block in every] == [False, True, True, False]
    assert [block["hours_left"] for block in every][0::2] == ["0.0", "2.0"]
    assert Decimal("0.9") <= Decimal(every[1]["hours_left"]) <= 1


def test_how_soon_is_soon_is_the_callers_to_say(api: Api) -> None:
    with api.database.transaction() as tx:
        a_block(tx, start=a_minute(), hours=10)
    operator = api.operator()
    for hours, soon in ((9, False), (11, True)):
        (block,) = operator.get("/v1/blocks", params={"soon_hours": hours}).json()["data"]
        assert block["ends_soon"] is soon


def test_a_block_knows_its_price_its_cost_and_its_order(api: Api) -> None:
    with api.database.transaction() as tx:
        block_id, order = a_block(tx, start=a_minute(), hours=1.5, nodes=4, price="12.36")
    (block,) = api.operator().get("/v1/blocks").json()["data"]
    assert (block["id"], block["order_id"], block["nodes"]) == (block_id, order.id, 4)
    assert (block["price"], block["cost"]) == ("12.360000", "74.160000")
    assert (block["sku"], block["sku_alias"], block["gpu_type"]) == (H100, H100, None)
    assert (block["sold_node_hours"], Decimal(block["proceeds"]), block["machines"]) == ("0.000", 0, [])


def test_the_machines_on_a_block_are_shown_with_their_nodes(trading: Trading) -> None:
    trading.bought(nodes=2)
    agents = trading.machines_join()
    blocks = trading.operator.get("/v1/blocks").json()["data"]
    machines = [machine for block in blocks for machine in block["machines"]]
    assert {machine["node_id"] for machine in machines} == {agent.id for agent in agents}
    assert {machine["state"] for machine in machines} == {"joined"}
    assert {machine["node"] for machine in machines} == {machine["instance_id"] for machine in machines}
    ends = {datetime.fromisoformat(block["end"]) for block in blocks}
    assert {datetime.fromisoformat(machine["until"]) for machine in machines} == ends
    assert blocks[0]["sku_alias"] == "sea-3-h100"
    assert (blocks[0]["gpu_type"], blocks[0]["gpus_per_node"]) == ("H100", 8)


def test_a_list_has_pages(api: Api) -> None:
    with api.database.transaction() as tx:
        # Two end at the same time: the page must not break between them.
        made = [a_block(tx, start=a_minute(), hours=hours)[0] for hours in (1, 2, 2, 3)]
    operator, seen, cursor = api.operator(), [], None
    for _ in range(2):
        page = operator.get("/v1/blocks", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [block["id"] for block in page["data"]]
        cursor = page["next_cursor"]
    assert (sorted(seen), seen[0], seen[-1], cursor) == (sorted(made), made[0], made[-1], None)
