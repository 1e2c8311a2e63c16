"""Whose things a caller sees: a customer its own organisation's, an operator one's or everybody's."""

from typing import Annotated

from fastapi import Query

from scalar.accounts import store as accounts
from scalar.accounts.model import Principal
from scalar.database import Transaction
from scalar.errors import Forbidden, NotFound

OrganisationQuery = Annotated[str | None, Query(max_length=100, description="For operators: its id or name.")]


def seen_by(tx: Transaction, caller: Principal, named: str | None) -> str | None:
    """The id of the organisation; None: every one. Raises: `Forbidden`, `NotFound`."""
    own = caller.organisation_id
    if named is None or named == own:
        return own
    found = next((each.id for each in accounts.organisations(tx) if named in (each.id, each.name)), None)
    if own is not None and found != own:
        raise Forbidden("A customer's key sees its own organisation.")
    if found is None:
        raise NotFound("There is no such organisation.")
    return found
