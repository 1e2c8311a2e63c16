"""Who one is, one's workspaces, and one's money: /me and /workspaces of preview v2, balances and transactions of v1."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from sandbox.market import lookups, rendering
from sandbox.market.access import Caller, TheWorld
from sandbox.market.paging import Key, PageQuery, page
from sandbox.market.refusals import Refusal
from sandbox.market.resources import Workspace, new_id
from sandbox.market.values import Transaction, TransactionKind
from sandbox.market.wire import Body, Name, cents
from sandbox.market.world import World

router = APIRouter()
money_router = APIRouter(prefix="/v1")

_TYPES = {
    TransactionKind.DEPOSIT: "manual_payment",
    TransactionKind.REFUND: "refund",
    TransactionKind.BUY_ORDER: "buy_order",
    TransactionKind.SELL_ORDER: "sell_order",
}
Type = Literal["stripe_card_payment", "manual_payment", "credit_grant", "refund", "buy_order", "sell_order"]


class CreateWorkspace(Body):
    name: Name | None = None


class PatchWorkspace(Body):
    name: Name | None = None


@router.get("/me")
def me(world: TheWorld, caller: Caller) -> Any:
    customer = world.shelves.customers[caller.customer]
    return {
        "object": "account",
        "account_id": customer.id,
        "created_at": customer.created_at,
        "entity_type": "business",
        "user": None,
    }


@router.post("/workspaces", status_code=201)
def create_workspace(body: CreateWorkspace, world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        workspace_id = new_id("wksp")
        name = _free(world, caller.customer, body.name or workspace_id.replace("_", "-"))
        made = Workspace(id=workspace_id, customer=caller.customer, name=name, created_at=int(now))
        return rendering.workspace(world, world.shelves.workspaces.put(made))


@router.get("/workspaces")
def list_workspaces(world: TheWorld, caller: Caller, id: Annotated[list[str] | None, Query()] = None) -> Any:
    with world.turn():
        named = {lookups.workspace(world, caller, one).id for one in id} if id else None
        rows = [one for one in world.shelves.workspaces if one.customer == caller.customer]
        data = [rendering.workspace(world, one) for one in rows if named is None or one.id in named]
        return {"object": "list", "data": data, "has_more": False}


@router.get("/workspaces/{workspace}")
def get_workspace(workspace: str, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        return rendering.workspace(world, lookups.workspace(world, caller, workspace))


@router.patch("/workspaces/{workspace}")
def patch_workspace(workspace: str, body: PatchWorkspace, world: TheWorld, caller: Caller) -> Any:
    with world.turn():
        found = lookups.workspace(world, caller, workspace)
        if body.name is not None and body.name != found.name:
            found = replace(found, name=_free(world, caller.customer, body.name))
        return rendering.workspace(world, world.shelves.workspaces.put(found))


@router.delete("/workspaces/{workspace}", status_code=204)
def delete_workspace(workspace: str, world: TheWorld, caller: Caller) -> None:
    with world.turn():
        found = lookups.workspace(world, caller, workspace)
        shelves = (world.shelves.pools, world.shelves.instances, world.shelves.images, world.shelves.procurements)
        if any(one.workspace == found.id for shelf in shelves for one in shelf):
            raise Refusal(422, "the workspace is not empty")
        world.shelves.workspaces.remove(found.id)


@money_router.get("/account/me")
def account(world: TheWorld, caller: Caller) -> Any:
    customer = world.shelves.customers[caller.customer]
    return {
        "id": customer.id,
        "role": "admin",
        "is_frozen": False,
        "kyc": True,
        "submitted_waitlist": True,
        "waitlist": "approved",
        "kycb_form_submitted": True,
        "created_at": customer.created_at,
    }


@money_router.get("/balances")
def balances(world: TheWorld, caller: Caller) -> Any:
    with world.turn() as now:
        wallet = world.engine.account(caller.customer)
        current = cents(wallet.cash, world.rules.cents)
        return {
            "object": "balances",
            "available_balance_cents": cents(wallet.available, world.rules.cents),
            "current_balance_cents": current,
            "current_overage_cents": max(0, -current),
            "overage_limit_cents": world.rules.overage_limit_cents,
            "updated_at": int(now),
        }


@money_router.get("/transactions")
def transactions(
    world: TheWorld,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    after_time: int | None = None,
    before_time: int | None = None,
    starting_after_cursor: str | None = None,
    ending_before_cursor: str | None = None,
    sort: Literal["transaction_time", "-transaction_time", "amount", "-amount"] = "-transaction_time",
    transaction_type: Type | None = None,
) -> Any:
    with world.turn():
        rows = [
            row
            for row in _rows(world, caller.customer)
            if (after_time is None or row.at > after_time)
            and (before_time is None or row.at < before_time)
            and transaction_type in {None, row.type}
        ]
        key = _by_amount if sort.endswith("amount") else _by_time
        query = PageQuery(limit=limit, starting_after=starting_after_cursor, ending_before=ending_before_cursor)
        found = page(rows, query, prefix="txc", key=key, newest_first=sort.startswith("-"))
        data = [_shown(world, row, found.cursor_of(row)) for row in found.rows]
        return {"object": "list", "data": data, "has_more": found.has_more, "cursor": found.cursor}


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What a customer sees as one transaction. `amount` and `balance` (after it) in µ$."""

    seq: int
    at: int
    type: str
    amount: int
    balance: int
    order_id: str | None

    def joined(self, later: Transaction) -> "_Row":
        return replace(self, amount=self.amount + later.amount, balance=later.balance)


def _rows(world: World, customer: str) -> list[_Row]:
    """A resale's fee is taken from its own row; by the rule `transactions_per`, an order's fills are one row."""
    archived = [one.row for one in world.shelves.archive if one.row.account_id == customer]
    found: dict[int, _Row] = {}
    of_order: dict[tuple[str | None, int], int] = {}
    per_order = world.rules.transactions_per == "order"
    for row in _by_seq([*archived, *world.engine.transactions(customer)]):
        # Fills of one order that came at one moment are one execution.
        place = (row.order_id, row.at)
        fee = row.kind is TransactionKind.FEE
        if row.order_id is not None and place in of_order and (fee or per_order):
            seq = of_order[place]
            found[seq] = found[seq].joined(row)
            continue
        kind = _TYPES.get(row.kind, "sell_order")
        found[row.seq] = _Row(
            seq=row.seq, at=row.at, type=kind, amount=row.amount, balance=row.balance, order_id=row.order_id
        )
        of_order[place] = row.seq
    return list(found.values())


def _by_seq(rows: Iterable[Transaction]) -> list[Transaction]:
    return sorted(rows, key=lambda row: row.seq)


def _by_time(row: _Row) -> Key:
    return (row.at, row.seq)


def _by_amount(row: _Row) -> Key:
    return (abs(row.amount), row.seq)


def _shown(world: World, row: _Row, cursor: str) -> dict[str, Any]:
    signed = row.amount if world.rules.amount_sign == "signed" else abs(row.amount)
    details: dict[str, Any] = {"object": "transaction_details", "type": row.type}
    if row.order_id is not None:
        details["order_id"] = row.order_id
    return {
        "object": "transaction",
        "cursor": cursor,
        "transaction_time": row.at,
        "amount_cents": cents(signed, world.rules.cents),
        "balance": cents(row.balance, world.rules.cents),
        "details": details,
    }


def _free(world: World, customer: str, name: str) -> str:
    """Raises: `Refusal` 400."""
    if any(one.customer == customer and one.name == name for one in world.shelves.workspaces):
        raise Refusal(400, f"the name {name} is taken")
    return name
