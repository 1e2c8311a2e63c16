"""Every answer of every endpoint has the shape that the market's own schema (OAS-2607) says."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sandbox_process import PREVIEW, SandboxMarket

jsonschema = pytest.importorskip("jsonschema")

_SCHEMA = Path(__file__).parents[2].parent / "shared/reference/sfcompute-preview-v2.openapi.json"
if not _SCHEMA.exists():
    pytest.skip(f"the market's schema is not at {_SCHEMA}", allow_module_level=True)

# Parts of the API that the sandbox doesn't play.
_LEFT_OUT = ("/deployments", "/instance_templates", "/feature_flags", "/users")
HOUR = 3600
WHOLE_DAY = 24 * HOUR


class Checked:
    """Asks, and holds each answer against the schema of its path, method and status."""

    def __init__(self, market: SandboxMarket) -> None:
        self._market = market
        self._document = json.loads(_SCHEMA.read_text())
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, method: str, path: str, status: int, **more: Any) -> Any:
        answer = self._market.request(method, PREVIEW + path, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        template = self._template(path)
        self._validate(self._document["paths"][template][method.lower()], answer)
        self._seen.add((method, template))
        return answer.json() if answer.content else None

    @property
    def unseen(self) -> set[tuple[str, str]]:
        operations = {
            (method.upper(), path)
            for path, methods in self._document["paths"].items()
            for method in methods
            if method in {"get", "post", "patch", "delete", "put"}
            and not path.removeprefix(PREVIEW).startswith(_LEFT_OUT)
        }
        return operations - self._seen

    def _template(self, path: str) -> str:
        asked = PREVIEW + path.partition("?")[0]
        fixed = [one for one in self._document["paths"] if one == asked]
        matching = [one for one in self._document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), asked)]
        return (fixed or matching)[0]

    def _validate(self, operation: dict[str, Any], answer: httpx.Response) -> None:
        declared = operation["responses"].get(str(answer.status_code))
        assert declared is not None, (
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} undeclared"
        )
        schema = declared.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            assert not answer.content
            return
        whole = {**schema, "components": self._document["components"]}
        body = answer.json()
        validator = jsonschema.Draft202012Validator(whole)
        problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
        assert not problems, f"{answer.request.method} {answer.request.url}: {problems[:5]}"
        self._no_unknown_fields(schema, body, str(answer.request.url))

    def _no_unknown_fields(self, schema: dict[str, Any], body: Any, where: str) -> None:
        """The schema lets anything be added; the sandbox adds nothing at the top, nor in a list's rows."""
        known = self._fields(schema)
        assert set(body) <= known, f"{where}: {set(body) - known} are not fields of it"
        rows = body.get("data")
        if isinstance(rows, list) and rows:
            row_schema = self._resolved(schema)["properties"]["data"]["items"]
            extra = {key for row in rows for key in row} - self._fields(row_schema)
            assert not extra, f"{where}: {extra} are not fields of a row"

    def _fields(self, schema: dict[str, Any]) -> set[str]:
        resolved = self._resolved(schema)
        parts = [part for how in ("allOf", "oneOf") for part in resolved.get(how, [])]
        return set(resolved.get("properties", {})).union(*(self._fields(part) for part in parts))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in schema:
            return schema
        return self._resolved(self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    data = tmp_path_factory.mktemp("schema")
    with SandboxMarket(data, rule=["boot_seconds=0", "depth=cover"]) as market:
        yield market


def test_every_answer_of_every_endpoint_is_as_the_schema_says(market: SandboxMarket) -> None:
    ask = Checked(market)
    _account(ask)
    pool, sku = _pools(ask)
    _orders(ask, pool, sku, int(market.now))
    _orderbook(ask, int(market.now))
    _skus(ask, sku)
    _images(ask)
    _instances(ask, pool, sku)
    _transfers(ask, pool, sku, int(market.now))
    _procurements(ask, pool, sku, market)
    _clean_up(ask)
    assert not ask.unseen


def test_errors_are_as_the_schema_says(market: SandboxMarket) -> None:
    ask = Checked(market)
    now = int(market.now)
    pool = market.a_pool("errors")
    too_dear = _order(pool, "isku_sea3h100", now, price="999999.000000", nodes=50)
    ask("POST", "/orders", 402, json=too_dear)
    ask("POST", "/orders", 422, json={**too_dear, "allocation_schedule_delta": []})
    ask("POST", "/orders", 422, json={**too_dear, "limit_price_dollars_per_node_hour": "12"})
    ask("POST", "/orders", 404, json={**too_dear, "pool": "pool_nobody"})
    ask("GET", "/orders/ordr_nobody", 404)
    ask("GET", "/pools", 401, token="sk_live_wrong")
    ask("GET", "/orders?status=lost", 422)
    ask("GET", "/orders?starting_after=ordrc_!!", 422)
    ask("DELETE", "/images/image_scalarubuntu", 403)
    unaligned = {"side": "buy", "requirements": {}, "start_at": 1, "duration_seconds": 60, "node_count": 1}
    ask("POST", "/order_preview", 422, json=unaligned)
    market.fault("halted", times=1)
    ask("POST", "/orders", 503, json=too_dear)
    market.fault("server_error", times=1)
    ask("GET", "/pools", 500)


def _account(ask: Checked) -> None:
    ask("GET", "/me", 200)
    made = ask("POST", "/workspaces", 201, json={"name": "second"})
    ask("GET", "/workspaces", 200)
    ask("GET", f"/workspaces/{made['id']}", 200)
    ask("PATCH", f"/workspaces/{made['id']}", 200, json={"name": "other"})
    ask("DELETE", f"/workspaces/{made['id']}", 204)


def _pools(ask: Checked) -> tuple[str, str]:
    workspace = ask("GET", "/workspaces", 200)["data"][0]
    pool = ask(
        "POST", "/pools", 201, json={"workspace": workspace["resource_path"], "name": "main", "tags": {"a": "b"}}
    )
    ask("GET", f"/pools/{pool['resource_path']}", 200)
    ask("PATCH", f"/pools/{pool['id']}", 200, json={"name": "renamed", "tags": None})
    return pool["id"], "isku_sea3h100"


def _order(
    pool: str, sku: str, now: int, *, side: str = "buy", price: str = "40.0", nodes: int = 2, **more: Any
) -> Any:
    span = {"start_at": now - now % 60, "end_at": now - now % 60 + WHOLE_DAY, "node_count": nodes}
    return {
        "pool": pool,
        "side": side,
        "instance_sku": sku,
        "allocation_schedule_delta": [span],
        "limit_price_dollars_per_node_hour": price,
        **more,
    }


def _orders(ask: Checked, pool: str, sku: str, now: int) -> None:
    start = now - now % 60
    asked = {"side": "buy", "start_at": start, "duration_seconds": WHOLE_DAY, "node_count": 2}
    assert ask("POST", "/order_preview", 200, json={**asked, "requirements": {"accelerator": ["H300"]}})["reason"]
    none = ask("POST", "/order_preview", 200, json={**asked, "requirements": {}, "node_count": 5000})
    assert none["reason"] == "no_availability"
    quoted = ask("POST", "/order_preview", 200, json={**asked, "requirements": {"accelerator": ["h100"]}, "pool": pool})
    made = ask("POST", "/orders", 201, json=quoted["post_order_body"], headers={"Idempotency-Key": "one"})
    assert made["status"] == "pending"
    assert ask("GET", f"/orders/{made['id']}", 200)["status"] == "filled"
    bid = ask("POST", "/orders", 201, json=_order(pool, sku, now, price="1.0", allow_standing=True))
    ask("POST", "/orders", 201, json=_order(pool, sku, now, price="50.0", side="sell", nodes=1, allow_standing=True))
    listed = ask("GET", f"/orders?pool={pool}&limit=2&sort_by=created_at", 200)
    assert listed["has_more"]
    assert ask("GET", f"/orders?pool={pool}&sort_by=created_at&starting_after={listed['cursor']}", 200)["data"]
    ask("DELETE", f"/orders/{bid['id']}", 204)
    assert ask("GET", f"/orders/{bid['id']}", 200)["status"] == "cancelled"
    ask("DELETE", f"/orders/{bid['id']}", 422)


def _orderbook(ask: Checked, now: int) -> None:
    start = now - now % 60
    window = f"start_at={start}&end_at={start + WHOLE_DAY}&requirements=accelerator:H100"
    assert ask("GET", f"/orderbook/quote?{window}", 200)["best_ask"]
    depth = ask("GET", f"/orderbook/depth?{window}&depth=3", 200)
    assert len(depth["asks"]) == 3
    spread = f"range_start_at={start}&range_end_at={start + 40 * WHOLE_DAY}"
    assert ask("GET", f"/orderbook/windows?{spread}&limit=1", 200)["has_more"]
    assert ask("GET", f"/orderbook/fills?{window}", 200)["data"]
    ask("GET", f"/orderbook/fills?{window}&since_at=1", 422)


def _skus(ask: Checked, sku: str) -> None:
    assert len(ask("GET", "/instance_skus", 200)["data"]) == 2
    ask("GET", f"/instance_skus/{sku}", 200)
    found = ask("GET", "/instance_skus/availability?accelerator=h100&num_accelerators=8", 200)
    assert [row["instance_sku"]["id"] for row in found["data"]] == [sku]
    assert ask("GET", f"/instance_skus/{sku}/availability", 200)["schedule"]
    ask("GET", "/instance_sku_property_catalog", 200)


def _images(ask: Checked) -> None:
    public = ask("GET", "/images?workspace=sfc:workspace:sfcompute:public", 200)["data"]
    assert [image["name"] for image in public] == ["scalar-ubuntu"]
    made = ask("POST", "/images", 201, json={"workspace": "default", "name": "mine"})["id"]
    ask("POST", f"/images/{made}/parts", 200, json={"part_id": 1})
    ask("GET", f"/images/{made}/download", 409)
    ask("POST", f"/images/{made}/complete", 200, json={"sha256": "a" * 64})
    ask("GET", f"/images/{made}", 200)
    ask("GET", "/images", 200)
    ask("GET", f"/images/{made}/download", 200)
    ask("POST", f"/images/{made}/revoke", 200)
    ask("POST", f"/images/{made}/reinstate", 200)
    ask("DELETE", f"/images/{made}", 200)


def _instances(ask: Checked, pool: str, sku: str) -> None:
    data = base64.b64encode(b"#cloud-config\n").decode()
    wanted = {"pool": pool, "image": "image_scalarubuntu", "instance_sku": sku, "cloud_init_user_data": data}
    made = ask("POST", "/instances", 201, json={**wanted, "tags": {"role": "node"}})["id"]
    assert ask("GET", f"/instances/{made}", 200)["status"] == "running"
    ask("GET", "/instances?tag=role%3Dnode&include=cloud_init_user_data", 200)
    ask("GET", f"/instances/{made}/ssh", 200)
    ask("GET", f"/instances/{made}/logs", 200)
    ask("PATCH", f"/instances/{made}", 200, json={"name": "first", "priority_level": "critical"})
    ask("PATCH", "/instances", 200, json={"data": [{"id": made, "priority_level": "yield"}]})
    ask("DELETE", f"/instances/{made}", 409)
    replacing = {"image": "image_scalarubuntu"}
    second = ask("POST", f"/instances/{made}/replace", 201, json=replacing, headers={"Idempotency-Key": "r"})["id"]
    again = ask("POST", f"/instances/{made}/replace", 201, json=replacing, headers={"Idempotency-Key": "r"})["id"]
    assert second == again
    ask("POST", f"/instances/{second}/terminate", 200)
    ask("POST", f"/instances/{second}/terminate", 404)
    ask("GET", f"/instances/{second}/ssh", 404)
    ask("DELETE", f"/instances/{second}", 204)


def _transfers(ask: Checked, pool: str, sku: str, now: int) -> None:
    other = ask("POST", "/pools", 201, json={"workspace": "default", "name": "other"})["id"]
    start = now - now % 60 + HOUR
    delta = [{"start_at": start, "end_at": start + HOUR, "node_count": 1}]
    moved = {"from_pool": pool, "to_pool": other, "instance_sku": sku, "allocation_schedule_delta": delta}
    done = ask("POST", "/pool_transfers", 202, json=moved)
    assert done["status"] == "executed"
    ask("GET", f"/pool_transfers/{done['id']}", 200)
    assert ask("GET", f"/pools/{other}", 200)["allocation_schedule"]["total"] == delta
    delta[0]["node_count"] = 500
    refused = ask("POST", "/pool_transfers", 202, json=moved)
    assert (refused["status"], bool(refused["rejected_reason"])) == ("rejected", True)
    ask("GET", f"/pool_transfers?pool={other}&status=executed", 200)
    ask("GET", "/pools?schedule_history_minutes=60", 200)


def _procurements(ask: Checked, pool: str, sku: str, market: SandboxMarket) -> None:
    wanted = {
        "pool": pool,
        "instance_sku": sku,
        "target": 3,
        "min_sell_price_dollars_per_node_hour": "1.0",
        "max_buy_price_dollars_per_node_hour": "30.0",
        "managed_window_minutes": 60,
    }
    made = ask("POST", "/procurements", 201, json=wanted)["id"]
    ask("POST", "/procurements", 409, json=wanted)
    market.advance(600)
    assert ask("GET", f"/orders?procurement={made}", 200)["data"]
    ask("GET", f"/procurements/{made}", 200)
    ask("GET", f"/procurements?pool={pool}", 200)
    assert ask("GET", f"/pools/{pool}", 200)["procurements"]
    ask("PATCH", f"/procurements/{made}", 200, json={"enabled": False})
    ask("DELETE", f"/procurements/{made}", 204)


def _clean_up(ask: Checked) -> None:
    gone = ask("POST", "/pools", 201, json={"workspace": "default", "name": "gone"})["id"]
    ask("DELETE", f"/pools/{gone}", 204)
    ask("GET", f"/pools/{gone}", 404)
