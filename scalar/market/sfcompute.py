"""The SFCompute market, as Scalar sees it: one method a call, values in, values out.

Talks to `/preview/v2` (pools, orders, instances; dollars per node-hour; minutes) and, for money only, `/v1` (cents).
Every method raises what `scalar.market.errors` draws, and `scalar.errors.InvalidRequest` for what can't be written on
the wire at all. Lists are iterators that ask for the next page when they come to it.

What is sent again by itself when no answer came: questions; orders and replacements, which carry an idempotency key;
and what asks for a state (cancel, terminate, delete, patch). `create_instance`, `create_pool` and `create_procurement`
are sent once: after `OutcomeUnknown`, look whether the thing is there.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from scalar.market import wire
from scalar.market.answers import (
    Account,
    Availability,
    Balances,
    BookDepth,
    BookQuote,
    BookWindow,
    Image,
    Instance,
    LogChunk,
    MarketOrder,
    MarketTransaction,
    Pool,
    Preview,
    Previewed,
    Procurement,
    PropertyDefinition,
    PublicFill,
    Sku,
    SshInfo,
    TransactionPage,
    Workspace,
)
from scalar.market.asking import V2, Asking, another
from scalar.market.calls import Query, Request
from scalar.market.errors import MarketAnswerMalformed, MarketNotFound
from scalar.market.model import Rectangle, Side
from scalar.market.wire import Requirements

_PROCUREMENTS, _TRANSACTIONS, _LOG_CHUNKS = 50, 100, 1000
"""The most rows of these that the market gives at once."""
Tags = Mapping[str, str]


class SfCompute(Asking):
    """`with SfCompute("https://api.sfcompute.com", token) as market`: takes what `Calls` takes."""

    def me(self) -> Account:
        return self._get("me", "/me", Account)

    # Orders

    def create_order(
        self,
        *,
        pool: str,
        side: Side,
        sku: str,
        rectangle: Rectangle,
        limit_price: Decimal,
        allow_standing: bool = False,
        allow_partial: bool = False,
        idempotency_key: str,
        once: bool = False,
    ) -> MarketOrder:
        """The same key again gives the same order. It fills later: ask for it until it has ended.

        `once`: the caller tries again, not the client; then a refusal is of this very attempt.
        """
        body = {
            "pool": pool,
            "side": side,
            "instance_sku": sku,
            "allocation_schedule_delta": wire.schedule(rectangle),
            "limit_price_dollars_per_node_hour": wire.dollars(limit_price),
            "allow_standing": allow_standing,
            "allow_partial": allow_partial,
        }
        return self._post("create_order", "/orders", MarketOrder, body, idempotency_key=idempotency_key, once=once)

    def order(self, id: str) -> MarketOrder:
        return self._get("order", f"/orders/{wire.identifier(id)}", MarketOrder)

    def orders(
        self,
        *,
        pool: str | None = None,
        workspace: str | None = None,
        side: Side | None = None,
        statuses: Iterable[str] = (),
        ids: Iterable[str] = (),
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        procurement: str | None = None,
    ) -> Iterator[MarketOrder]:
        """Newest first. Those of a procurement come only where it is named."""
        query = {
            "pool": pool,
            "workspace": workspace,
            "side": side,
            "status": list(statuses),
            "id": list(ids),
            "created_after": wire.since(created_after),
            "created_before": wire.until(created_before),
            "procurement": procurement,
        }
        return self._pages("orders", "/orders", MarketOrder, query)

    def cancel_order(self, id: str) -> None:
        """Asks for it: ask for the order until it has ended. `MarketRefused` 422: it can't be cancelled (any more)."""
        self._do("cancel_order", "DELETE", f"/orders/{wire.identifier(id)}")

    def preview_order(
        self,
        *,
        side: Side,
        requirements: Requirements,
        start: datetime,
        seconds: int,
        nodes: int,
        pool: str | None = None,
    ) -> Preview:
        """What such an order would fill at now; nothing is ordered."""
        body = {
            "side": side,
            "requirements": {name: list(values) for name, values in requirements.items()},
            "start_at": wire.second(start),
            "duration_seconds": seconds,
            "node_count": nodes,
        }
        body |= {"pool": pool} if pool else {}
        return self._post("preview_order", "/order_preview", Previewed, body, repeatable=True).root

    # The order book

    def quote(self, *, start: datetime, end: datetime, requirements: Requirements | None = None) -> BookQuote:
        """The best bid and ask for exactly this window."""
        return self._get("quote", "/orderbook/quote", BookQuote, _window(start, end, requirements))

    def depth(
        self, *, start: datetime, end: datetime, requirements: Requirements | None = None, levels: int = 20
    ) -> BookDepth:
        """At most 100 levels of either side, for exactly this window."""
        query = _window(start, end, requirements) | {"depth": levels}
        return self._get("depth", "/orderbook/depth", BookDepth, query)

    def windows(
        self, *, start: datetime, end: datetime, requirements: Requirements | None = None
    ) -> Iterator[BookWindow]:
        """Every window in this range of whole minutes for which there is a bid or an ask, earliest first."""
        query = {
            "range_start_at": wire.second(start),
            "range_end_at": wire.second(end),
            "requirements": wire.requirements(requirements),
        }
        return self._pages("windows", "/orderbook/windows", BookWindow, query)

    def fills(
        self,
        *,
        start: datetime,
        end: datetime,
        since: datetime | None = None,
        requirements: Requirements | None = None,
    ) -> Iterator[PublicFill]:
        """Trades of compute in this window, newest first, `since` a week ago unless told otherwise, at most 30 days."""
        query = _window(start, end, requirements) | {"since_at": wire.since(since)}
        return self._pages("fills", "/orderbook/fills", PublicFill, query)

    # Workspaces and pools

    def workspaces(self) -> list[Workspace]:
        return list(self._whole("workspaces", "GET", "/workspaces", Workspace))

    def create_pool(self, *, workspace: str, name: str | None = None, tags: Tags | None = None) -> Pool:
        body = _given(workspace=workspace, name=name, tags=dict(tags or {}) or None)
        return self._post("create_pool", "/pools", Pool, body)

    def pools(
        self,
        *,
        workspace: str | None = None,
        ids: Iterable[str] = (),
        tags: Tags | None = None,
        history: timedelta = timedelta(),
    ) -> Iterator[Pool]:
        """`history`: how far back their schedules begin, at most a day."""
        minutes = history // timedelta(minutes=1)
        query = {
            "workspace": workspace,
            "id": list(ids),
            "tag": wire.tags(tags),
            "schedule_history_minutes": minutes or None,
        }
        return self._pages("pools", "/pools", Pool, query)

    def pool(self, id: str) -> Pool:
        return self._get("pool", f"/pools/{wire.identifier(id)}", Pool)

    def delete_pool(self, id: str) -> None:
        """`MarketRefused` 422 while anything is left in it."""
        self._do("delete_pool", "DELETE", f"/pools/{wire.identifier(id)}", removes=True)

    # Images and instances

    def images(self, *, workspace: str | None = None, ids: Iterable[str] = ()) -> Iterator[Image]:
        return self._pages("images", "/images", Image, {"workspace": workspace, "id": list(ids)})

    def image(self, id: str) -> Image:
        return self._get("image", f"/images/{wire.identifier(id)}", Image)

    def create_instance(
        self,
        *,
        pool: str,
        image: str,
        sku: str,
        name: str | None = None,
        user_data: str | None = None,
        tags: Tags | None = None,
        priority: str | None = None,
    ) -> Instance:
        """Sent once. After `OutcomeUnknown`, look for its name or its tags. `user_data`: cloud-init, at most 64 KB."""
        encoded = None if user_data is None else wire.cloud_init(user_data)
        body = _given(
            pool=pool,
            image=image,
            instance_sku=sku,
            name=name,
            cloud_init_user_data=encoded,
            tags=dict(tags or {}) or None,
            priority_level=priority,
        )
        return self._post("create_instance", "/instances", Instance, body, secrets=_secrets(user_data, encoded))

    def instances(
        self,
        *,
        pool: str | None = None,
        workspace: str | None = None,
        ids: Iterable[str] = (),
        statuses: Iterable[str] = (),
        skus: Iterable[str] = (),
        tags: Tags | None = None,
        tag_keys: Iterable[str] = (),
    ) -> Iterator[Instance]:
        """Terminated ones too, unless `statuses` leaves them out."""
        query = {
            "pool": pool,
            "workspace": workspace,
            "id": list(ids),
            "status": list(statuses),
            "instance_sku": list(skus),
            "tag": wire.tags(tags),
            "tag_key": list(tag_keys),
        }
        return self._pages("instances", "/instances", Instance, query)

    def instance(self, id: str) -> Instance:
        return self._get("instance", f"/instances/{wire.identifier(id)}", Instance)

    def terminate_instance(self, id: str) -> None:
        """It can't be started again. `MarketNotFound`: it was terminated before, or never there."""
        self._do("terminate_instance", "POST", f"/instances/{wire.identifier(id)}/terminate", removes=True)

    def replace_instance(
        self,
        id: str,
        *,
        image: str,
        user_data: str | None = None,
        name: str | None = None,
        idempotency_key: str,
    ) -> Instance:
        """A new machine in its place, with its pool, tags and priority; the user data is not inherited."""
        encoded = None if user_data is None else wire.cloud_init(user_data)
        return self._post(
            "replace_instance",
            f"/instances/{wire.identifier(id)}/replace",
            Instance,
            _given(image=image, name=name, cloud_init_user_data=encoded),
            idempotency_key=idempotency_key,
            secrets=_secrets(user_data, encoded),
        )

    def set_priorities(self, priorities: Mapping[str, str]) -> list[Instance]:
        """All of them or none. Instance → `Priority`; all in one workspace."""
        rows = [{"id": key, "priority_level": level} for key, level in priorities.items()]
        return list(self._whole("set_priorities", "PATCH", "/instances", Instance, {"data": rows})) if rows else []

    def delete_instance(self, id: str) -> None:
        """`MarketRefused` 409 unless it was terminated."""
        self._do("delete_instance", "DELETE", f"/instances/{wire.identifier(id)}", removes=True)

    def ssh(self, id: str) -> SshInfo | None:
        """None until it can be reached, and where there is no such instance."""
        try:
            return self._get("ssh", f"/instances/{wire.identifier(id)}/ssh", SshInfo)
        except MarketNotFound:
            return None

    def instance_logs(self, id: str, *, after: int = -1) -> Iterator[LogChunk]:
        """The console in order, from behind this sequence number until where it is now."""
        path = f"/instances/{wire.identifier(id)}/logs"
        while True:
            query: Query = {"seqnum_after": after + 1, "sort_by": "seqnum", "limit": _LOG_CHUNKS}
            chunks = self._whole("instance_logs", "GET", path, LogChunk, query=query)
            for chunk in chunks:
                if chunk.seqnum <= after:
                    raise MarketAnswerMalformed("instance_logs: the sequence numbers go back", path="data.seqnum")
                after = chunk.seqnum
                yield chunk
            if len(chunks) < _LOG_CHUNKS:
                return

    # Kinds of machines

    def skus(self) -> Iterator[Sku]:
        return self._pages("skus", "/instance_skus", Sku)

    def availability(self, **filters: str | int | bool) -> dict[str, tuple[Rectangle, ...]]:
        """Kind of machine → nodes that can be bought over time. Filters by property: `accelerator="H100"`."""
        rows = self._pages("availability", "/instance_skus/availability", Availability, filters)
        return {row.sku: row.schedule for row in rows}

    def property_catalog(self) -> dict[str, tuple[str, ...]]:
        """Property that requirements may name → its values."""
        rows = self._pages("property_catalog", "/instance_sku_property_catalog", PropertyDefinition)
        return {row.key.name: tuple(value.name for value in row.values) for row in rows}

    # Procurements

    def create_procurement(
        self,
        *,
        pool: str,
        sku: str,
        target: int | Literal["node_count"],
        min_sell_price: Decimal,
        max_buy_price: Decimal,
        managed_window_minutes: int,
        enabled: bool = True,
        name: str | None = None,
    ) -> Procurement:
        """Sent once. `MarketRefused` 409: this pool has one for this kind of machine."""
        body = _given(
            pool=pool,
            instance_sku=sku,
            target=target,
            min_sell_price_dollars_per_node_hour=wire.dollars(min_sell_price),
            max_buy_price_dollars_per_node_hour=wire.dollars(max_buy_price),
            managed_window_minutes=managed_window_minutes,
            enabled=enabled,
            name=name,
        )
        return self._post("create_procurement", "/procurements", Procurement, body)

    def procurements(self, *, workspace: str | None = None, pool: str | None = None) -> Iterator[Procurement]:
        query = {"workspace": workspace, "pool": pool}
        return self._pages("procurements", "/procurements", Procurement, query, limit=_PROCUREMENTS)

    def procurement(self, id: str) -> Procurement:
        return self._get("procurement", f"/procurements/{wire.identifier(id)}", Procurement)

    def patch_procurement(
        self,
        id: str,
        *,
        min_sell_price: Decimal | None = None,
        max_buy_price: Decimal | None = None,
        managed_window_minutes: int | None = None,
        enabled: bool | None = None,
        name: str | None = None,
    ) -> Procurement:
        """None: as it is. Its target can't be changed."""
        body = _given(
            min_sell_price_dollars_per_node_hour=None if min_sell_price is None else wire.dollars(min_sell_price),
            max_buy_price_dollars_per_node_hour=None if max_buy_price is None else wire.dollars(max_buy_price),
            managed_window_minutes=managed_window_minutes,
            enabled=enabled,
            name=name,
        )
        path = f"/procurements/{wire.identifier(id)}"
        request = Request(operation="patch_procurement", method="PATCH", path=V2 + path, body=body, repeatable=True)
        return self._read(request, Procurement)

    def delete_procurement(self, id: str) -> None:
        """Cancels its standing orders."""
        self._do("delete_procurement", "DELETE", f"/procurements/{wire.identifier(id)}", removes=True)

    # Money

    def balances(self) -> Balances:
        return self._get("balances", "/balances", Balances, root="/v1")

    def transactions(
        self,
        *,
        after: str | None = None,
        after_time: datetime | None = None,
        before_time: datetime | None = None,
        kind: str | None = None,
    ) -> Iterator[MarketTransaction]:
        """Oldest first, from behind this cursor. The times are exclusive."""
        seen: set[str] = set()
        query: dict[str, Any] = {
            "limit": _TRANSACTIONS,
            "sort": "transaction_time",
            "after_time": wire.since(after_time),
            "before_time": wire.until(before_time),
            "transaction_type": kind,
        }
        while True:
            query["starting_after_cursor"] = after
            page: TransactionPage = self._get("transactions", "/transactions", TransactionPage, query, root="/v1")
            for row in page.data:
                after = another(row.cursor, seen, "transactions", "data.cursor")
                yield row
            if not page.data or page.has_more is False or (page.has_more is None and len(page.data) < _TRANSACTIONS):
                return


def _window(start: datetime, end: datetime, requirements: Requirements | None) -> dict[str, str | int | None]:
    return {
        "start_at": wire.second(start),
        "end_at": wire.second(end),
        "requirements": wire.requirements(requirements),
    }


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _secrets(*texts: str | None) -> tuple[str, ...]:
    return tuple(text for text in texts if text)
